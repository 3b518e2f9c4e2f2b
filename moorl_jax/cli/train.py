"""`moorl-jax train`."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moorl_jax import settings as families
from moorl_jax.agents import AGENTS
from moorl_jax.cli.evaluate import print_scores
from moorl_jax.cli.options import (
    ActionRangeOption,
    DataOption,
    EnvOption,
    EnvPackageOption,
    HorizonOption,
    OverridesOption,
    PoliciesOption,
    ScoreOption,
    SourceOption,
    chosen_task,
    guarded,
    own_task,
)
from moorl_jax.data import sources
from moorl_jax.engine import provenance, results
from moorl_jax.engine.checkpoints import delete
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.recipes import needs_data
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.request import make_plan, which_seeds
from moorl_jax.engine.training import train
from moorl_jax.errors import CheckpointsError, MoorlError
from moorl_jax.locks import held
from moorl_jax.progress import Display, terminal
from moorl_jax.reports import forecast
from moorl_jax.settings.origins import Setting, explain
from moorl_jax.sweeps.budgets import find_budget
from moorl_jax.sweeps.cells import Cell
from moorl_jax.tracking import TRACKERS

console = terminal()
RUNS = Path("runs")  #: where results are written, in TASK/AGENT
INTERVALS = ("evaluate_every", "evaluate_every_steps", "episodes")  #: of a plan


@guarded
def train_command(
    agent: Annotated[str, typer.Option(help=f"{', '.join(AGENTS)}, or file.py:Class.")],
    task: Annotated[str | None, typer.Option(help="A task's name.")] = None,
    data: DataOption = None,
    action_range: ActionRangeOption = None,
    env: EnvOption = None,
    env_package: EnvPackageOption = "",
    horizon: HorizonOption = None,
    score: ScoreOption = None,
    seeds: Annotated[str, typer.Option(help="How many, or which, separated by commas.")] = "4",
    updates: Annotated[
        int,
        typer.Option(
            min=0, help="Offline critic gradient steps per seed; agents without an offline phase ignore them."
        ),
    ] = 100_000,
    env_steps: Annotated[int, typer.Option(min=0, help="Online env steps per seed, after the offline updates.")] = 0,
    evaluate_every: Annotated[
        int | None,
        typer.Option(min=1, help="Offline updates between evaluations; a twentieth of all by default."),
    ] = None,
    evaluate_every_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Env steps between evaluations; a twentieth of all by default."),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="Episodes per evaluation and seed.")] = None,
    source: SourceOption = "auto",
    policies: PoliciesOption = None,
    overrides: OverridesOption = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints, which are written after evaluations.")
    ] = 60.0,
    out: Annotated[Path | None, typer.Option(help="Result directory; runs/TASK/AGENT by default.")] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a result that is there; discard checkpoints that this training cannot resume from.",
        ),
    ] = False,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Continue a finished result up to these totals of updates and env steps."),
    ] = False,
    track: Annotated[
        list[str] | None, typer.Option(help=f"Log it while it runs, beside the result: {', '.join(TRACKERS)}.")
    ] = None,
    resume_anyway: Annotated[
        bool,
        typer.Option(
            "--resume-anyway", help="Go on from checkpoints of other code or packages; the result's provenance says so."
        ),
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print every value in force and where it comes from, and train nothing."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what it takes, time, memory and disk; train nothing.")
    ] = False,
) -> None:
    """Train one agent on one task and write a result directory.

    The task is one of the catalogue (--task), or your own: an environment (--env), data (--data), or both.
    `moorl-jax agents NAME` lists the fields of an agent, which --set changes.

    With --env-steps it goes on online after the offline updates. A run that was killed goes on where it was when the
    same command is given again, and ends as if it had never stopped. One that has finished gets a larger budget by the
    same command with larger numbers and --extend. Meanwhile its curves grow in RESULT_DIR.running/curves.csv.
    """
    chosen, dataset = chosen_task(task, own_task(env, env_package, horizon, score), data, action_range)
    directory = out or RUNS / chosen.name / Path(agent).name.replace(":", "-")
    use_all_cores()
    chosen_seeds = which_seeds(read_seeds(seeds))
    plan = make_plan(chosen, updates, env_steps, evaluate_every, evaluate_every_steps, episodes)
    trained = families.settings(agent, chosen, updates, env_steps).overridden(overrides or []).agent
    provenance.agent_fields(trained)  # what cannot be saved is named now, not after hours
    if print_config or dry_run:
        needed = needs_data(recipe(trained, updates, env_steps))
        origin = results.NO_SOURCE
        if needed:
            origin = dataset.source if dataset else sources.choose(chosen, source, policies)
        planned = [
            Setting("updates", updates, "--updates", ""),
            Setting("env steps", env_steps, "--env-steps", ""),
            _option("evaluate every", plan.evaluate_every, evaluate_every, "a twentieth of the updates"),
            _option(
                "evaluate every steps", plan.evaluate_every_steps, evaluate_every_steps, "a twentieth of the env steps"
            ),
            _option("episodes", plan.episodes, episodes, "the task's own"),
            Setting("seeds", ", ".join(map(str, chosen_seeds)), "--seeds", ""),
            Setting("source of data", origin, "--data" if data else "--source", ""),
        ]
        if print_config:
            _print_settings(explain(agent, chosen, updates, env_steps, overrides or []), planned)
            return
        _print_settings(planned)
        evaluations = max(1, updates // plan.evaluate_every)
        spend = find_budget("paper", updates, env_steps)
        spend = dataclasses.replace(spend, evaluations=evaluations, episodes=plan.episodes)
        protocol = "offline-to-online" if env_steps else "offline"
        cell = Cell(chosen, agent, origin, chosen_seeds, spend, protocol, tuple(overrides or ()))
        transitions = {(chosen.name, origin): len(dataset.transitions)} if dataset else {}
        forecast.show([cell], Path("results/cells"), policies, 1, console, transitions, [RUNS])
        return
    with Display(console) as display, held(directory):
        before = directory if extend and results.exists(directory) else None
        if results.exists(directory) and not (overwrite or before):
            raise MoorlError(
                f"{directory} exists; name another directory with --out, allow --overwrite, or --extend it"
            )
        if not needs_data(recipe(trained, updates, env_steps)):
            dataset = None
        elif not dataset:
            named, source = source, sources.choose(chosen, source, policies)
            if named == "auto" and (said := sources.notice([(chosen, source)])):
                display.say(said)
            dataset = sources.load(chosen, source, policies, display.data(chosen.name), display.say)
        start = functools.partial(
            train,
            agent,
            chosen,
            seeds=chosen_seeds,
            updates=updates,
            env_steps=env_steps,
            evaluate_every=evaluate_every,
            evaluate_every_steps=evaluate_every_steps,
            episodes=episodes,
            dataset=dataset,
            overrides=overrides or [],
            checkpoints=results.running(directory),
            checkpoint_seconds=checkpoint_seconds,
            resume_anyway=resume_anyway,
            extendable=True,
            extend=before,
            track={name: results.tracked(directory, name) for name in track or ()},
            progress=False,
            callback=display.training(f"{chosen.name} {agent}"),
            warn=display.warn,
        )
        try:
            run = start()
        except CheckpointsError as error:
            if before:
                raise
            if not overwrite:
                raise MoorlError(f"{error}, as --overwrite does") from error
            display.warn(f"{results.running(directory)} {error.fault}: discarded, beginning anew")
            delete(results.running(directory))
            run = start()
        words = ["moorl-jax", *sys.argv[1:]]
        if before:  # whose intervals the larger budget alone does not say
            words += [f"--{name.replace('_', '-')}={getattr(run.plan, name)}" for name in INTERVALS]
        results.save(run, directory, shlex.join(words))
    result = results.read(directory)
    source = f"{dataset.source} data" if dataset else "no data"
    last = run.curves.iloc[-1]
    spent = f"{last['updates']:,} updates" + (f", {env_steps:,} env steps" if env_steps else "")
    if chosen.evaluated:
        print_scores(f"{agent} on {chosen.name} ({source}), after {spent}", run.seeds, result.last_scores())
    else:
        console.print(f"{agent} on {source}, after {spent}; without an environment curves.csv has losses alone")
    console.print(f"written: {directory}", highlight=False)


def read_seeds(text: str) -> int | list[int]:
    """Read `4` as a number of seeds, `0,1,2` or `7,` as the seeds themselves."""
    try:
        return [int(part) for part in text.split(",") if part.strip()] if "," in text else int(text)
    except ValueError:
        raise MoorlError(f"--seeds takes a number or numbers separated by commas, not '{text}'") from None


def _option(name: str, value: int, given: int | None, otherwise: str) -> Setting:
    """Return a value of the plan that an option of its name may give."""
    if given is None:
        return Setting(name, value, "default", otherwise)
    return Setting(name, value, f"--{name.replace(' ', '-')}", "")


def _print_settings(*parts: Iterable[Setting]) -> None:
    table = Table("name", "value", "where", "source")
    for part in parts:
        for setting in part:
            table.add_row(*map(str, setting))
        table.add_section()
    console.print(table)
