"""The guides' code runs, block after block, and the commands have the options that they show; so has the README's."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from moorl_jax.agents import AGENTS
from moorl_jax.cli import app

ROOT = Path(__file__).parents[1]
RUN = sorted(page for name in ("your-*", "sweeps") for page in ROOT.glob(f"docs/guides/{name}.md"))  #: the quick ones
ALGORITHMS = sorted(set(ROOT.glob("docs/algorithms/*.md")) - {ROOT / "docs/algorithms/index.md"})
FORM = ["Idea", "Equations", "Checked against", "Where we differ", "Settings", "Cost", "Results", "References"]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(guide, language):
    found = re.findall(r"^```(\w*)\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


def commands(page):
    return [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("moorl-jax ")]


@pytest.mark.parametrize("guide", RUN, ids=lambda guide: guide.stem)
@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_the_code_of_a_guide_runs(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code in blocks(guide, "python"):
        exec(compile(code, guide.name, "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_have_their_options(page):
    for line in commands(page):
        command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
            command = command.load() if hasattr(command, "load") else command
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


def test_the_readme_is_short_and_true():
    """No test but this one sees where the README falls behind: its tables are written by hand."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 8_000
    agents = re.findall(r"`([a-z0-9_]+\*?)`", text.partition("## Algorithms")[2].partition("##")[0])
    patterns = [re.escape(agent).replace(r"\*", "\\w+") for agent in agents]
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in AGENTS)] == []
    rows = re.findall(r"^\| .* ± .*$", text, re.MULTILINE)
    written = "".join(file.read_text(encoding="utf-8") for file in ROOT.glob("results/*/table.md"))
    assert rows
    assert [row for row in rows if row not in written] == []
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in linked if not (ROOT / link).exists()] == []


def test_the_pages_of_algorithms_have_one_form_and_name_every_recording():
    named = []
    for page in ALGORITHMS:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == FORM, page
        patterns = re.findall(r"[\w*]+", text.partition("recordings: ")[2].partition("\n")[0])
        found = [[file.stem for file in ROOT.glob(f"tests/parity/{pattern}.npz")] for pattern in patterns]
        assert all(found), page
        named += [name for each in found for name in each]
    assert sorted([*named, "d4rl_conventions"]) == sorted(file.stem for file in ROOT.glob("tests/parity/*.npz"))
