"""Named budgets: how many updates and env steps each protocol gets, and how often it is evaluated."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import typer

from moorl_jax.errors import UnknownNameError

PROTOCOLS = ("offline", "offline-to-online", "online", "subroutine")


@dataclass(frozen=True)
class Budget:
    """What one cell spends, per seed."""

    name: str
    updates: int  #: critic gradient steps of the protocol `offline`
    updates_before: int  #: of the offline phase in `offline-to-online`
    updates_each: int  #: of each offline training in `subroutine`
    env_steps: int  #: of the online phase of `offline-to-online`
    env_steps_alone: int  #: of the protocols `online` and `subroutine`
    seeds: int  #: the default number of seeds
    evaluations: int  #: evenly spaced over each phase, the last one at its end
    episodes: int  #: at most, per evaluation; a task may ask for fewer

    def spend(self, protocol: str) -> tuple[int, int]:
        """Return the offline updates and env steps of a protocol. Agents without an offline phase skip the updates."""
        return {
            "offline": (self.updates, 0),
            "offline-to-online": (self.updates_before, self.env_steps),
            "online": (0, self.env_steps_alone),
            "subroutine": (self.updates_each, self.env_steps_alone),
        }[protocol]


# The papers train offline for 1M updates, then online for 250k (RLPD), 300k (OPT) or 1M env steps. In `short`, two
# seeds of RLPD or Cal-QL, the slowest agents, take 25 minutes offline to online on two CPU cores.
BUDGETS = {
    "quick": Budget("quick", 4_000, 2_000, 100, 1_000, 1_000, seeds=2, evaluations=8, episodes=10),
    "short": Budget("short", 100_000, 8_000, 8_000, 3_000, 100_000, seeds=3, evaluations=20, episodes=20),
    "paper": Budget(
        "paper", 1_000_000, 1_000_000, 1_000_000, 300_000, 1_000_000, seeds=4, evaluations=200, episodes=100
    ),
}
# What `quick` is for the suite's own agents: offline updates, those before online learning, env steps. Set so that
# two cells side by side, compiled and evaluated, take about a minute on two slow cores.
QUICK_STEPS = {
    "td3_bc": (1_500, 1_000, 300),
    "spot": (600, 400, 200),
    "iql": (1_200, 800, 300),
    "cql": (80, 60, 60),
    "cal_ql": (80, 60, 60),
    "opt": (400, 400, 120),
    "moorl": (0, 0, 160),
}
# On a CPU an update on 84-pixel images takes two to six seconds and rendering a frame 30 to 80 ms, so `quick` is tiny,
# and half of it is still evaluation. `short` is meant for a GPU. V-D4RL's authors make 550,000 updates.
BUDGETS_OF_IMAGES = BUDGETS | {
    "quick": Budget("quick", 5, 5, 5, 5, 5, seeds=2, evaluations=1, episodes=1),
    "short": Budget("short", 20_000, 5_000, 5_000, 5_000, 10_000, seeds=3, evaluations=10, episodes=3),
    "paper": Budget("paper", 550_000, 550_000, 550_000, 300_000, 550_000, seeds=4, evaluations=55, episodes=10),
}

UpdatesOption = Annotated[int | None, typer.Option(min=0, help="Offline updates in place of the budget's.")]
EnvStepsOption = Annotated[int | None, typer.Option(min=0, help="Env steps in place of the budget's.")]


def find_budget(
    name: str,
    updates: int | None = None,
    env_steps: int | None = None,
    of_images: bool = False,
    agent: str = "",
) -> Budget:
    """Return the named budget. `updates` and `env_steps` replace its numbers and become part of its name.

    Image tasks have their own budgets, and in `quick` what an agent gets depends on what its updates cost. Raises
    UnknownNameError, with a suggestion.
    """
    if name not in BUDGETS:
        raise UnknownNameError("budget", name, BUDGETS)
    budget = (BUDGETS_OF_IMAGES if of_images else BUDGETS)[name]
    if name == "quick" and agent in QUICK_STEPS and updates is None and env_steps is None:
        offline, before, online = QUICK_STEPS[agent]
        budget = dataclasses.replace(
            budget, updates=offline, updates_before=before, env_steps=online, evaluations=4, episodes=5
        )
    if updates is not None:
        numbers = dict.fromkeys(("updates", "updates_before", "updates_each"), updates)
        budget = dataclasses.replace(budget, name=f"{budget.name}-{updates}u", **numbers)
    if env_steps is not None:
        numbers = dict.fromkeys(("env_steps", "env_steps_alone"), env_steps)
        budget = dataclasses.replace(budget, name=f"{budget.name}-{env_steps}e", **numbers)
    return budget
