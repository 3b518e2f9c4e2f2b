"""A paper's tables, our scores beside the published ones: `moorl-jax tables`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from moorl_jax.data.sources import MADE_HERE, File
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.reports import fine_tuning
from moorl_jax.reports.published import Published, published_table
from moorl_jax.reports.writing import ENDINGS, Sections, write_tables
from moorl_jax.tasks import SUITES

Made = tuple[Sections, pd.DataFrame, str]  #: sections, numbers, legend

ALPHA = 0.05  #: significance level of the test between ours and theirs


@dataclass(frozen=True)
class Section:
    """One table of a paper."""

    title: str
    table: str  #: its name in published_scores.csv
    phase: str  #: offline or online: the phase at whose end the scores are taken
    protocol: str  #: of ours
    tasks: tuple[str, ...]
    agents: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """A paper's tables, and the note that explains them."""

    note: str
    sections: tuple[Section, ...]


_ADROIT_CLONED = tuple(name for name in SUITES["adroit"] if "cloned" in name)
_CORL = ("bc", "bc_10", "td3_bc", "iql", "cql", "awac", "rebrac", "sac_n", "edac")
_CORL_TUNED = (*SUITES["antmaze"], *_ADROIT_CLONED)
_CORL_ONLINE = ("iql", "cql", "spot", "cal_ql", "awac", "rebrac")
_OPT_TASKS = SUITES["opt-19"]
_VD4RL = ("pixel_bc", "drq_bc", "pixel_cql")
_HYBRID = ("moorl", "rlpd", "sac", "cal_ql", "opt")
_HYBRID_OF_IMAGES = ("pixel_moorl", "pixel_rlpd", "drq_bc")

PAPERS = {
    "corl": Paper(
        "CORL (Tarasov et al. 2022), its README's last scores and fine-tuning.",
        (
            Section("Offline: locomotion", "corl", "offline", "offline", SUITES["locomotion"], _CORL),
            Section("Offline: AntMaze", "corl", "offline", "offline", SUITES["antmaze"], _CORL),
            Section("Offline: Adroit", "corl", "offline", "offline", SUITES["adroit"], _CORL),
            *(
                Section(title, "corl-online", phase, "offline-to-online", _CORL_TUNED, _CORL_ONLINE)
                for title, phase in (
                    ("Before fine-tuning: AntMaze and Adroit", "offline"),
                    ("Fine-tuned: AntMaze and Adroit", "online"),
                )
            ),
        ),
    ),
    "opt": Paper(
        "OPT (Shin et al. 2025, arXiv 2507.08387), as quoted by others: without deviations, and not all rows. "
        "TD3 and OPT learned offline by TD3+BC, SPOT and OPT over it by SPOT.",
        (
            Section(
                "MuJoCo, 300k env steps",
                "opt",
                "online",
                "offline-to-online",
                _OPT_TASKS[:9],
                ("td3_bc", "Off2OnRL", "cal_ql", "opt"),
            ),
            Section(
                "AntMaze and Adroit, 300k env steps",
                "opt",
                "online",
                "offline-to-online",
                _OPT_TASKS[9:],
                ("spot", "cal_ql", "opt_spot"),
            ),
        ),
    ),
    "moorl": Paper(
        "MOORL (Chaudhary et al. 2025, arXiv 2506.09574) has tables of 28 tasks that we could not read: we know "
        "neither the tasks nor the scores. So all scores here are ours, but RLPD's, published in another paper, and "
        "the choice of the 28 tasks is ours.",
        (
            Section("States", "moorl", "online", "offline-to-online", SUITES["moorl-28"][:19], _HYBRID),
            Section("Images", "moorl", "online", "offline-to-online", SUITES["moorl-28"][19:], _HYBRID_OF_IMAGES),
        ),
    ),
    "vd4rl": Paper(
        "V-D4RL (Lu et al. 2022, arXiv 2206.04779), as reprinted in ReBRAC's paper: returns / 10. Its CQL is "
        "built on DrQ-v2, ours on SAC.",
        (Section("Offline", "vd4rl", "offline", "offline", SUITES["vd4rl-all"], _VD4RL),),
    ),
}


def frame(section: Section, ours: pd.DataFrame) -> pd.DataFrame:
    """Return a row per task and agent: our score, theirs, and the p value of Welch's test between them.

    Ours is from the runs with the largest budget, on the original data if there are any. The test needs two seeds on
    either side.
    """
    theirs = published_table(section.table, section.phase)
    scored = "before" if section.phase == "offline" else "last"
    rows = []
    for task in section.tasks:
        for agent in section.agents:
            row: dict[str, Any] = {"task": task, "agent": agent}
            found = _largest(ours, task, agent, section.protocol)
            if section.phase == "offline" and len(found):
                found = found[found["learned_offline"]]  # agents without that phase have no score there
            over = OverSeeds.of(found[scored] if len(found) else [])
            row |= {"mean": over.mean, "std": over.std, "seeds": over.seeds, "diverged": over.diverged}
            row |= {"source": "", "updates": 0, "env_steps": 0}
            if len(found):
                first = found.iloc[0]
                row |= {"source": first["source"], "env_steps": first["env_steps"] if scored == "last" else 0}
                row |= {"updates": first["updates"] if first["learned_offline"] else 0}
            known = theirs.get((task, agent))
            row |= {"published": known.mean if known else np.nan, "published std": known.std if known else np.nan}
            row |= {"published seeds": known.seeds if known else None, "published in": str(known or "")}
            row["p"] = _welch(row["mean"], row["std"], row["seeds"], known)
            rows.append(row)
    return pd.DataFrame(rows)


def text(numbers: pd.DataFrame, marks: dict[tuple[Any, ...], str]) -> pd.DataFrame:
    """Return the section as text, a row per task: ours, a sign, theirs.

    `marks` has a letter for each kind of our runs, by source, seeds, updates and env steps.
    """
    rows: dict[str, dict[str, str]] = {}
    for number in numbers.to_dict("records"):
        row = rows.setdefault(str(number["task"]), {"task": str(number["task"])})
        here = str(OverSeeds(number["mean"], number["std"], number["seeds"], number["diverged"]))
        if number["seeds"]:
            here += f" {marks[_kind(number)]}"
        row[str(number["agent"])] = f"{here} {_sign(number)} {_spread(number['published'], number['published std'])}"
    table = pd.DataFrame(list(rows.values()))
    return table.mask(table == f"{DASH} / {DASH}", DASH)


def legend(paper: Paper, numbers: pd.DataFrame, marks: dict[tuple[Any, ...], str]) -> str:
    """Return the text that explains the scores and how each was made."""
    kinds = [
        f"{mark}: {'no' if source == NO_SOURCE else source} data, {seeds} seed{'s' * (seeds > 1)}"
        + "".join(f", {count:,} {unit}" for count, unit in ((updates, "updates"), (env_steps, "env steps")) if count)
        for (source, seeds, updates, env_steps), mark in marks.items()
    ]
    published = list(dict.fromkeys(numbers.loc[numbers["published in"] != "", "published in"]))
    lines = [
        f"{paper.note} Normalized scores at the last evaluation, mean ± population standard deviation over seeds: "
        "ours, then the published one, on the original data with those authors' settings. "
        f"< and >: ours is lower or higher (Welch's t test, two-sided, {ALPHA:.0%}, not corrected for the number of "
        "tests); ≈: no significant difference; /: not tested, few seeds or no std. Diverged 1/3: one of three "
        "seeds diverged, so there is no mean.",
        f"Ours: {'; '.join(kinds)}." if kinds else "Ours: no runs yet.",
        "Recipe and embedded data was made here and is not D4RL's or V-D4RL's: differences may come from the data, "
        "or from a smaller budget.",
        f"Published: {'; '.join(published)}." if published else "",
    ]
    return "\n\n".join(filter(None, lines))


def make(paper: Paper, ours: pd.DataFrame) -> Made:
    """Return the paper's sections as (title, table), all its numbers, and the legend. `ours` has a row per run."""
    frames = [frame(section, ours).assign(section=section.title) for section in paper.sections]
    numbers = pd.concat(frames, ignore_index=True)
    kinds = dict.fromkeys(_kind(number) for number in numbers.to_dict("records") if number["seeds"])
    marks = {kind: _letter(place) for place, kind in enumerate(kinds)}
    tables = [(s.title, text(f, marks)) for s, f in zip(paper.sections, frames, strict=True)]
    tuned = _tuned(paper, ours)
    if tuned.empty:
        return tables, numbers, legend(paper, numbers, marks)
    tuning = ("Ours: what fine-tuning did", fine_tuning.text(fine_tuning.frame(tuned)))
    return [*tables, tuning], numbers, f"{legend(paper, numbers, marks)}\n\n{fine_tuning.LEGEND}"


def write(name: str, made: Made, folder: Path) -> list[Path]:
    """Write a paper's tables as Markdown, CSV and LaTeX, and return the files."""
    tables, numbers, legend_text = made
    files = [folder / f"{name}{ending}" for ending in ENDINGS]
    for file in files:
        write_tables(file, tables, numbers, legend_text)
    return files


def _tuned(paper: Paper, ours: pd.DataFrame) -> pd.DataFrame:
    """Return those of our runs that stand in the paper's tables and went from offline to online."""
    wanted = [
        (task, agent, section.protocol)
        for section in paper.sections
        if section.phase == "online"
        for task in section.tasks
        for agent in section.agents
    ]
    found = [here for each in dict.fromkeys(wanted) if len(here := _largest(ours, *each)) and here["env_steps"].any()]
    return pd.concat(found) if found else pd.DataFrame()


def _largest(ours: pd.DataFrame, task: str, agent: str, protocol: str) -> pd.DataFrame:
    """Return the runs of one result: prefer original data, then more env steps, updates and seeds, then newer ones.

    An agent that uses no data counts as `offline-to-online`, whatever protocol it ran under.
    """
    if ours.empty:
        return ours
    of_agent = (ours["task"] == task) & (ours["agent"] == agent)
    alone = (ours["source"] == NO_SOURCE) & (protocol == "offline-to-online")
    found = ours[of_agent & ((ours["protocol"] == protocol) | alone)]
    if found.empty:
        return found
    seeds, original = found.groupby("result")["seed"].transform("size"), ~found["source"].isin([*MADE_HERE, File.name])
    order = ["original", "env_steps", "updates", "seeds", "finished"]
    largest = found.assign(seeds=seeds, original=original).sort_values(order).iloc[-1]
    return found[found["result"] == largest["result"]]


def _welch(mean: float, std: float, seeds: int, known: Published | None) -> float:
    if not known or seeds < 2 or not known.seeds or known.seeds < 2 or np.isnan(known.std):
        return np.nan
    # Tables show population deviations; the test needs sample deviations.
    ours, theirs = (s * np.sqrt(n / (n - 1)) for s, n in ((std, seeds), (known.std, known.seeds)))
    if ours == theirs == 0.0:
        return float(mean == known.mean)
    test = stats.ttest_ind_from_stats(mean, ours, seeds, known.mean, theirs, known.seeds, equal_var=False)
    return float(test.pvalue)


def _sign(number: dict[Any, Any]) -> str:
    if np.isnan(number["p"]):
        return "/"
    if number["p"] >= ALPHA:
        return "≈"
    return "<" if number["mean"] < number["published"] else ">"


def _kind(number: dict[Any, Any]) -> tuple[Any, ...]:
    return number["source"], number["seeds"], number["updates"], number["env_steps"]


def _letter(place: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    return ("" if place < 26 else _letter(place // 26 - 1)) + chr(ord("a") + place % 26)


def _spread(value: float, std: float) -> str:
    if np.isnan(value):
        return DASH
    return f"{value:.1f}" + ("" if np.isnan(std) else f" ± {std:.1f}")
