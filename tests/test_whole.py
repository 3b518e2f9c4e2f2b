"""What is written beside its place: a full disk or a kill leaves what there was."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks import regress
from moorl_jax.cli import reports
from moorl_jax.reports import papers, plots, tables
from moorl_jax.studies import study
from moorl_jax.whole import whole
from tests.reports.test_tables import outcome
from tests.stored import store


def test_it_gets_its_name_when_it_is_whole(tmp_path):
    place = tmp_path / "of results" / "page.html"
    with whole(place) as partial:
        partial.write_text("all", encoding="utf-8")
        assert partial.name == place.name  # matplotlib and NumPy go by its ending
        assert not place.exists()
    assert place.read_text(encoding="utf-8") == "all"
    assert list(place.parent.iterdir()) == [place]


def write_tables(folder):
    tables.write([outcome("hopper-medium-v2", "bc", [1.0, 2.0])], folder)


def write_study(folder):
    study.write(pd.DataFrame({"task": ["hopper"]}), [study.Section("", pd.DataFrame(), "")], folder)


def write_paper(folder):
    papers.write("corl", ([], pd.DataFrame(), ""), folder)


def write_profiles(folder):
    plots.profiles({"bc": [np.arange(2.0)]}, folder / "profiles.png")


def write_curves(folder):
    plots.curves([("bc", outcome("hopper-medium-v2", "bc", [1.0, 2.0]).result)], folder / "curves.png")


def write_page(folder):
    store(folder / "cells/one")
    reports.report_command([folder], None, traced=True)


def write_baseline(folder):
    row = {"training": "one", "seed": 0} | {figure.column: 1.0 for figure in regress.FIGURES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regress, "BASELINE", folder / "regression.csv")
        patch.setattr(regress, "measure", lambda *_: pd.DataFrame([row]))
        regress.regress(record=True, traced=True)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_tables, "table.csv"),
        (write_tables, "table.md"),
        (write_study, "table.csv"),
        (write_study, "table.md"),
        (write_paper, "corl.md"),
        (write_paper, "corl.csv"),
        (write_paper, "corl.tex"),
        (write_profiles, "profiles.png"),
        (write_curves, "curves.png"),
        (write_page, "report.html"),
        (write_baseline, "regression.csv"),
    ],
)
def test_what_cannot_be_written_to_its_end_leaves_what_there_was(write, name, tmp_path, monkeypatch):
    (tmp_path / name).write_text("old", encoding="utf-8")

    class FullError(Exception):
        pass

    def breaking(method):
        def broken(self, *given, **how):
            place = self if isinstance(self, Path) else Path(given[0])
            if place.name != name:
                return method(self, *given, **how)
            place.write_bytes(b"half")
            raise FullError

        return broken

    for owner, method in ((Path, "write_text"), (pd.DataFrame, "to_csv"), (Figure, "savefig")):
        monkeypatch.setattr(owner, method, breaking(getattr(owner, method)))
    with pytest.raises(FullError):
        write(tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8") == "old"
    assert not list(tmp_path.glob("*.partial"))
