"""D4RL locomotion (-v2): HalfCheetah, Hopper, Walker2d; and robots and dm_control's tasks that are learned online.

Agents' defaults are their authors' for this family: here stand what they do to its data, what differs from dataset to
dataset, and what their code does not say of it.
"""

from moorl_jax.agents import CQL
from moorl_jax.settings.changes import Changes, prepares, sets, within
from moorl_jax.tasks import Task

SUPPORT_WEIGHTS = {  # robot: medium and medium-replay, medium-expert; levels without one take medium's
    "halfcheetah": (0.05, 1.0),
    "hopper": (0.1, 0.2),
    "walker2d": (0.2, 0.5),
}
SUPPORT_WEIGHT = (0.1, 0.5)  #: of other robots, which the authors did not run: the three's medians


def spot(task: Task) -> Changes:
    """Return SPOT's: dropout, the dataset's weight, normalized observations."""
    of_others = task.subject not in SUPPORT_WEIGHTS
    weights = SUPPORT_WEIGHTS.get(task.subject, SUPPORT_WEIGHT)
    return (
        sets("thuml/SPOT main.py", dropout=0.1)
        + sets(
            "ours: the median of thuml/SPOT's" if of_others else "thuml/SPOT configs/offline/*.yml",
            support_weight=weights[task.level == "medium-expert"],
        )
        + prepares("thuml/SPOT main.py", normalize_observations=True)
    )


REBRAC = {  # robot and level: weights of the actor's and of the critics' penalty
    ("halfcheetah", "random"): (0.001, 0.1),
    ("halfcheetah", "medium"): (0.001, 0.01),
    ("halfcheetah", "medium-replay"): (0.01, 0.001),
    ("halfcheetah", "medium-expert"): (0.01, 0.1),
    ("halfcheetah", "expert"): (0.01, 0.01),
    ("halfcheetah", "full-replay"): (0.001, 0.1),
    ("hopper", "random"): (0.001, 0.01),
    ("hopper", "medium"): (0.01, 0.01),
    ("hopper", "medium-replay"): (0.05, 0.5),
    ("hopper", "medium-expert"): (0.1, 0.01),
    ("hopper", "expert"): (0.1, 0.1),
    ("hopper", "full-replay"): (0.01, 0.01),
    ("walker2d", "random"): (0.01, 0.0),
    ("walker2d", "medium"): (0.05, 0.1),
    ("walker2d", "medium-replay"): (0.05, 0.01),
    ("walker2d", "medium-expert"): (0.01, 0.01),
    ("walker2d", "expert"): (0.01, 0.5),
    ("walker2d", "full-replay"): (0.01, 0.01),
}


def rebrac(task: Task) -> Changes:
    """Return ReBRAC's weights, which are each dataset's own."""
    known = (task.subject, task.level) in REBRAC
    actor, critic = REBRAC.get((task.subject, task.level), REBRAC["hopper", "medium"])
    source = "DT6A/ReBRAC configs/rebrac/" if known else "ours: as for hopper-medium"
    return sets(source, actor_penalty=actor, critic_penalty=critic)


CRITICS = {"halfcheetah": 10, "hopper": 200, "walker2d": 20}  #: of SAC-N; hopper-medium has 500
EXPERT_DIVERSITY = {"halfcheetah": 5.0, "walker2d": 5.0}  #: EDAC's eta on medium-expert; elsewhere 1
CONFIGURED = ("medium", "medium-replay", "medium-expert")  #: levels for which CORL has a config of the two


def _configured(agent: str, task: Task) -> str:
    """Return the source of what is set for a robot's dataset."""
    if task.subject in CRITICS and task.level in CONFIGURED:
        return f"corl-team/CORL configs/offline/{agent}/"
    return "ours: as for the robot's medium-replay" if task.subject in CRITICS else "ours: as for halfcheetah"


def sac_n(task: Task) -> Changes:
    """Return how many critics SAC-N has."""
    members = 500 if (task.subject, task.level) == ("hopper", "medium") else CRITICS.get(task.subject, 10)
    return sets(_configured("sac_n", task), members=members)


def edac(task: Task) -> Changes:
    """Return how many critics EDAC has, and how much they are driven apart."""
    expert = task.level == "medium-expert"
    return sets(
        _configured("edac", task),
        members=50 if task.subject == "hopper" else 10,
        diversity_weight=EXPERT_DIVERSITY.get(task.subject, 1.0) if expert else 1.0,
    )


def iql(_: Task) -> Changes:
    """Return IQL's: rewards are scaled."""
    return prepares("ikostrikov/implicit_q_learning train_offline.py", normalize_returns=True)


def pex(_: Task) -> Changes:
    """Return PEX's: inverse temperature and scale of the rewards are those that IQL's authors ran on MuJoCo.

    The commands in PEX's repository are for AntMaze alone. With its code's inverse temperature of 10 on raw rewards the
    offline policy scored 2 on hopper-medium recipe data.
    """
    source = "ours: as ikostrikov/implicit_q_learning"
    return sets(source, temperature=3.0) + prepares(source, normalize_returns=True)


def wsrl(_: Task) -> Changes:
    """Return WSRL's backbone, CQL: its authors found returns hard to estimate here, which Cal-QL needs."""
    return sets(
        "zhouzypaul/wsrl experiments/",
        backbone=CQL(members=10, target_members=2, actor_layer_norm=True, critic_layer_norm=True),
    )


KAPPA = {  # by level, where it is not as for medium, the default
    "random": {"kappa_start": 1.0, "kappa_end": 1.0},
    "medium-replay": {"kappa_start": 0.1},
}


def _kappa(task: Task) -> Changes:
    """Return kappa's schedule, which the three forms of OPT share."""
    return sets("arXiv 2507.08387 appendix H, table 15", **KAPPA.get(task.level, {}))


def opt(task: Task) -> Changes:
    """Return OPT's: kappa by the level, observations as they are."""
    return _kappa(task) + prepares("arXiv 2507.08387 appendix H", normalize_observations=False)


def opt_spot(task: Task) -> Changes:
    """Return those of OPT over SPOT, which the paper runs on AntMaze and Adroit alone: as OPT has it here."""
    return (
        _kappa(task)
        + within("backbone", sets("ours: as OPT over TD3+BC", dropout=0.0))
        + prepares("ours: as OPT over TD3+BC", normalize_observations=False)
    )


def opt_iql(task: Task) -> Changes:
    """Return those of OPT over IQL: kappa by the level."""
    return _kappa(task)
