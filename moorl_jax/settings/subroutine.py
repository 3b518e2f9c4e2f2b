"""Offline RL as a subroutine (arXiv 2512.00383): our values, for the paper's are not known to us.

The learner is SAC and the offline algorithm itself, both as the task's page sets them. Where that page scales rewards
to the span of a dataset's returns, the history's are so scaled at each pause. All else is taken as it is: what
observations would be normalized by is not known before they are seen.
"""

from types import ModuleType

from moorl_jax.agents import AGENTS, Subroutine
from moorl_jax.settings.proportions import first_steps
from moorl_jax.tasks import Task


def subroutine(kind: type[Subroutine], page: ModuleType, task: Task, updates: int, env_steps: int) -> Subroutine:
    """Return the settings of a kind of subroutine on a page's family of tasks.

    `updates` are those of each offline training. It starts with 5,000 random env steps, or a tenth of the budget.
    """
    plain = kind()
    tuned = env_steps - round(plain.pauses[-1] * env_steps)
    name = next(name for name, known in AGENTS.items() if known is type(plain.offline))
    learner, _ = page.sac(task, 0, env_steps)
    offline, preparation = getattr(page, name)(task, updates, tuned)
    return kind(
        learner=learner,
        offline=offline,
        first_steps=first_steps(env_steps),
        datasets=("all", "last", "best"),
        share=0.5,
        checkpoints=2,
        validation_share=0.1,
        validation_updates=max(1, updates),
        normalize_returns=preparation.normalize_returns,
    )
