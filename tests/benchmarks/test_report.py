import re
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from benchmarks import report
from tests.benchmarks.stored import store

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TASKS = ("hopper-medium-v2", "walker2d-medium-v2")


@pytest.fixture
def results(tmp_path):
    """Two tasks with two agents, a run without data, and one of a study."""
    for task in TASKS:
        for agent, scores in (("iql", (50.0, 70.0)), ("bc", (9.0, 11.0))):
            store(tmp_path / f"cells/{task}/{agent}", agent, task, scores, command=f"moorl-jax train --agent {agent}")
    store(tmp_path / "cells/hopper/rlpd", "rlpd", updates=50, env_steps=500)
    store(tmp_path / "cells/hopper/study", command="moorl-jax train --set expectile=0.9", scores=(1.0, 2.0))
    return tmp_path


def test_the_page_holds_tables_statistics_pictures_and_provenance(results):
    run = CliRunner().invoke(report.app, ["--results", str(results)])
    assert run.exit_code == 0, run.output
    page = (results / "report.html").read_text()
    assert "5 finished results, 10 runs" in page  # the study's are left to it
    assert "60.0 ± 10.0 (60.0)" in page
    assert "60.0 [50.0, 70.0]" in page  # mean and interval over both tasks
    assert "0.00 [0.00, 0.00]" in page  # BC above IQL
    assert page.count("data:image/png;base64,") == 1 + 2 + 1  # a profile, and the curves of three tables' tasks
    assert "moorl-jax train --agent bc" in page
    assert "Beside the paper: corl" in page
    assert not re.search(r"(src|href)=.(?!data:|#)", page)  # nothing from elsewhere
    for link in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{link}"' in page


def test_without_results_it_says_so(tmp_path):
    (tmp_path / "cells").mkdir()
    run = CliRunner().invoke(report.app, ["--results", str(tmp_path)])
    assert run.exit_code == 2
    assert "no cell has finished" in run.stderr


@pytest.mark.skipif(
    CHROMIUM is None, reason="it opens the page in Chromium, which is not installed here (Debian: apt install chromium)"
)
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_it_fits_and_sorts(results, width):
    """A click on an agent's column puts its highest score first, a second click its lowest."""
    store(results / "cells/other/iql", "iql", "halfcheetah-medium-v2", (90.0, 95.0))
    probe = """<script>
        const button = document.querySelectorAll("#board-1 thead button")[3];
        const tasks = () => [...document.querySelectorAll("#board-1 tbody")[0].rows].map(row => row.cells[0].innerText);
        button.click(); const falling = tasks(); button.click(); const rising = tasks();
        document.title = JSON.stringify({falling, rising, fits: document.documentElement.scrollWidth <= innerWidth});
    </script>"""
    page = results / "page.html"
    page.write_text(report.render(results) + probe)
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom", page.as_uri()]
    dumped = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=120, check=True).stdout
    said = re.search(r"<title>(.*?)</title>", dumped)[1]
    # The columns are task, data, bc, iql.
    assert '"falling":["halfcheetah-medium-v2",' in said
    assert said.index('"rising":') < said.index('"halfcheetah-medium-v2"],"fits"')
    assert '"fits":true' in said
