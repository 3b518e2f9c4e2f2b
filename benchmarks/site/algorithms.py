"""The generated parts of an algorithm's page: what it is held against, and its settings with their sources."""

import dataclasses
import inspect
import json
import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mkdocs.utils.meta import get_data

from benchmarks.site.pages import ROOT, Pages, markdown
from moorl_jax.agents import AGENTS, Agent
from moorl_jax.config import fields_of
from moorl_jax.errors import MoorlError
from moorl_jax.settings import suits
from moorl_jax.settings.origins import Setting, explain
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.tasks import TASKS, Task

FOLDER = "algorithms"
FAMILIES = {  # as titles; a user's own tasks are set as locomotion
    "locomotion": "Locomotion",
    "antmaze": "AntMaze",
    "adroit": "Adroit",
    "kitchen": "Franka Kitchen",
    "sawyer": "Sawyer",
    "control": "dm_control from states",
    "ogbench": "OGBench",
    "vd4rl": "V-D4RL",
}
PAPER = BUDGETS["paper"]


class Subject(NamedTuple):
    """What a page of docs/algorithms is about."""

    agents: tuple[str, ...]  #: their names; empty on pages of no algorithm
    recordings: tuple[str, ...]  #: patterns of the files of tests/parity that hold them to their authors' code


NOTHING = Subject((), ())


@cache
def subjects() -> dict[str, Subject]:
    """Return what each page is about, by its name: as its front matter says, else the agent that it is named after.

    An agent that no page is about gets one.
    """
    found = {}
    for file in sorted((ROOT / "docs" / FOLDER).glob("*.md")):
        _, meta = get_data(file.read_text(encoding="utf-8"))
        named = [file.stem] if file.stem in AGENTS else []
        found[file.stem] = Subject(tuple(meta.get("agents", named)), tuple(meta.get("recordings", ())))
    described = {name for subject in found.values() for name in subject.agents}
    return found | {name: Subject((name,), ()) for name in AGENTS if name not in described}


def subject(place: str) -> Subject:
    """Return what the page at a place of the site is about."""
    folder, _, file = place.rpartition("/")
    return subjects().get(file.removesuffix(".md"), NOTHING) if folder == FOLDER else NOTHING


def pages() -> Pages:
    """Return a plain page for each agent that has none in docs/algorithms."""
    written = ROOT / "docs" / FOLDER
    return {f"{FOLDER}/{name}.md": _plain(name) for name in subjects() if not (written / f"{name}.md").exists()}


def _plain(name: str) -> str:
    agent = AGENTS[name]
    parts = [f"# {agent.__name__}", inspect.getdoc(agent) or ""]
    parts += [f"## {title.capitalize()}\n\n{{{{ {title} }}}}" for title in ("settings", "cost", "results")]
    return "\n\n".join(parts)


def held_against(of: Subject) -> str:
    """Return a table of the recordings that the agents' updates reproduce."""
    files = [file for pattern in of.recordings for file in sorted((ROOT / "tests" / "parity").glob(f"{pattern}.npz"))]
    rows = []
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            steps = {name.partition("/")[0] for name in arrays.files if name.startswith("batch_")}
            recorded = json.loads(str(arrays["hparams"]))
        reference = recorded["reference"]
        repository, commit = reference.get("repository", ""), reference["commit"]
        known = re.fullmatch("[0-9a-f]{40}", commit)
        code = f"[{repository}](https://github.com/{repository}/tree/{commit})" if known else "a third party's code"
        where = re.sub(r"\s*\([^)]*\)", "", reference["file"]) if known else "–"
        rows.append([f"`{file.stem}`", recorded["algorithm"], code, where, len(steps)])
    return markdown(pd.DataFrame(rows, columns=["recording", "of", "made by", "file", "updates"]))


def settings(of: Subject) -> str:
    """Return each agent's defaults with their meaning, and what families and datasets change, with sources."""
    parts = []
    for name in of.agents:
        if len(of.agents) > 1:
            parts.append(f"### `{name}`")
        parts += [_defaults(AGENTS[name]), _changes(name)]
    return "\n\n".join(parts)


def _defaults(agent: type[Agent]) -> str:
    rows = [(f"`{field.name}`", _shown(field.value), field.meaning) for field in fields_of(agent())]
    source = f"Defaults: {agent.source}." if agent.source else ""
    return f"{source}\n\n{markdown(pd.DataFrame(rows, columns=['setting', 'default', 'meaning']))}"


def _changes(name: str) -> str:
    """Return a table of all that is not a class's default, offline and where the agent is fine-tuned online."""
    offline, online = (_changed(name, PAPER.spend(protocol)) for protocol in ("offline", "offline-to-online"))
    rows = [(*row, "offline" if online else "") for row in offline if row not in online]
    rows += [(*row, "" if row in offline or not offline else "fine-tuned") for row in online]
    if not rows:
        return "No family changes them."
    table = pd.DataFrame(sorted(rows), columns=["setting", "value", "tasks", "source", "protocol"])
    if not any(table["protocol"]):
        table = table.drop(columns="protocol")
    return f"In force in place of the defaults, at the `paper` budget:\n\n{markdown(table)}"


@cache
def _tasks() -> list[Task]:
    """Return a task of each dataset of the papers: OGBench's five tasks of one are set alike, Minari's as D4RL's."""
    return [task for name, task in TASKS.items() if not re.search(r"-task[2-9]$|^minari-", name)]


def _changed(name: str, spend: tuple[int, int]) -> list[tuple[str, str, str, str]]:
    """Return what the pages of settings change in a protocol: setting, value, tasks, source."""
    try:
        AGENTS[name]().phases(*spend)
    except MoorlError:
        return []  # the agent has no such protocol
    tasks = [task for task in _tasks() if suits(name, task)]
    found: dict[Setting, list[Task]] = {}
    for task in tasks:
        for setting in explain(name, task, *spend):
            if setting.where.startswith("settings/"):
                found.setdefault(setting._replace(value=_shown(setting.value)), []).append(task)
    return [
        (f"`{setting.name}`", setting.value, _which(of, tasks), f"{setting.source} (`{setting.where}`)")
        for setting, of in found.items()
    ]


def _which(some: list[Task], every: list[Task]) -> str:
    """Return the words for some of the tasks: whole families by their titles, of the others each dataset."""
    if some == every:
        return "all"
    words = []
    for family, title in FAMILIES.items():
        inside, whole = ([_short(task) for task in tasks if task.family == family] for tasks in (some, every))
        others = [name for name in whole if name not in inside]
        if inside and not others:
            words.append(title)
        elif inside:
            words.append(f"{title} but {', '.join(others)}" if len(others) < len(inside) else ", ".join(inside))
    return "; ".join(words)


def _short(task: Task) -> str:
    return re.sub(r"^(ogbench|vd4rl)-|-task1$|-v\d$", "", task.name)


def _shown(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, Agent):
        return f"`{type(value).__name__}`"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, float):
        return f"{value:g}"
    if dataclasses.is_dataclass(value):
        return f"`{type(value).__name__}`"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
