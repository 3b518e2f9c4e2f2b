"""Pages of results/, and what an algorithm's page shows of them: scores, curves, cost."""

import re
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd

from benchmarks.site.algorithms import Subject, subjects
from benchmarks.site.pages import RESULTS, Pages, finished, markdown
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.reports import plots
from moorl_jax.reports.collection import label, one_each, runs
from moorl_jax.reports.published import published_scores

PANELS = 6  #: learning curves on an algorithm's page, those of the largest budgets
CELLS = "cells"
KINDS = {  # folders of results/, and what their pages are called
    "": "Tables",
    "studies": "Studies",
    "papers": "Beside published figures",
    "sweeps": "Sweeps",
    "speed": "Speed",
}


def pages() -> Pages:
    """Return a page for each table in results/ with its picture, and the report as it is."""
    made: Pages = {}
    for table in _tables():
        place = _place(table)
        picture = table.with_name("curves.png")
        parts = [f"# {_title(table)}", _without_title(table)]
        if picture.exists():
            parts.append(f"![Learning curves](./{Path(place).stem}.png)")
        made[place] = "\n\n".join([*parts, f"Files: `{table.parent.relative_to(RESULTS.parent)}`."])
        if picture.exists():
            made[str(Path(place).with_suffix(".png"))] = picture
    if (RESULTS / "report.html").exists():
        made["results/report.html"] = RESULTS / "report.html"
    return made


def index() -> str:
    """Return links to the pages of results, kind by kind."""
    parts = []
    for kind, title in KINDS.items():
        tables = [table for table in _tables() if _kind(table) == kind]
        links = [f"- [{_title(table)}]({_place(table).removeprefix('results/')})" for table in tables]
        if links:
            parts.append(f"## {title}\n\n" + "\n".join(links))
    return "\n\n".join(parts)


@cache
def _tables() -> list[Path]:
    """Return the Markdown files that the runner wrote, in order of their kinds."""
    found = [path for path in sorted(RESULTS.rglob("*.md")) if path.relative_to(RESULTS).parts[0] != CELLS]
    return sorted(found, key=lambda table: list(KINDS).index(_kind(table)))


def _kind(table: Path) -> str:
    first = table.relative_to(RESULTS).parts[0]
    return first if first in KINDS else ""


def _name(table: Path) -> str:
    """Return what a table is of: its directory's name, or its own where several lie in one."""
    parts = table.relative_to(RESULTS).with_suffix("").parts
    return " ".join(part for part in parts if part not in (*KINDS, "table"))


def _title(table: Path) -> str:
    return {"papers": "As in the tables of: {}"}.get(_kind(table), "{}").format(_name(table))


def _place(table: Path) -> str:
    """Return a page's place in the site; names of results hold signs that no address should."""
    name = re.sub(r"[^\w.-]+", "-", _name(table))
    return "/".join(filter(None, ("results", _kind(table) or "tables", f"{name}.md")))


def _without_title(table: Path) -> str:
    return re.sub(r"^# .*\n", "", table.read_text(encoding="utf-8"))


def of_agents(of: Subject) -> str:
    """Return the agents' scores at the largest budget of each task, and the curves of the longest runs."""
    ours = [result for result in finished() if result.config["agent"] in of.agents]
    table = runs([result for result in ours if not result.config["overrides"] and result.task.evaluated])
    if table.empty:
        return "No results yet."
    table = one_each(table)
    size = table["updates"] + table["env_steps"]
    where = ["agent", "task", "source", "protocol"]
    table = table[size == size.groupby([table[name] for name in where]).transform("max")]
    rows = []
    for (agent, task, source, protocol, updates, steps), group in table.groupby([*where, "updates", "env_steps"]):
        tuned = protocol == "offline-to-online" and group["learned_offline"].all()
        known = published_scores().get((str(task), str(agent))) if protocol == "offline" else None
        told = [f"`{agent}`", task, DASH if source == NO_SOURCE else source, protocol, updates, steps, len(group)]
        scores = [OverSeeds.of(group["before"]) if tuned else DASH, OverSeeds.of(group["last"])]
        rows.append([*told, *scores, f"{known.mean:.1f}" if known else DASH])
    names = ["agent", "task", "data", "protocol", "updates", "env steps", "seeds", "offline", "score", "published"]
    shown = pd.DataFrame(rows, columns=names).sort_values(["updates", "env steps"], ascending=False)
    if len(of.agents) == 1:
        shown = shown.drop(columns="agent")
    if (shown["offline"] == DASH).all():
        shown = shown.drop(columns="offline")
    shown[["updates", "env steps"]] = shown[["updates", "env steps"]].map("{:,}".format)
    picture = f"\n\n![Learning curves](./{_picture(of)})" if of.agents and _longest(of) else ""
    return markdown(shown) + picture


def pictures() -> Pages:
    """Return the learning curves of each page's agents, by their place beside the page."""
    folder = Path(tempfile.mkdtemp(prefix="moorl-site-"))
    made: Pages = {}
    for of in subjects().values():
        if longest := _longest(of):
            file = folder / _picture(of)
            plots.curves([(label(result), result) for result in longest], file)
            if file.exists():
                made[f"algorithms/{file.name}"] = file
    return made


def _picture(of: Subject) -> str:
    return f"{of.agents[0]}-curves.png"


def _longest(of: Subject) -> list[Result]:
    """Return the agents' results that are drawn: as they are set by default, with a curve, of the largest budgets."""
    ours = [
        result
        for result in finished()
        if result.config["agent"] in of.agents
        and not result.config["overrides"]
        and result.task.evaluated
        and len(result.curves) > 4 * len(result.config["seeds"])
    ]
    ours.sort(key=lambda result: -(result.plan.updates + result.plan.env_steps))
    panels = list(dict.fromkeys((r.task.name, r.plan.updates, r.plan.env_steps) for r in ours))[:PANELS]
    return [result for result in ours if (result.task.name, result.plan.updates, result.plan.env_steps) in panels]


def cost(of: Subject) -> str:
    """Return the rows of results/speed that are of these agents, table by table, with what each says of itself."""
    parts = []
    for file in sorted((RESULTS / "speed").rglob("*.md")):
        for block in re.findall(r"(?:^\|.*\n)+", file.read_text(encoding="utf-8"), re.MULTILINE):
            head, line, *rows = block.splitlines()
            ours = [row for row in rows if row.strip("| ").split(" ")[0].strip("`") in of.agents]
            if ours and head.strip("| ").startswith("agent"):
                title = f"[{file.relative_to(RESULTS / 'speed').with_suffix('')}](../{_place(file)}):"
                parts.append("\n".join([title, "", head, line, *ours]))
    return "\n\n".join(parts) or "Not measured yet."
