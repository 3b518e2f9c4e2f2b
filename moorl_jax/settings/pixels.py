"""V-D4RL's tasks, seen as images (Lu et al. 2022, arXiv 2206.04779). Every value, with its source.

`updates` offline and `env_steps` online are the budget; only schedules that span it, and warm-ups that would not fit
it, depend on it.
"""

from typing import Any

from moorl_jax import agents
from moorl_jax.data.preparation import Preparation
from moorl_jax.settings.proportions import first_steps
from moorl_jax.tasks import Task

# The authors' loop runs for 1.1 million frames. Online an env step takes two of them; offline each is a turn of the
# loop, of which every second one makes an update. The noise falls over the first 250,000 env steps or turns.
PAPER_STEPS = 550_000  #: env steps online, updates offline
NOISE_STEPS = 250_000  #: env steps online
NOISE_UPDATES = 125_000  #: updates offline


def drq(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return DrQ-v2's settings, of conglu1997/v-d4rl `drqbc/cfgs/`; one update an env step, not half: ours.

    It starts with 2,000 random env steps (`num_seed_frames` 4000), or a tenth of the budget where that is less.
    """
    networks = _networks(1e-4, NOISE_STEPS, env_steps / PAPER_STEPS)
    return agents.DrQ(**networks, random_steps=max(3, min(2_000, first_steps(env_steps)))), Preparation()


def drq_bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return DrQ+BC's settings, of conglu1997/v-d4rl `drqbc/`, `cfgs/task/offline_dmc.yaml` and its README's command.

    The authors did not fine-tune.
    """
    networks = _networks(3e-4, NOISE_UPDATES, (updates + env_steps) / PAPER_STEPS)
    return agents.DrQBC(**networks, alpha=2.5), Preparation()


def pixel_bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings, of conglu1997/v-d4rl `drqbc/bcagent.py`; cloning without noise on the action is ours."""
    agent = agents.PixelBC(batch_size=256, hidden=(1024, 1024), learning_rate=3e-4, **_ENCODER)
    return agent, Preparation()


def pixel_cql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return CQL's settings, of conglu1997/v-d4rl `drqbc/cql.py` where they are known: penalty, networks, rates.

    What lies beneath is CQL over SAC, as from states; the authors' lies over DrQ-v2.
    """
    agent = agents.PixelCQL(
        batch_size=256,
        hidden=(1024, 1024),
        actions_per_state=10,
        importance_sampling=False,
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        discount=0.99,
        tau=0.01,
        penalty_weight=10.0,
        **_ENCODER,
    )
    return agent, Preparation()


def pixel_rlpd(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return RLPD's settings, of ikostrikov/rlpd `configs/` and `train_finetuning_pixels.py`.

    It starts with 1,000 random env steps, or a tenth of the budget where that is less. Trunks and encoder begin as
    DrQ-v2's, orthogonal, and the actor sees by the encoder that the critics have just updated: ours.
    """
    agent = agents.PixelRLPD(
        batch_size=256,
        hidden=(256, 256),
        members=10,
        target_members=1,
        layer_norm=True,
        backup_entropy=False,
        utd=1,
        random_steps=min(1_000, first_steps(env_steps)),
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        temperature_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        initial_temperature=0.1,
        target_entropy_per_dimension=-0.5,
        offline_share=0.5,
        channels=(32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        feature_size=50,
        pad=4,
    )
    return agent, Preparation(action_limit=1 - 1e-5)


def pixel_moorl(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return MOORL's settings: what its paper leaves open as from states, the networks DrQ-v2's. All are ours."""
    agent = agents.PixelMOORL(
        batch_size=256,
        hidden=(1024, 1024),
        members=2,
        target_members=2,
        layer_norm=False,
        backup_entropy=True,
        utd=4,
        meta_rate=0.5,
        offline_probability=0.5,
        random_steps=first_steps(env_steps),
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        temperature_learning_rate=3e-4,
        discount=0.99,
        tau=0.01,
        initial_temperature=0.1,
        target_entropy_per_dimension=-1.0,
        **_ENCODER,
    )
    return agent, Preparation(action_limit=1 - 1e-5)


# DrQ-v2's, `drqbc/drqv2.py`.
_ENCODER: dict[str, Any] = {"channels": (32, 32, 32, 32), "strides": (2, 1, 1, 1), "feature_size": 50, "pad": 4}


def _networks(learning_rate: float, noise_updates: int, share: float) -> dict[str, Any]:
    """Return what both have in common; in a budget that is a smaller share of the paper's noise falls sooner: ours."""
    return {
        "batch_size": 256,
        "strides": (2, 1, 1, 1),
        "feature_size": 50,
        "hidden": (1024, 1024),
        "pad": 4,
        "n_step": 3,
        "learning_rate": learning_rate,
        "discount": 0.99,
        "tau": 0.01,
        "noise_start": 1.0,
        "noise_end": 0.1,
        "noise_updates": max(1.0, noise_updates * min(1.0, share)),
        "noise_clip": 0.3,
    }
