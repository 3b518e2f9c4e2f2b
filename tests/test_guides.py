"""The guides' code runs, block after block, and the commands have the options that they show."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from moorl_jax.cli import app

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = sorted(DOCS.glob("guides/your-*.md"))


def blocks(guide, language):
    found = re.findall(r"^```(\w*)\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_the_code_of_a_guide_runs(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code in blocks(guide, "python"):
        exec(compile(code, guide.name, "exec"), names)


@pytest.mark.parametrize("guide", [DOCS / "getting-started.md", *GUIDES], ids=lambda guide: guide.stem)
def test_the_commands_of_a_guide_have_their_options(guide):
    lines = [line for block in blocks(guide, "") for line in block.splitlines() if line.startswith("moorl-jax ")]
    assert lines
    for line in lines:
        command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
            command = command.load() if hasattr(command, "load") else command
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line
