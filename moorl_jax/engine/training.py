"""Training: an agent, a task and some seeds in; curves and final states out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from moorl_jax import settings as families
from moorl_jax import tracking
from moorl_jax.agents import Agent
from moorl_jax.data import Dataset, Normalizer, Preparation, choose, load
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.engine.evaluation import Episodes, Evaluator
from moorl_jax.engine.extension import plan_of, require_beginning
from moorl_jax.engine.recipes import needs_data
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.request import make_plan, require_environment, which_seeds, which_task
from moorl_jax.engine.run import Run
from moorl_jax.engine.together import Shared, Training, train_together
from moorl_jax.errors import MoorlError
from moorl_jax.progress import Display, Report, nowhere, terminal
from moorl_jax.settings import Settings
from moorl_jax.tasks import Task
from moorl_jax.types import Params


def train(
    agent: str | Agent,
    task: str | Task | None = None,
    *,
    seeds: int | Sequence[int] = 4,
    updates: int = 100_000,
    env_steps: int = 0,
    evaluate_every: int | None = None,
    evaluate_every_steps: int | None = None,
    episodes: int | None = None,
    source: str = "auto",
    policies: Path | None = None,
    dataset: Dataset | None = None,
    overrides: Sequence[str] = (),
    preparation: Preparation | None = None,
    checkpoints: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume_anyway: bool = False,
    extendable: bool = False,
    extend: str | Path | None = None,
    track: Mapping[str, str | Path] | None = None,
    progress: bool = True,
    callback: Callable[[Report], None] = lambda _: None,
    warn: Callable[[str], None] = print,
) -> Run:
    """Train an agent on a task, all seeds at once, evaluating as it goes.

    Args:
        agent: a name (`iql`, or `file.py:Class`), set as its authors did for the task's family, or an agent that you
            made, `IQL(expectile=0.9)`, whose fields are taken as they are.
        task: a task of the catalogue, by name or as an object, or `Task.of` your own; by default the dataset's.
        seeds: how many (0, 1, ...), or which.
        updates: offline critic gradient steps per seed, rounded up to whole cycles of the agent. Agents that learn
            online alone ignore them.
        env_steps: online environment steps per seed, after the offline updates.
        evaluate_every: offline updates between evaluations; a twentieth of all by default.
        evaluate_every_steps: env steps between evaluations; a twentieth of all by default.
        episodes: episodes per seed and evaluation; the task's own number by default.
        source: where the data comes from; `auto` takes the best there is.
        policies: directory of the behaviour policies that a recipe rolls out.
        dataset: data to train on instead of the task's, such as your own: `Dataset.from_arrays`, `from_hdf5`,
            `from_minari`.
        overrides: changes of single fields, as `--set` takes them, all others keeping what they are:
            `["expectile=0.9", "backbone.alpha=1.0", "preparation.normalize_returns=False"]`.
        preparation: what is done to the data first; by default what the authors of the agent did for the task's
            family, be it named or made. `Preparation()` leaves the data as it is.
        checkpoints: directory to keep the last two checkpoints in. Where it holds some of this same training, it is
            resumed and, on a CPU with as many cores, ends exactly as if it had never stopped. Its `curves.csv` grows
            with every evaluation. The caller deletes it.
        checkpoint_seconds: wall-clock seconds between checkpoints, which are written after an evaluation or at the
            end of a phase.
        resume_anyway: resume from checkpoints though other code, or other versions of packages, wrote them; the run
            says where.
        extendable: write a checkpoint at the end, too, from which the training can be given a larger budget; its result
            keeps it. It needs `checkpoints`.
        extend: directory of a finished result of this training within a smaller budget, to go on from. Its states, on
            a CPU, are those of a training that had this budget from the start. Intervals of evaluations that are not
            given are its own.
        track: what logs it too, while it runs, and in which directory: {"tensorboard": DIR}, {"wandb": DIR}.
        progress: show how far it is, as a bar on a terminal and as lines elsewhere.
        callback: called after every part of the training with its losses, returns and rates; to end the training
            early, raise an exception of your own.
        warn: called with what is to be said of a damaged checkpoint, or of one that another number of devices or cores
            wrote.

    Raises:
        MoorlError: the task, the agent or the data is unknown, faulty or not available; the result cannot be extended.
        CheckpointsError: the checkpoints are another training's, or none of them is whole.
    """
    prepare_jax()
    task, dataset = which_task(task, dataset)
    seeds = which_seeds(seeds)
    trackers = {tracking.find(name): Path(place) for name, place in (track or {}).items()}
    if extend:
        extend = Path(extend)
        shorter = plan_of(extend)
        evaluate_every, episodes = evaluate_every or shorter.evaluate_every, episodes or shorter.episodes
        if shorter.env_steps:
            evaluate_every_steps = evaluate_every_steps or shorter.evaluate_every_steps
    plan = make_plan(task, updates, env_steps, evaluate_every, evaluate_every_steps, episodes)
    chosen = families.settings(agent, task, updates, env_steps)
    chosen = Settings(chosen.agent, preparation or chosen.preparation).overridden(overrides)
    phases = recipe(chosen.agent, updates, env_steps)
    require_environment(task, phases)
    if extend:
        require_beginning(extend, chosen.agent, plan)
    if (extend or extendable) and not checkpoints:
        raise MoorlError("extend and extendable need a directory of checkpoints")
    with ExitStack() as opened:
        display = opened.enter_context(Display(terminal() if progress else nowhere()))
        if not needs_data(phases):
            dataset = None
        elif not dataset:
            source = choose(task, source, policies)
            dataset = load(task, source, policies, display.data(task.name), display.say)
        shown = display.training(f"{task.name} {type(chosen.agent).__name__}")

        def report(news: Report) -> None:
            shown(news)
            callback(news)

        kept = Path(checkpoints) if checkpoints else None
        before = Path(extend) if extend else None
        training = Training(chosen.agent, tuple(overrides), kept, before, trackers)
        (run,) = train_together(
            [training],
            Shared(task, dataset, chosen.preparation, seeds, plan),
            checkpoint_seconds=checkpoint_seconds,
            resume_anyway=resume_anyway,
            extendable=extendable,
            callback=report,
            warn=warn,
        )
    return run


def evaluate(
    agent: Agent,
    task: Task,
    normalizer: Normalizer,
    policies: Params,
    seeds: tuple[int, ...],
    episodes: int,
    round_: int,
) -> Episodes:
    """Play episodes of trained policies; `agent` is the one of the last phase."""
    evaluator = Evaluator(task, normalizer, seeds, episodes)
    played = evaluator.evaluate(agent, evaluator.snapshot(policies), round_)
    evaluator.close()
    return played
