"""What the three papers claim, and by which of our runs each claim is decided. No verdict is written here."""

from dataclasses import dataclass

from moorl_jax.reports.papers import PAPERS, Section
from moorl_jax.studies.catalogue import STUDIES
from moorl_jax.tasks import SUITES

OPT_BUDGET = (1_000_000, 300_000)  #: offline updates and env steps
#: MOORL's own are unknown: none offline, and RLPD's env steps on locomotion, against which it sets itself
MOORL_BUDGET = (0, 250_000)
FORKS_BUDGET = (500_000, 1_000_000)
MUJOCO, ANTMAZE = SUITES["opt-19"][:9], SUITES["antmaze"]
HYBRID_TASKS = (*SUITES["locomotion"], "antmaze-umaze-v2", "antmaze-medium-play-v2")


@dataclass(frozen=True)
class Level:
    """Agents score as published, task by task."""

    section: Section
    agents: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """One agent beside another on the same tasks; each as tables name it, changed settings in brackets."""

    says: str
    published: str
    one: str
    other: str
    tasks: tuple[str, ...]
    budget: tuple[int, int]


class Above(Beside):
    """The one ends above the other."""


@dataclass(frozen=True)
class Cost(Beside):
    """The one's training takes as many times the seconds of the other's, at most, on the same kind of device."""

    at_most: float


@dataclass(frozen=True)
class Answer:
    """A question of `studies/questions.py` is answered as the paper's finding has it."""

    says: str
    comparison: str  #: its row, as it is named there
    expected: str


Claim = Level | Above | Cost | Answer


def _variant(study: str, label: str) -> str:
    """Return a variant as tables name it."""
    variant = next(each for each in STUDIES[study].variants if each.label == label)
    return variant.agent + (f" ({', '.join(variant.changes)})" if variant.changes else "")


def _part(says: str, published: str, without: str, study: str = "opt-components") -> Above:
    """Return the claim that OPT ends above itself without a part of it."""
    return Above(says, published, "opt", _variant(study, without), tuple(STUDIES[study].tasks.split(",")), OPT_BUDGET)


_corl, _opt = PAPERS["corl"].sections, PAPERS["opt"].sections
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "OPT (arXiv 2507.08387)": (
        Above(
            "OPT learns from random Walker2d data, where TD3 does not",
            "88.0 against 0.1",
            "opt",
            "td3_bc",
            ("walker2d-random-v2",),
            OPT_BUDGET,
        ),
        Above(
            "OPT over TD3 ends above TD3, nine sets",
            "939.1 against 752.4 in all",
            "opt",
            "td3_bc",
            MUJOCO,
            OPT_BUDGET,
        ),
        Above(
            "OPT over SPOT ends above SPOT, six mazes",
            "565.3 against 465.7 in all",
            "opt_spot",
            "spot",
            ANTMAZE,
            OPT_BUDGET,
        ),
        _part("The new critics must be pre-trained", "10 to 15 % less without", "new critics at random"),
        _part("Pre-training needs the dataset, too", "may be worse than none", "pre-trained on online data alone"),
        _part("The old critics alone do worse", "12 to 15 % less on MuJoCo", "old critics alone (kappa 0)"),
        _part("Balanced replay beats online replay alone", "about 4 % more", "online only", "opt-replay"),
        Cost(
            "OPT costs about half as much again as TD3 with as many updates",
            "about 1.5 times",
            "opt",
            _variant("opt-components", "TD3 with as many updates"),
            tuple(STUDIES["opt-components"].tasks.split(",")),
            OPT_BUDGET,
            at_most=1.75,
        ),
        Level(_opt[0], ("td3_bc", "opt")),
        Level(_opt[1], ("spot", "opt_spot")),
    ),
    "MOORL (arXiv 2506.09574)": (
        *(
            Above(
                f"MOORL ends above {other}",
                "higher; its tables could not be read",
                "moorl",
                other,
                HYBRID_TASKS,
                MOORL_BUDGET,
            )
            for other in ("rlpd", "sac", "cal_ql")
        ),
        Cost(
            "MOORL is cheaper than RLPD, with its ensemble and 20 updates an env step",
            "minimal overhead",
            "moorl",
            "rlpd",
            HYBRID_TASKS,
            MOORL_BUDGET,
            at_most=1.0,
        ),
    ),
    "Offline RL as a subroutine (arXiv 2512.00383)": (
        Answer("It helps where reward is sparse", "subroutines above online only, sparse reward", "yes"),
        Answer("It helps most where reward is sparse", "with sparse reward, less with dense", "yes"),
        Answer("It helps most where the learner is unstable", "rank correlation over tasks", "yes"),
        Answer("Validation helps", "of policy by episodes, above none", "yes"),
        Answer("IQL's fine-tuning degrades", "tune_iql above online only", "no, the reverse"),
        Answer("Cal-QL's fine-tuning is the most promising", "tune_cal_ql above online only", "yes"),
    ),
    "The baselines, at their own budgets": (
        Level(_corl[1], ("iql", "bc", "td3_bc")),
        Level(_corl[0], ("td3_bc", "iql", "rebrac", "bc", "cql")),
    ),
}
