"""A small part of every robot's set that the package can make, and the page that holds them against D4RL's."""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import levels
from moorl_jax.data import plans
from moorl_jax.tasks.catalogue import TASKS

PAGE = Path("docs/levels.md")
MADE = [task for task in TASKS.values() if task.family == "locomotion" and "embedded" in task.datasets]


def lines(page):
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[0:1] == "|"]
    return [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of sets a hundred times smaller."""
    folder = tmp_path_factory.mktemp("levels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOORL_DATA_DIR", str(folder))
        patch.setattr(plans, "_STEPS", 4_000)
        patch.setattr(plans, "_REPLAY_STEPS", dict.fromkeys(plans._REPLAY_STEPS, 4_000))
        said = CliRunner().invoke(levels.app, ["--out", str(folder / "page.md")])
    assert said.exit_code == 0, said.output
    return (folder / "page.md").read_text(encoding="utf-8")


def test_it_has_every_set(page):
    assert [line["data"] for line in lines(page)] == [task.name for task in MADE]


@pytest.mark.parametrize("task", MADE, ids=lambda task: task.name)
def test_a_set_returns_what_the_committed_page_says(page, task):
    """A few episodes lie where the million rows do."""
    small, whole = (
        next(line for line in lines(text) if line["data"] == task.name)
        for text in (page, PAGE.read_text(encoding="utf-8"))
    )
    mean = float(small["return"].split(" ")[0].replace(",", ""))
    least, most = (float(whole[name].replace(",", "")) for name in ("least", "most"))
    assert least <= mean <= most
    for column in ("D4RL's return", "D4RL's least", "D4RL's most"):
        assert small[column] == whole[column]


def test_whatever_is_far_off_has_its_reason():
    page = PAGE.read_text(encoding="utf-8")
    theirs = pd.read_csv(levels.D4RL, index_col="task")
    far = {
        line["data"]
        for line in lines(page)
        if line["off by"] != "–" and abs(float(line["off by"].removesuffix(" %"))) > 100 * levels.CLOSE
    }
    near_anyway = {name for name in far if name.split("-")[1] == "random"}
    assert far - near_anyway <= set(levels.REASONS) <= set(theirs.index)
    assert set(re.findall(r"^- \*(.*?)\*:", page, re.M)) == set(levels.REASONS)
