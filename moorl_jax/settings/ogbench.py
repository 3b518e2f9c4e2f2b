"""OGBench's single tasks (Park, Frans, Eysenbach and Levine 2025, arXiv 2410.20092) as the authors of FQL set agents.

All five tasks of an environment, and its datasets, are set alike. Networks have four layers of 512 with GELU, value and
critics are normalized, and all losses are taken in one optimizer step.
"""

from typing import NamedTuple

from moorl_jax.settings.changes import Changes, prepares, sets
from moorl_jax.settings.everywhere import INSIDE
from moorl_jax.tasks import Task


class _Values(NamedTuple):
    """What an environment changes."""

    discount: float
    target_value: str  #: FQL's (q_agg)
    alpha: float  #: FQL's
    temperature: float  #: IQL's (alpha)
    penalties: tuple[float, float]  #: ReBRAC's, of actor and critics (alpha_actor, alpha_critic)
    samples: int = 32  #: IFQL's (num_samples)


ENVIRONMENTS = {
    "antmaze-large": _Values(0.99, "min", 10.0, 10.0, (0.003, 0.01)),
    "antmaze-giant": _Values(0.995, "min", 10.0, 10.0, (0.003, 0.01)),
    "humanoidmaze-medium": _Values(0.995, "mean", 30.0, 10.0, (0.01, 0.01)),
    "humanoidmaze-large": _Values(0.995, "mean", 30.0, 10.0, (0.01, 0.01)),
    "antsoccer-arena": _Values(0.995, "mean", 10.0, 1.0, (0.01, 0.01), 64),
    "cube-single": _Values(0.99, "mean", 300.0, 1.0, (1.0, 0.0)),
    "cube-double": _Values(0.99, "mean", 300.0, 0.3, (0.1, 0.0)),
    "cube-triple": _Values(0.995, "mean", 300.0, 10.0, (0.03, 0.0)),
    "scene": _Values(0.99, "mean", 300.0, 10.0, (0.1, 0.01)),
    "puzzle-3x3": _Values(0.99, "mean", 1000.0, 10.0, (0.3, 0.01)),
    "puzzle-4x4": _Values(0.99, "mean", 1000.0, 3.0, (0.3, 0.01)),
}
NEAREST = {  # of environments that they did not run: whose values are taken
    "pointmaze": "antmaze-large",
    "antmaze": "antmaze-large",
    "humanoidmaze": "humanoidmaze-large",
    "antsoccer": "antsoccer-arena",
    "cube": "cube-triple",
    "puzzle": "puzzle-4x4",
}

CODE = "seohongpark/fql README.md, agents/"
# FQL's values, and two examples of the baselines', are in its README; the baselines' others are its paper's, as later
# papers reprint them. Cube-triple is not in that paper: its values are those of Value Flows' code.
PAPER = "arXiv 2502.02538, at second hand"
LATER = "ColinQiyangLi/qam experiments/reproduce.py"
MAZES = ("pointmaze", "antmaze", "humanoidmaze", "antsoccer")
TRIPLE = "chongyi-zheng/value-flows README.md"


def fql(task: Task) -> Changes:
    """Return FQL's, those of its offline runs; online its authors have other alphas in two of the mazes."""
    values, source = _of(task, CODE)
    return sets(source, discount=values.discount, target_value=values.target_value, alpha=values.alpha)


def ifql(task: Task) -> Changes:
    """Return IFQL's."""
    values, source = _of(task, PAPER)
    return sets(source, discount=values.discount, samples=values.samples)


def qc(task: Task) -> Changes:
    """Return QC's: its authors have chunks of five in manipulation and, in their later code, none in the mazes."""
    discount = _of(task, CODE)[0].discount
    if not task.subject.startswith(MAZES):
        return ()
    return sets(LATER, horizon=1) + sets(CODE, discount=discount)


def qc_fql(task: Task) -> Changes:
    """Return QC-FQL's; the weight of its distillation is everywhere the one that its authors' README has."""
    return qc(task)


def iql(task: Task) -> Changes:
    """Return those of IQL in FQL's code: a Gaussian of std 1, its mean not squashed."""
    values, source = _of(task, PAPER)
    return sets(
        CODE,
        hidden=(512,) * 4,
        activation="gelu",
        value_layer_norm=True,
        glorot=True,
        joint=True,
        squash=False,
        learn_std=False,
        expectile=0.9,
    ) + sets(source, discount=values.discount, temperature=values.temperature)


def rebrac(task: Task) -> Changes:
    """Return those of ReBRAC in FQL's code; fine-tuned online as everywhere, which is not how that code does it."""
    values, source = _of(task, PAPER)
    actor, critic = values.penalties
    return (
        sets(
            CODE,
            batch_size=256,
            hidden=(512,) * 4,
            activation="gelu",
            glorot=True,
            joint=True,
            actor_learning_rate=3e-4,
            critic_learning_rate=3e-4,
            exploration_noise=0.2,
        )
        + sets(source, discount=values.discount, actor_penalty=actor, critic_penalty=critic)
        + prepares(CODE, action_limit=INSIDE)
    )


def rlpd(task: Task) -> Changes:
    """Return those of RLPD in FQL's code, whose actor climbs the smaller of the two critics: here it is their mean."""
    discount = _discount("ours: as FQL", task)
    return discount + sets(CODE, hidden=(512,) * 4, members=2, utd=1, backup_entropy=False)


def sac(task: Task) -> Changes:
    """Return SAC's, which nobody ran here: its networks and discount are RLPD's."""
    return _discount("ours: as FQL", task) + sets("ours: as RLPD", hidden=(512,) * 4)


def moorl(task: Task) -> Changes:
    """Return MOORL's, which nobody ran here: its networks and discount are RLPD's."""
    return _discount("ours: as FQL", task) + sets("ours: as RLPD", hidden=(512,) * 4)


def cal_ql(task: Task) -> Changes:
    """Return Cal-QL's, which nobody ran here; returns to go are those of data that goes on beyond an episode's end."""
    return _discount("ours: as FQL", task) + sets("ours: as FQL", hidden=(512,) * 4) + sets("ours", endless=True)


def td3_bc(task: Task) -> Changes:
    """Return TD3+BC's, which nobody ran here: its networks and discount are FQL's."""
    return _discount("ours: as FQL", task) + sets("ours: as FQL", hidden=(512,) * 4)


def opt(_: Task) -> Changes:
    """Return OPT's, which nobody ran here: its schedule is AntMaze's."""
    return sets("ours: as AntMaze", utd=1, kappa_start=0.1, kappa_steps=100_000.0)


def _discount(source: str, task: Task) -> Changes:
    return sets(source, discount=_of(task, CODE)[0].discount)


def _of(task: Task, source: str) -> tuple[_Values, str]:
    """Return the values of the task's environment, such as cube-double, and where they are from."""
    if task.subject in ENVIRONMENTS:
        return ENVIRONMENTS[task.subject], TRIPLE if task.subject == "cube-triple" else source
    nearest = NEAREST[task.subject.partition("-")[0]]
    return ENVIRONMENTS[nearest], f"ours: as for {nearest}"
