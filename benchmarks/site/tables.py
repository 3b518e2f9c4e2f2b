"""Tables of what the library holds: algorithms, tasks, suites, sources of data, budgets, studies."""

import inspect

import pandas as pd

from benchmarks.site.algorithms import FAMILIES, subjects
from benchmarks.site.pages import markdown
from moorl_jax.agents import AGENTS, Agent
from moorl_jax.data.sources import SOURCES
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Offline
from moorl_jax.studies.catalogue import STUDIES
from moorl_jax.sweeps.budgets import BUDGETS, BUDGETS_OF_IMAGES, PROTOCOLS
from moorl_jax.tasks import SUITES, TASKS, Task

YES, NO = "✓", "–"


def algorithms() -> str:
    """Return a row per agent, with a link to its page and what its file says that it is."""
    pages = {agent: page for page, subject in subjects().items() for agent in subject.agents}
    rows = []
    for name, agent in AGENTS.items():
        offline, online = _protocols(agent())
        what = (inspect.getdoc(inspect.getmodule(agent)) or "").partition("\n")[0].rstrip(".")
        rows.append([f"[`{name}`]({pages[name]}.md)", what, YES if offline else NO, YES if online else NO])
    return markdown(pd.DataFrame(rows, columns=["agent", "algorithm", "offline", "online"]))


def _protocols(agent: Agent) -> tuple[bool, bool]:
    """Return whether an agent learns offline, and whether it learns online."""
    able = []
    for spend in (BUDGETS["paper"].spend("offline"), BUDGETS["paper"].spend("offline-to-online")):
        try:
            able.append(agent.phases(*spend))
        except MoorlError:
            able.append(())
    offline, tuned = able
    return any(isinstance(phase, Offline) for phase in offline), bool(tuned)


def tasks() -> str:
    """Return a table of tasks for each family."""
    parts = []
    for family, title in FAMILIES.items():
        of = [task for task in TASKS.values() if task.family == family]
        parts.append(f"## {title}\n\n{_tasks(of)}")
    return "\n\n".join(parts)


def _tasks(of: list[Task]) -> str:
    """Return a table of tasks; what all of them are rewarded by stands above it."""
    rewards = {task.rewards for task in of}
    rows = [
        [
            f"`{task.name}`",
            task.environment,
            " × ".join(map(str, task.observation_shape)),
            task.action_size,
            f"{task.horizon:,}",
            f"{task.low:g} – {task.high:g}",
            task.rewards,
            ", ".join(task.datasets) or NO,
        ]
        for task in of
    ]
    names = ["task", "environment", "observation", "action", "horizon", "returns of scores 0 – 100", "reward", "data"]
    table = pd.DataFrame(rows, columns=names)
    if len(rewards) > 1:
        return markdown(table)
    return f"Reward: {rewards.pop()}.\n\n{markdown(table.drop(columns='reward'))}"


def suites() -> str:
    """Return a table of the suites."""
    rows = [[f"`{name}`", len(tasks), ", ".join(tasks[:3])] for name, tasks in SUITES.items()]
    return markdown(pd.DataFrame(rows, columns=["suite", "tasks", "the first of them"]))


def sources() -> str:
    """Return how many tasks of each family a source has data for."""
    rows = []
    for source in SOURCES:
        having = [task.family for task in TASKS.values() if source in task.datasets]
        if having:
            rows.append([f"`{source}`", *(having.count(family) or NO for family in FAMILIES)])
    return markdown(pd.DataFrame(rows, columns=["source", *FAMILIES.values()]))


def budgets() -> str:
    """Return what each budget spends, of states and of images."""
    rows = []
    for title, kind in (("states", BUDGETS), ("images", BUDGETS_OF_IMAGES)):
        for name, budget in kind.items():
            spent = [_spent(*budget.spend(protocol)) for protocol in PROTOCOLS]
            rows.append([f"`{name}`", title, *spent, budget.seeds, budget.episodes])
    return markdown(pd.DataFrame(rows, columns=["budget", "of", *PROTOCOLS, "seeds", "episodes"]))


def _spent(updates: int, env_steps: int) -> str:
    counts = ((updates, "updates"), (env_steps, "env steps"))
    return ", ".join(f"{count:,} {unit}" for count, unit in counts if count)


def studies() -> str:
    """Return a table of the studies."""
    rows = [[f"`{name}`", study.question] for name, study in STUDIES.items()]
    return markdown(pd.DataFrame(rows, columns=["study", "question"]))
