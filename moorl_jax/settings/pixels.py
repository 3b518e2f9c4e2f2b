"""V-D4RL's tasks, seen as images (Lu et al. 2022, arXiv 2206.04779): what differs from the agents' defaults."""

from moorl_jax.settings.changes import Changes, prepares, sets
from moorl_jax.settings.everywhere import INSIDE
from moorl_jax.tasks import Task


def drq(_: Task) -> Changes:
    """Return DrQ-v2's."""
    return sets("conglu1997/v-d4rl drqbc/cfgs/config.yaml", learning_rate=1e-4)


def pixel_bc(_: Task) -> Changes:
    """Return BC's."""
    return sets("conglu1997/v-d4rl drqbc/bcagent.py", hidden=(1024, 1024))


def pixel_cql(_: Task) -> Changes:
    """Return CQL's. What lies beneath is CQL over SAC, as from states; the authors' lies over DrQ-v2."""
    return sets(
        "conglu1997/v-d4rl drqbc/cql.py",
        hidden=(1024, 1024),
        importance_sampling=False,
        tau=0.01,
        penalty_weight=10.0,
    )


def pixel_rlpd(_: Task) -> Changes:
    """Return RLPD's; the critics are as from states, of which the class inherits SAC's."""
    critics = sets("ikostrikov/rlpd configs/", members=10, layer_norm=True, target_entropy_per_dimension=-0.5)
    source = "ikostrikov/rlpd train_finetuning_pixels.py"
    return critics + sets(source, random_steps=1_000) + prepares(source, action_limit=INSIDE)


def pixel_moorl(_: Task) -> Changes:
    """Return MOORL's: networks and Polyak rate DrQ-v2's, the first temperature RLPD's."""
    return sets("ours: as DrQ-v2", hidden=(1024, 1024), tau=0.01) + (
        sets("ours: as RLPD from images", initial_temperature=0.1) + prepares("ours: as RLPD", action_limit=INSIDE)
    )
