"""OGBench's datasets of states: of which environment, how long, and how its authors made those that scripts made.

Source: seohongpark/ogbench `data_gen_scripts/commands.sh`, `ogbench/*/__init__.py`.
"""

from typing import NamedTuple

UNSOLVED = "-1 until all is done in the state a step begins in, which ends"  #: of the sparse twins


class OGBenchSet(NamedTuple):
    """A dataset; its environment has five tasks, for each of which the same rows are rewarded anew."""

    subject: str  #: the environment, such as cube-double
    level: str  #: how its actors behave, such as play
    horizon: int  #: env steps after which an episode of evaluation times out
    observation_size: int
    action_size: int
    episodes: int  #: for training; a tenth as many are for validation
    steps: int  #: rows of an episode of the data
    random: float = 0.0  #: share of the steps with a random action

    @property
    def name(self) -> str:
        """Its name, but for the version."""
        return f"{self.subject}-{self.level}"

    @property
    def scripted(self) -> bool:
        """Whether scripts made it, which the package has; the other sets' walkers learned."""
        return self.subject.partition("-")[0] in ("cube", "scene", "puzzle", "pointmaze")

    @property
    def no_recipe(self) -> str:
        """Why it cannot be made here; empty where it can."""
        return "" if self.scripted else "its walkers learned, and OGBench's scripts download them"

    @property
    def has_sparse_twins(self) -> bool:
        """Whether later papers, the first of them Q-chunking's, pay nothing for a part of its tasks."""
        return self.subject.partition("-")[0] in ("scene", "puzzle") and self.level == "play"

    @property
    def rewards(self) -> str:
        """What the stored reward means: OGBench's since 1.2; before, it was that of the state a step ended in."""
        if self.subject in MANIPULATION:
            return "minus the parts unfinished (cubes, buttons, ...) in the state a step begins in; all done ends"
        return "0 where a step begins at the goal, which ends, else -1"


# environment: horizon, observation size, episodes, share of random actions in its noisy set
MANIPULATION = {
    "cube-single": (200, 28, 1_000, 0.1),
    "cube-double": (500, 37, 1_000, 0.1),
    "cube-triple": (1_000, 46, 3_000, 0.1),
    "scene": (750, 40, 1_000, 0.1),
    "puzzle-3x3": (500, 55, 1_000, 0.2),
    "puzzle-4x4": (500, 83, 1_000, 0.2),
}
# walker: sizes of observation and action
WALKERS = {"pointmaze": (2, 2), "antmaze": (29, 8), "humanoidmaze": (69, 21), "antsoccer": (42, 8)}
# walker: maze: horizon; level: its number of episodes and their rows
MAZES = {
    **{
        (walker, maze): (1_000, {"navigate": (1_000, 1_001), "stitch": (5_000, 201)})
        for walker in ("pointmaze", "antmaze")
        for maze in ("medium", "large", "teleport")
    },
    **{
        (walker, "giant"): (1_000, {"navigate": (500, 2_001), "stitch": (5_000, 201)})
        for walker in ("pointmaze", "antmaze")
    },
    ("humanoidmaze", "medium"): (2_000, {"navigate": (1_000, 2_001), "stitch": (5_000, 401)}),
    ("humanoidmaze", "large"): (2_000, {"navigate": (1_000, 2_001), "stitch": (5_000, 401)}),
    ("humanoidmaze", "giant"): (4_000, {"navigate": (1_000, 4_001), "stitch": (10_000, 401)}),
    ("antsoccer", "arena"): (1_000, {"navigate": (1_000, 1_001), "stitch": (5_000, 201)}),
    ("antsoccer", "medium"): (1_000, {"navigate": (4_000, 1_001), "stitch": (8_000, 501)}),
}
EXPLORED = ("medium", "large", "teleport")  #: ant mazes with a third set, of walks in random directions

OGBENCH = (
    *(
        OGBenchSet(subject, level, horizon, size, 5, episodes, 1_001, random if level == "noisy" else 0.0)
        for subject, (horizon, size, episodes, random) in MANIPULATION.items()
        for level in ("play", "noisy")
    ),
    *(
        OGBenchSet(f"{walker}-{maze}", level, horizon, *WALKERS[walker], *made)
        for (walker, maze), (horizon, levels) in MAZES.items()
        for level, made in levels.items()
    ),
    *(OGBenchSet(f"antmaze-{maze}", "explore", 1_000, *WALKERS["antmaze"], 10_000, 501) for maze in EXPLORED),
)
