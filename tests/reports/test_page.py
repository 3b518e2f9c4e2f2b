import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.reports import forecast, papers
from moorl_jax.reports.collection import find_results, runs
from moorl_jax.reports.page import render
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import Cell
from moorl_jax.tasks import find
from tests.stored import ODD, store, store_odd

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TASKS = ("hopper-medium-v2", "walker2d-medium-v2")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two tasks with two agents, a run without data, and one of a study, in the working directory's `results`."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    for task in TASKS:
        for agent, scores in (("iql", (50.0, 70.0)), ("bc", (9.0, 11.0))):
            store(results / f"cells/{task}/{agent}", agent, task, scores, command=f"moorl-jax train --agent {agent}")
    store(results / "cells/hopper/rlpd", "rlpd", updates=50, env_steps=500)
    store(results / "cells/hopper/study", overrides=["expectile=0.9"], scores=(1.0, 2.0))
    store(results / "cells/hopper/earlier", "iql", TASKS[0], (1.0, 2.0), finished="2026-11-20T12:00:00+00:00")
    store(results / "cells/hopper/d4rl", "iql", TASKS[0], (30.0, 31.0), source="d4rl")
    return results


def test_the_page_holds_tables_statistics_pictures_and_provenance(results):
    run = CliRunner().invoke(app, ["report"])
    assert run.exit_code == 0, run.output
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "6 finished results, 12 runs" in page  # the study's are left to it, and the earlier one to the latest
    assert "60.0 ± 10.0 (60.0)" in page
    assert "60.0 [50.0, 70.0]" in page  # mean and interval over both tasks
    assert "0.00 [0.00, 0.00]" in page  # BC above IQL
    assert page.count("data:image/webp;base64,") == 1 + 2 + 1 + 1  # a profile, and the curves of three tables' tasks
    assert "offline: 1,000 updates, d4rl data" in page  # never in one table with what was made here
    assert "moorl-jax train --agent bc" in page
    assert "Beside the paper: corl" in page
    assert not re.search(r"(src|href)=.(?!data:|#)", page)  # nothing from elsewhere
    for link in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{link}"' in page


def test_a_named_directory_is_shown_whole(results):
    run = CliRunner().invoke(app, ["report", "results/cells/hopper"])
    assert run.exit_code == 0, run.output
    page = (results / "cells/hopper/report.html").read_text(encoding="utf-8")
    assert "4 finished results, 8 runs" in page
    assert "iql (expectile=0.9)" in page


def test_one_that_ran_little_is_left_out_of_the_statistics(results):
    for number in range(3):
        task = f"halfcheetah-{('medium', 'expert', 'random')[number]}-v2"
        store(results / f"cells/{task}/iql", "iql", task)
        store(results / f"cells/{task}/bc", "bc", task)
    store(results / "cells/few/cql", "cql", TASKS[0])
    page = render([results])
    assert "Over the 5 tasks that all of them have finished" in page
    assert "Left out, with half of the tasks or fewer: cql" in page


def test_a_run_that_diverged_is_called_so(results):
    store(results / "cells/walker/cql", "cql", TASKS[1], (10.0, 20.0))
    store(results / "cells/hopper/cql", "cql", TASKS[0], (10.0, float("nan")))
    page = render([results])
    assert page.count(">diverged 1/2<") == 1  # its score
    assert page.count(">diverged 1/4<") == 5  # every aggregate over both tasks
    assert not re.search(r"\bnan\b", re.sub(r'base64,[^"]+', "", page))


def test_tasks_on_different_scales_have_no_statistics(results):
    shutil.rmtree(results / "cells")
    for task in ("hopper", "humanoid"):
        for agent in ("sac", "tune_iql"):
            spent = {"updates": 50, "env_steps": 500, "source": "none", "protocol": "subroutine"}
            store(results / f"cells/{task}/{agent}", agent, task, **spent)
    page = render([results])
    assert page.count("<h2>subroutine") == 1
    assert "Over tasks" not in page


def test_agents_of_ones_own_are_shown_by_any_name(results):
    """The last is what Python makes, under an ASCII locale, of a name beyond ASCII."""
    names = [
        "with (brackets).py:Mine",
        r"of $\frac{mathematics$.py:Mine",
        "<script>alert(1)</script>.py:Mine",
        "\udcc3.py:Mine",
    ]
    for number, name in enumerate(names):
        store(results / f"cells/own/{number}", name, TASKS[0], command=f"moorl-jax train --agent {name}")
    run = CliRunner().invoke(app, ["report"])
    assert run.exit_code == 0, run.output
    page = (results / "report.html").read_text(encoding="utf-8")
    for name in names:
        assert page.count(f"--agent {html.escape(name).replace(names[-1], '?.py:Mine')}") == 1
    assert "<script>alert" not in page


def test_odd_results_break_neither_page_nor_tables_nor_forecast(results, capsys):
    """Each is named in a line, and what is told of the others is what it was."""
    before = runs(find_results([results]))
    for name in ODD:
        store_odd(results / f"cells/odd/{name}", *ODD[name])
    capsys.readouterr()
    after = runs(find_results([results]))
    said = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[1]).name for line in said] == sorted(ODD)
    assert after.equals(before)
    assert "6 finished results" in render([results], changed=False)
    assert "none has been run" not in papers.make(papers.PAPERS["corl"], after)[2]
    cell = Cell(find(TASKS[0]), "iql", "recipe", (0,), BUDGETS["quick"], "offline")
    (cost,) = forecast.forecast([cell], results, None, "cpu cpu", 1)
    assert cost.device_hours > 0


def test_without_results_it_says_so(tmp_path):
    (tmp_path / "cells").mkdir()
    run = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert run.exit_code == 2
    assert "no finished result" in run.stderr


@pytest.mark.skipif(
    CHROMIUM is None, reason="it opens the page in Chromium, which is not installed here (Debian: apt install chromium)"
)
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_it_fits_and_sorts(results, width):
    """A click on an agent's column puts its highest score first, a second click its lowest."""
    store(results / "cells/other/iql", "iql", "halfcheetah-medium-v2", (90.0, 95.0))
    store(results / "cells/other/bc", "bc", "ant-medium-v2", (90.0, 95.0))  # IQL has no score there
    probe = """<script>
        const button = document.querySelectorAll("#board-1 thead button")[2];
        const tasks = () => [...document.querySelectorAll("#board-1 tbody")[0].rows].map(row => row.cells[0].innerText);
        button.click(); const falling = tasks(); button.click(); const rising = tasks();
        const fits = document.documentElement.scrollWidth <= innerWidth;
        parent.document.title = JSON.stringify({falling, rising, fits, width: innerWidth});
    </script>"""
    # In a frame, for Chromium's own window is never narrower than 500 pixels.
    inner = html.escape(render([results]) + probe)
    page = results / "page.html"
    page.write_text(
        f'<title></title><iframe width={width} height=900 frameborder=0 srcdoc="{inner}"></iframe>', encoding="utf-8"
    )
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    dumped = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=120, check=True).stdout
    said = re.search(r"<title>(.*?)</title>", dumped)[1]
    # The columns are task, bc, iql.
    told = json.loads(html.unescape(said))
    assert told["falling"][0] == "halfcheetah-medium-v2"
    assert told["rising"][-1] == "halfcheetah-medium-v2"
    assert told["falling"][-1] == told["rising"][0] == "ant-medium-v2"
    assert told["fits"]
    assert told["width"] == width
