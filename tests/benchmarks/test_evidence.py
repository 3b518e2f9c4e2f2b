"""The queue of cells, and the verdicts on the papers' claims."""

import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.evidence import queue, verdicts
from benchmarks.evidence.claims import CLAIMS, Above, Answer, Cost, Level
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import results
from moorl_jax.errors import MoorlError
from moorl_jax.progress import Display, nowhere
from moorl_jax.reports.collection import find_results, runs
from moorl_jax.reports.forecast import Forecast
from moorl_jax.reports.published import Published
from moorl_jax.studies import questions
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.launchers import InProcesses
from moorl_jax.sweeps.runner import Outcome
from tests.stored import store

LINE = queue.Line(
    "why", "hopper-medium-v2", 2, agents="bc,td3_bc,iql", budget="quick", evaluations=4, source="embedded"
)


def forecasts(*hours, line=LINE):
    cells = line.cells(None)
    return [Forecast(cell, False, h, h, 0, 0, 0) for cell, h in zip(cells, hours, strict=False)]


class TestQueue:
    def test_every_line_says_why_and_can_be_planned(self):
        for line in queue.read().values():
            assert line.why.endswith((".", "?"))
            one = dataclasses.replace(line, tasks=line.tasks.partition(",")[0])
            cells = one.cells(None)
            assert len({cell.name for cell in cells}) == len(cells) > 0
            assert all(cell.budget.evaluations == line.evaluations for cell in cells if line.evaluations)

    def test_a_line_of_other_fields_is_named(self, tmp_path):
        (tmp_path / "queue.toml").write_text("[one]\nwhy = 'x'\ntask = 'hopper'\n", encoding="utf-8")
        with pytest.raises(MoorlError, match=r"queue\.toml: .*task"):
            queue.read(tmp_path / "queue.toml")

    @pytest.mark.parametrize(
        ("hours", "parallel", "still", "begun"),
        [
            ((1.0, 1.0, 1.0), 1, 10.0, [0, 1, 2]),
            ((1.0, 1.0, 1.0), 1, 1.2, [0]),  # the second would not reach its first quarter
            ((1.0, 1.0, 1.0), 1, 1.4, [0, 1]),  # it does, and is stopped later
            ((1.0, 1.0, 1.0), 3, 0.3, [0, 1, 2]),
            ((9.0, 0.1, 0.1), 1, 0.5, [1, 2]),  # what is too long is passed over
            ((np.nan, 0.1, 0.1), 1, 5.0, [0]),  # until it is known what the first takes
            ((np.nan, 0.1, 0.1), 2, 5.0, [0, 1, 2]),
            ((np.nan, 0.1, 0.1), 1, 0.09, [1]),
            ((np.nan, np.nan, 0.1), 1, np.inf, [0, 1, 2]),
            ((0.1, 0.1, 0.1), 1, 0.0, []),
        ],
    )
    def test_what_fits_is_begun(self, hours, parallel, still, begun):
        every = forecasts(*hours)
        chosen = queue.fitting(every, [0.0] * 3, parallel, still)
        assert chosen == [every[number].cell for number in begun]

    def test_of_a_cell_that_was_begun_the_rest_counts(self):
        assert len(queue.fitting(forecasts(1.0, 1.0), [0.0, 0.0], 1, 1.0)) == 1
        assert len(queue.fitting(forecasts(1.0, 1.0), [0.5, 0.0], 1, 1.0)) == 2

    def test_a_result_without_checkpoint_is_finished_and_progress_is_read(self, tmp_path):
        cells = queue.named(LINE.cells(None))
        first, second, third = cells
        store(tmp_path / first, agent="bc", updates=cells[first].spend[0])
        folder = results.running(tmp_path / second)
        folder.mkdir(parents=True)
        pd.DataFrame({"seed": [0, 1] * 3, "score": 1.0}).to_csv(folder / "curves.csv", index=False)
        assert queue.finished(cells, tmp_path) == {first}
        assert queue.finished({third: cells[third]}, tmp_path) == set()
        assert [queue.done(name, cells[name], tmp_path) for name in (second, third)] == [0.75, 0.0]
        console = Console(file=io.StringIO(), width=120)
        queue.show({"all": cells, "one": {third: cells[third]}}, tmp_path, None, "cpu cpu", 1, 1, console)
        said = console.file.getvalue()
        assert "1 of 3 cells are finished, 2 are left" in said

    def test_it_works_until_nothing_is_left_and_tries_nothing_that_failed_again(self, tmp_path, monkeypatch):
        cells, tried = queue.named(LINE.cells(None)), []

        def sweep(chosen, directory, *_):
            tried.append([cell.agent for cell in chosen])
            for cell in chosen:
                if cell.agent != "td3_bc":
                    store(directory / cell.name, agent=cell.agent, updates=cell.spend[0])
            return [Outcome(cell, None, "broke" if cell.agent == "td3_bc" else "") for cell in chosen]

        monkeypatch.setattr(queue, "sweep", sweep)
        monkeypatch.setattr(queue, "fitting", lambda forecasts, *_: [each.cell for each in forecasts][:1])
        faults = queue.work(cells, tmp_path, None, "cpu cpu", 1, 1, np.inf, nowhere())
        assert tried == [["bc"], ["td3_bc"], ["iql"]]
        assert faults == {[*cells][1]: "broke"}

    def test_what_is_stopped_begins_no_other_job(self):
        job = SimpleNamespace(label="a job")
        with InProcesses(1, Display(nowhere())) as launcher:
            launcher.stop("the time is up")
            assert launcher.submit(job, None).result() == "the time is up"


TASK = "walker2d-random-v2"
ABOVE = Above("OPT learns", "88.0 against 0.1", "opt", "td3_bc", (TASK,), (1_000, 500))


def kept(folder, agent, scores, task=TASK, updates=1_000, env_steps=500, **how):
    store(folder / agent / str(updates), agent, task, scores, updates, env_steps, **how)


def ours(folder):
    found = find_results([folder])
    return runs(found).assign(
        seconds=[10.0 * len(r.config["agent"]) for r in found for _ in r.config["seeds"]], device="cpu"
    )


class TestVerdicts:
    @pytest.mark.parametrize(
        ("opt", "td3", "verdict", "why"),
        [
            ((60.0, 70.0, 80.0), (1.0, 2.0, 3.0), verdicts.REPRODUCED, ""),
            ((1.0, 2.0, 3.0), (60.0, 70.0, 80.0), verdicts.NOT, ""),
            ((1.0, 2.0, 3.0), (2.5, 0.5, 1.5), verdicts.OPEN, "includes one half"),
            ((60.0, 70.0), (1.0, 2.0), verdicts.OPEN, "2 seeds of 3"),
        ],
    )
    def test_one_agent_above_another(self, tmp_path, opt, td3, verdict, why):
        kept(tmp_path, "opt", opt)
        kept(tmp_path, "td3_bc", td3)
        (line,) = verdicts.judge(ABOVE, ours(tmp_path), tmp_path)
        assert line.verdict == verdict
        assert why in line.why
        assert f"{np.mean(opt):.1f} against {np.mean(td3):.1f}" in line.ours

    def test_runs_of_another_budget_or_data_are_no_pair_and_a_small_budget_decides_nothing(self, tmp_path):
        kept(tmp_path, "opt", (60.0, 70.0, 80.0))
        kept(tmp_path, "td3_bc", (1.0, 2.0, 3.0), source="d4rl")
        assert verdicts.judge(ABOVE, ours(tmp_path), tmp_path)[0].why == verdicts.NOTHING
        kept(tmp_path, "opt", (60.0, 70.0, 80.0), updates=200)
        kept(tmp_path, "td3_bc", (1.0, 2.0, 3.0), updates=200)
        (line,) = verdicts.judge(ABOVE, ours(tmp_path), tmp_path)
        assert (line.verdict, line.why) == (verdicts.OPEN, "trained for 200 of 1,000 updates")

    def test_what_never_ran_is_no_failure(self, tmp_path):
        for claims in CLAIMS.values():
            for claim in claims:
                for line in [] if isinstance(claim, Answer) else verdicts.judge(claim, runs([]), tmp_path):
                    assert (line.verdict, line.why) == (verdicts.OPEN, verdicts.NOTHING)

    def test_a_cost_is_a_ratio_of_seconds(self, tmp_path):
        for agent in ("opt", "td3_bc"):
            kept(tmp_path, agent, (1.0, 2.0, 3.0))
        for at_most, verdict in ((0.6, verdicts.REPRODUCED), (0.4, verdicts.NOT)):
            claim = Cost("cheap", "", "opt", "td3_bc", (TASK,), (1_000, 500), at_most)
            (line,) = verdicts.judge(claim, ours(tmp_path), tmp_path)
            assert (line.ours, line.verdict) == ("0.50 times", verdict)

    @pytest.mark.parametrize(
        ("over", "published", "task", "verdict", "why"),
        [
            (OverSeeds(50.0, 1.0, 3, 0), 51.0, TASK, verdicts.REPRODUCED, "interval 47.0 to 53.0"),
            (OverSeeds(50.0, 1.0, 3, 0), 60.0, TASK, verdicts.NOT, "interval"),
            (OverSeeds(50.0, 20.0, 3, 0), 60.0, TASK, verdicts.OPEN, "reaches 61 points"),
            (OverSeeds(50.0, 1.0, 3, 0), 51.0, "hopper-medium-v2", verdicts.OPEN, "not the original"),
            (OverSeeds(np.nan, np.nan, 3, 1), 51.0, TASK, verdicts.NOT, "1 of 3 seeds diverged"),
            (OverSeeds(50.0, 1.0, 2, 0), 51.0, TASK, verdicts.OPEN, "2 seeds of 3"),
        ],
    )
    def test_a_score_beside_a_published_one_without_deviation(self, over, published, task, verdict, why):
        number = vars(over) | {"task": task, "agent": "opt", "updates": 1_000, "env_steps": 500, "source": "recipe"}
        line = verdicts.of_level(number | {"p": np.nan}, Published(published, np.nan, 10, 1_000, 500, "OPT"))
        assert line.verdict == verdict
        assert why in line.why

    def test_a_score_beside_one_with_a_deviation_is_tested(self):
        number = vars(OverSeeds(50.0, 1.0, 3, 0)) | {"task": TASK, "agent": "iql", "source": "d4rl"}
        number |= {"updates": 1_000, "env_steps": 0}
        for p, verdict in ((0.2, verdicts.REPRODUCED), (0.01, verdicts.NOT)):
            published = Published(55.0, 2.0, 4, 1_000, None, "CORL")
            assert verdicts.of_level(number | {"p": p}, published).verdict == verdict

    def test_the_page_has_every_claim(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            verdicts, "of_answer", lambda claim, _: verdicts.Verdict(claim.says, "", "", "", "", "", "")
        )
        verdicts.write(tmp_path, tmp_path / "verdicts.md")
        page = (tmp_path / "verdicts.md").read_text(encoding="utf-8")
        for paper, claims in CLAIMS.items():
            assert f"## {paper}" in page
            assert all(claim.says in page for claim in claims if not isinstance(claim, Level))

    @pytest.mark.parametrize(
        ("answer", "expected", "finished", "verdict"),
        [
            ("yes", "yes", 48, verdicts.REPRODUCED),
            ("yes", "no, the reverse", 48, verdicts.NOT),
            ("no, the reverse", "no, the reverse", 48, verdicts.REPRODUCED),
            ("open", "yes", 48, verdicts.OPEN),
            ("yes", "yes", 47, verdicts.OPEN),
        ],
    )
    def test_a_finding_is_as_it_is_answered(self, tmp_path, monkeypatch, answer, expected, finished, verdict):
        rows = {"one above other": {"estimate": "0.90 [0.80, 1.00]", "answer": answer}}
        answered = verdicts.Answered(rows, 3, (500_000, 1_000_000), finished, 48)
        monkeypatch.setattr(verdicts, "answers", lambda *_: answered)
        assert verdicts.of_answer(Answer("It helps", "one above other", expected), tmp_path).verdict == verdict

    def test_findings_on_subroutines_are_asked_by_their_names(self):
        """Each comparison of a claim is one that the study's runs can answer."""
        cells = dataclasses.replace(queue.read()["subroutines"], tasks="hopper,sawyer-push-sparse").cells(None)
        plan = {"updates": 0, "env_steps": 0, "evaluate_every": 1, "evaluate_every_steps": 1, "episodes": 1}
        curve = pd.DataFrame({"seed": [0, 1, 2], "env_steps": 10, "score": [1.0, 2.0, 3.0], "success": [0.0, 0.5, 1.0]})

        def outcome(cell: Cell) -> Outcome:
            config = {"task": cell.task.name, "source": "none", "seeds": [0, 1, 2], "plan": plan}
            return Outcome(cell, results.Result(None, config, {"dataset_mean_return": None}, curve, {}))

        table = questions.sections([outcome(cell) for cell in cells])[2].table
        asked = {claim.comparison for claims in CLAIMS.values() for claim in claims if isinstance(claim, Answer)}
        assert asked <= set(table["comparison"])
