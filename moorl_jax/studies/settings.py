"""A sweep over an agent's settings: its table and pictures. `moorl-jax sweep` calls it."""

from pathlib import Path

import pandas as pd

from moorl_jax.divergence import DASH
from moorl_jax.reports import plots
from moorl_jax.studies.study import Section, Study, Variant, caption, frame, text, write
from moorl_jax.sweeps.runner import Outcome, finished


def study_of(agent: str, tasks: str, settings: list[tuple[str, ...]], protocol: str) -> Study:
    """Return the comparison of an agent's settings, each a tuple of NAME=VALUE."""
    variants = tuple(Variant(", ".join(changes), agent, changes) for changes in settings)
    return Study(f"Which settings of {agent} score best?", tasks, variants, protocol)


def report(study: Study, outcomes: list[Outcome], directory: Path) -> list[Section]:
    """Write table.csv, table.md, curves.png and settings.png; return the table that a person reads.

    It has a column for every setting that the sweep changes; columns that no run has anything for are left out.
    """
    found = frame(outcomes)
    changes = pd.DataFrame(
        [dict(change.split("=", 1) for change in outcome.cell.overrides) for outcome in outcomes], index=found.index
    )
    shown = text(found)
    empty = [name for name in shown if (shown[name] == DASH).all()]
    table = pd.concat([shown[["task"]], changes, shown.drop(columns=["task", "variant", *empty])], axis=1)
    note = (
        "Whoever picks the best of many settings by these scores picks luck, too: train it again with other seeds. "
        "`moorl-jax select` says what fewer episodes would have found."
    )
    sections = [Section("", table, f"{caption(study, outcomes)} {note}")]
    write(pd.concat([found[["task"]], changes, found.drop(columns=["task", "variant"])], axis=1), sections, directory)
    plots.curves(finished(outcomes), directory / "curves.png")
    plots.settings(finished(outcomes), directory / "settings.png")
    return sections
