"""The guides' code runs, block after block, and the commands have the options that they show; so has the README's."""

import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer

import moorl_jax
from moorl_jax.agents import AGENTS, ReBRAC
from moorl_jax.cli import app
from moorl_jax.data.rows import to_transitions
from moorl_jax.engine.training import train

ROOT = Path(__file__).parents[1]
QUICK = ("your-*", "sweeps", "offline-to-online")
RUN = sorted(page for name in QUICK for page in ROOT.glob(f"docs/guides/{name}.md"))
ALGORITHMS = sorted(set(ROOT.glob("docs/algorithms/*.md")) - {ROOT / "docs/algorithms/index.md"})
FORM = ["Idea", "Equations", "Checked against", "Where we differ", "Settings", "Cost", "Results", "References"]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def titled(guide, language):
    """Return the blocks of a guide with their titles, which are file names, or empty."""
    block = re.compile(r"^```(\w*)(?: title=\"(.*?)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = block.findall(guide.read_text(encoding="utf-8"))
    return [(title, text) for kind, title, text in found if kind == language]


def blocks(guide, language):
    return [text for _, text in titled(guide, language)]


def commands(page):
    return [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("moorl-jax ")]


@pytest.mark.parametrize("guide", RUN, ids=lambda guide: guide.stem)
@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_the_code_of_a_guide_runs(guide, tmp_path, monkeypatch, hopper_data):
    """Blocks with a title are files; what one trains on a whole embedded set is trained on a little of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(moorl_jax, "use_all_cores", lambda: None)  # for JAX has started here

    def little(*names, source=None, **how):
        return train(*names, **how | ({"dataset": hopper_data, "updates": 4, "episodes": 1} if source else {}))

    monkeypatch.setattr(moorl_jax, "train", little)
    names = {"__name__": "__main__"}
    for title, code in titled(guide, "python"):
        if title:
            Path(title).write_text(code, encoding="utf-8")
        exec(compile(code, title or guide.name, "exec"), names)


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


@pytest.fixture(scope="module")
def penalized():
    """The guide's agent that asks for the data's next actions."""
    names = {}
    (code,) = [code for code in blocks(ROOT / "docs/guides/your-algorithm.md", "python") if "PenalizedTD3BC" in code]
    exec(code, names)
    return names["PenalizedTD3BC"](hidden=(8, 8), batch_size=16)


def test_the_guide_s_penalty_is_rebrac_s(penalized, hopper_rows):
    """Its targets are those that ReBRAC's equation has for the same networks and noise."""
    rows = jax.tree.map(jnp.asarray, to_transitions(hopper_rows, 1000, next_actions=True)).take(jnp.arange(16))
    state = penalized.init(jax.random.key(0), rows)
    draws = penalized.draw(jax.random.key(1), rows)
    _, metrics = penalized.critic_loss(state.critic.params, state, rows, draws)
    rebrac = ReBRAC(critic_penalty=penalized.critic_penalty)
    np.testing.assert_allclose(metrics["target_q"], rebrac.target(state, rows, draws).mean(), rtol=1e-5)


def test_the_guide_s_penalized_agent_trains(penalized, hopper, hopper_data):
    run = train(penalized, hopper, seeds=2, updates=4, evaluate_every=4, episodes=1, dataset=hopper_data)
    assert np.isfinite(run.curves["critic_loss"].iloc[-2:]).all()
