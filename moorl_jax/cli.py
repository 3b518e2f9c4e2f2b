"""The command line, `moorl-jax`."""

import functools
import inspect
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.table import Table

from moorl_jax import settings as families
from moorl_jax.agents import AGENTS, own_fault
from moorl_jax.agents.overrides import override
from moorl_jax.data import Rows, sources
from moorl_jax.data.rows import suspicions
from moorl_jax.data.sources import MADE_HERE, File, Source
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import provenance, results
from moorl_jax.engine.devices import require_devices, use_all_cores
from moorl_jax.engine.recipes import needs_data
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.training import evaluate, make_plan, train, which_seeds
from moorl_jax.errors import MoorlError, OwnAgentError, UnknownNameError, of_the_machine
from moorl_jax.locks import held
from moorl_jax.progress import Display, terminal
from moorl_jax.settings.origins import Setting, explain
from moorl_jax.tasks import SUITES, TASKS, Task, expand, find

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Offline, hybrid and offline-to-online reinforcement learning.",
)
data_app = typer.Typer(no_args_is_help=True, help="List, make, fetch and check datasets.")
app.add_typer(data_app, name="data")
console = terminal()

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name; `moorl-jax tasks` lists them.")]
SourceOption = Annotated[str, typer.Option(help=f"auto, {', '.join(sources.SOURCES)}.")]
PoliciesOption = Annotated[
    Path | None,
    typer.Option(envvar="MOORL_POLICIES", help="Directory of the behaviour policies that recipes roll out."),
]


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print a fault the user can mend as one line instead of a traceback, and exit with 2.

    The command gets an option `--traceback`: of a fault in a user's own agent it prints that part of the traceback, of
    any other all of it.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, traced: bool, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (Exception, SystemExit) as error:
            own = error if isinstance(error, OwnAgentError) else own_fault(error)
            fault = str(error if isinstance(error, MoorlError) else own or of_the_machine(error))
            if not fault:
                raise
            if traced:
                print(own.trace if own else traceback.format_exc(), end="", file=sys.stderr)
            print(f"error: {fault}", file=sys.stderr)
            raise typer.Exit(2) from None

    kind = Annotated[bool, typer.Option("--traceback", help="Show where a fault came from.")]
    signature = inspect.signature(command)
    option = inspect.Parameter("traced", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    wrapper.__annotations__ = command.__annotations__ | {"traced": kind}
    return wrapper


@app.command()
@guarded
def tasks(
    names: Annotated[
        str, typer.Argument(metavar="[NAMES]", help="Only these tasks and suites, separated by commas.")
    ] = "",
) -> None:
    """Print the catalogue, and which data is on this machine; of a single task, all there is to know."""
    chosen = expand(names) if names else tuple(TASKS.values())
    if len(chosen) == 1:
        _describe(chosen[0])
        return
    table = Table(
        caption="Data in brackets is not on this machine yet. `moorl-jax tasks TASK` tells more of one; suites: "
        + ", ".join(SUITES),
        caption_justify="left",
    )
    for column in ("task", "environment", "horizon", "observation", "action", "data"):
        table.add_column(
            column, justify="right" if column in ("horizon", "action") else "left", no_wrap=column == "task"
        )
    for task in chosen:
        table.add_row(
            task.name,
            task.environment,
            str(task.horizon),
            "×".join(map(str, task.observation_shape)),
            str(task.action_size),
            " ".join(_marked(source) for source in sources.of(task).values()),
        )
    console.print(table)


@data_app.command("list")
@guarded
def list_data() -> None:
    """Print the datasets on this machine, and where they lie."""
    table = Table("task", "source", "made from", "where")
    for task in TASKS.values():
        for source in sources.of(task).values():
            if source.is_here():
                table.add_row(task.name, source.name, source.made_of, source.location)
    if table.row_count:
        console.print(table)
    else:
        console.print(
            "No dataset yet: `moorl-jax data fetch TASK` downloads one, `moorl-jax data make TASK` makes one."
        )


@data_app.command("make")
@guarded
def make_data(
    task: TaskName,
    source: Annotated[str, typer.Option(help="recipe, or embedded: of policies this package carries.")] = "recipe",
    policies: PoliciesOption = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 0,
) -> None:
    """Regenerate a dataset by rolling out policies, as D4RL made its own; then report on it."""
    chosen = find(task)
    which_seeds([seed])
    require_devices()  # of some recipes a policy is trained
    if source not in MADE_HERE:
        raise UnknownNameError("recipe", source, MADE_HERE)
    made = sources.find(chosen, source, policies, seed)
    with Display(console) as display:
        made.get(display.data(chosen.name), display.say, anew=True)
    _report(made)


@data_app.command("fetch")
@guarded
def fetch_data(task: TaskName) -> None:
    """Download a task's dataset unless it is here already, from where it was published; then report on it."""
    chosen = find(task)
    source = sources.find(chosen, sources.published(chosen))
    with Display(console) as display:
        source.get(display.data(chosen.name), display.say)
    _report(source)


@data_app.command("check")
@guarded
def check_data(
    target: Annotated[
        str, typer.Argument(metavar="TASK | FILE.hdf5", help="A task's data, or a file (of images, their folder).")
    ],
    task: Annotated[str | None, typer.Option(help="The task a file is for.")] = None,
    source: SourceOption = "auto",
) -> None:
    """Read a dataset, refuse it if it is faulty, and print what a person wants to know of it."""
    if target in TASKS:
        chosen = TASKS[target]
        named = sources.find(chosen, sources.choose(chosen, source))
        if not named.is_here():
            here = [other.name for other in sources.of(chosen).values() if other.is_here()]
            instead = f"; here is {', '.join(here)}, name it with --source" if here else ""
            raise MoorlError(
                f"{target}: no data of source '{named.name}' here, `moorl-jax data fetch` or `make` gets it{instead}"
            )
        _report(named)
        return
    if task is None and not Path(target).exists():
        raise UnknownNameError("task or file", target, TASKS)
    if task is None:
        raise MoorlError(f"{target}: say which task the file is for, with --task")
    _report(File(find(task), Path(target)))


@app.command("train")
@guarded
def train_command(
    agent: Annotated[str, typer.Option(help=f"{', '.join(AGENTS)}, or file.py:Class.")],
    task: Annotated[str, typer.Option(help="A task's name.")],
    seeds: Annotated[str, typer.Option(help="How many, or which, separated by commas.")] = "4",
    updates: Annotated[
        int,
        typer.Option(
            min=0, help="Offline critic gradient steps per seed; agents without an offline phase pass over them."
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
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a field of the agent's config; backbone.alpha=1.0 reaches into an agent within.",
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints, which are written after evaluations.")
    ] = 60.0,
    out: Annotated[Path | None, typer.Option(help="Result directory; runs/TASK/AGENT by default.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a result that is already there.")] = False,
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
) -> None:
    """Train one agent on one task and write a result directory.

    With --env-steps it goes on online after the offline updates. A run that was killed goes on where it was when the
    same command is given again, and ends as if it had never stopped.
    """
    chosen = find(task)
    directory = out or Path("runs") / chosen.name / Path(agent).name.replace(":", "-")
    use_all_cores()
    chosen_seeds = which_seeds(_seeds(seeds))
    setting = families.settings(agent, chosen, updates, env_steps)
    trained = override(setting.agent, overrides or [])
    provenance.agent_fields(trained)  # what cannot be saved is named now, not after hours
    if print_config:
        plan = make_plan(chosen, updates, env_steps, evaluate_every, evaluate_every_steps, episodes)
        needed = needs_data(recipe(trained, updates, env_steps))
        data = sources.choose(chosen, source, policies) if needed else results.NO_SOURCE
        planned = [
            Setting("updates", updates, "--updates", ""),
            Setting("env steps", env_steps, "--env-steps", ""),
            _option("evaluate every", plan.evaluate_every, evaluate_every, "a twentieth of the updates"),
            _option(
                "evaluate every steps", plan.evaluate_every_steps, evaluate_every_steps, "a twentieth of the env steps"
            ),
            _option("episodes", plan.episodes, episodes, "the task's own"),
            Setting("seeds", ", ".join(map(str, chosen_seeds)), "--seeds", ""),
            Setting("source of data", data, "--source", ""),
        ]
        _print_settings(explain(agent, chosen, updates, env_steps, overrides or []), planned)
        return
    dataset = None
    with Display(console) as display, held(directory):
        if results.exists(directory) and not overwrite:
            raise MoorlError(f"{directory} exists; name another directory with --out, or allow --overwrite")
        if needs_data(recipe(trained, updates, env_steps)):
            named, source = source, sources.choose(chosen, source, policies)
            if named == "auto" and (said := sources.notice([(chosen, source)])):
                display.say(said)
            dataset = sources.load(chosen, source, policies, display.data(chosen.name), display.say)
        run = train(
            trained,
            chosen,
            seeds=chosen_seeds,
            updates=updates,
            env_steps=env_steps,
            evaluate_every=evaluate_every,
            evaluate_every_steps=evaluate_every_steps,
            episodes=episodes,
            dataset=dataset,
            preparation=setting.preparation,
            checkpoints=results.running(directory),
            checkpoint_seconds=checkpoint_seconds,
            resume_anyway=resume_anyway,
            report=display.training(f"{chosen.name} {agent}"),
            warn=display.warn,
        )
        results.save(run, directory, shlex.join(["moorl-jax", *sys.argv[1:]]), overrides or [])
    result = results.read(directory)
    data = f"{dataset.source} data" if dataset else "no data"
    last = run.curves.iloc[-1]
    spent = f"{last['updates']:,} updates" + (f", {env_steps:,} env steps" if env_steps else "")
    _scores(f"{agent} on {chosen.name} ({data}), after {spent}", run.seeds, result.last_scores())
    console.print(f"written: {directory}", highlight=False)


@app.command("eval")
@guarded
def eval_command(
    directory: Annotated[Path, typer.Argument(metavar="RESULT_DIR", help="What `train` or `make bench` wrote.")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes per seed; 100 by default, of images 10.")
    ] = None,
    round_: Annotated[int, typer.Option("--round", help="Another number, other starts.")] = 1_000_000,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code of an agent of one's own, from the file the result names.")
    ] = False,
) -> None:
    """Evaluate the final policies of a result again."""
    use_all_cores()
    result = results.read(directory)
    episodes = episodes or (10 if result.task.pixels else 100)  # each is a simulator, and a renderer takes memory
    agent, normalizer, states = results.load_states(result, trust)
    seeds = tuple(result.config["seeds"])
    policies = jax.device_get(jax.vmap(agent.policy)(states))
    played = evaluate(agent, result.task, normalizer, policies, seeds, episodes, round_)
    scores = np.array([result.task.score(value) for value in played.returns.mean(axis=1)])
    _scores(f"{result.config['agent']} on {result.task.name}, {episodes} episodes", seeds, scores)
    if (rates := played.success_rates()) is not None:
        rate = OverSeeds.of(100 * rates)
        console.print(f"success rate: {rate.or_diverged(f'{rate.mean:.1f} %')}", highlight=False)


def _describe(task: Task) -> None:
    table = Table(show_header=False, title=task.name)
    for name, value in {
        "family": task.family,
        "environment": task.environment,
        "horizon": f"{task.horizon} env steps",
        "observation": "×".join(map(str, task.observation_shape)),
        "action": str(task.action_size),
        "score 0 and 100": f"returns {task.low:.10g} and {task.high:.10g}",
        "rewards": task.rewards,
        "evaluation": f"{task.evaluation_episodes} episodes a seed",
        **{f"data: {_marked(source)}": _origin(source) for source in sources.of(task).values()},
        **({"data: recipe": f"none: {task.no_recipe}"} if task.no_recipe else {}),
        "suites": ", ".join(name for name, members in SUITES.items() if task.name in members),
    }.items():
        table.add_row(name, value)
    console.print(table)


def _origin(source: Source) -> str:
    """Say of what a source's data is made, and of published data its name there."""
    if source.name in MADE_HERE:
        return source.made_of
    return f"{source.made_of}: {source.task.datasets.get(source.name, source.place)}"


def _marked(source: Source) -> str:
    return source.name if source.is_here() else f"[{source.name}]"


def _seeds(text: str) -> int | list[int]:
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


def _scores(title: str, seeds: tuple[int, ...], scores: np.ndarray) -> None:
    table = Table(*(f"seed {seed}" for seed in seeds), "mean ± std")
    table.add_row(*(str(OverSeeds.of([score])) for score in scores), str(OverSeeds.of(scores)))
    console.print(title, highlight=False)
    console.print(table)


def _report(source: Source) -> None:
    """Print what a person wants to know of a dataset; raise DatasetError where it is not what it is called."""
    dataset = source.load()
    rows, task = dataset.rows, dataset.task
    returns, lengths = dataset.trajectory_returns()
    quantiles = np.quantile(returns, [0.0, 0.25, 0.5, 0.75, 1.0])
    transitions = f"{len(dataset.transitions):,}"
    lines = {
        "rows": f"{len(rows.rewards):,}",
        "transitions": f"{transitions} over one step"
        if task.pixels
        else f"{transitions} (as D4RL's qlearning_dataset)",
        "episodes": f"{len(returns):,}, {lengths.min()} to {lengths.max()} steps, mean {lengths.mean():.1f}",
        "return: min, quartiles, max": ", ".join(f"{value:.1f}" for value in quantiles),
        "return: mean": f"{returns.mean():.1f}, normalized score {task.score(returns.mean()):.1f}",
        "rewards": f"{rows.rewards.min():.4g} to {rows.rewards.max():.4g}",
        "actions": f"{rows.actions.min():.4g} to {rows.actions.max():.4g}",
        "sha256": dataset.fingerprint,
    }
    if authenticity := source.authenticity():
        lines["file"] = authenticity
    if isinstance(rows, Rows):
        timeouts = "no" if rows.timeouts is None else f"{int(rows.timeouts.sum()):,}"
        lines["ends"] = f"{int(rows.terminals.sum()):,} terminal steps, {timeouts} flagged time-outs"
        lines["noticed"] = "\n".join(suspicions(rows, task)) or "nothing odd"
    else:
        lines["frames"] = f"{rows.frames.nbytes / 1e9:.2f} GB"
        lines["noticed"] = "\n".join(rows.notes) or "nothing odd"
    table = Table(show_header=False)
    for line in lines.items():
        table.add_row(*line)
    console.print(f"{task.name}: {source.location}", highlight=False, soft_wrap=True)
    console.print(table)
