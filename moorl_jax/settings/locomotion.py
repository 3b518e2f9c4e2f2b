"""D4RL locomotion (-v2): HalfCheetah, Hopper, Walker2d. Every value, with its source.

`updates` is the budget; only schedules that span it depend on it.
"""

from collections.abc import Callable

from moorl_jax.agents import BC, CQL, IQL, TD3BC, Agent
from moorl_jax.data.preparation import Preparation


def bc(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings, of corl-team/CORL `algorithms/offline/any_percent_bc.py` with all of the data."""
    agent = BC(
        batch_size=256,
        hidden=(256, 256),
        learning_rate=3e-4,
    )
    return agent, Preparation(normalize_observations=True)


def td3_bc(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return TD3+BC's settings, of sfujim/TD3_BC `main.py` and `TD3_BC.py`; raw rewards."""
    agent = TD3BC(
        batch_size=256,
        hidden=(256, 256),
        policy_freq=2,
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        policy_noise=0.2,
        noise_clip=0.5,
        alpha=2.5,
    )
    return agent, Preparation(normalize_observations=True)  # std + 1e-3, `utils.py`


def iql(updates: int) -> tuple[Agent, Preparation]:
    """Return IQL's settings, of ikostrikov/implicit_q_learning `configs/mujoco_config.py` and `learner.py`."""
    agent = IQL(
        batch_size=256,
        hidden=(256, 256),
        actor_learning_rate=3e-4,
        value_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        actor_decay_updates=float(updates),  # `opt_decay_schedule`, a cosine to 0 over the run
        discount=0.99,
        tau=0.005,
        expectile=0.7,
        temperature=3.0,
        weight_clip=100.0,  # `actor.py`
    )
    # `train_offline.py` scales the rewards, `dataset_utils.py` clips the actions.
    return agent, Preparation(normalize_returns=True, action_limit=1 - 1e-5)


def cql(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return CQL's settings, of young-geng/JaxCQL `conservative_sac.py` and `conservative_sac_main.py`."""
    agent = CQL(
        batch_size=256,
        hidden=(256, 256),
        actions_per_state=10,
        importance_sampling=True,
        lagrange=False,
        max_target_backup=False,
        backup_entropy=False,
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        penalty_weight=5.0,
        penalty_temperature=1.0,
        alpha_multiplier=1.0,
        target_entropy=None,  # minus the action size, which `conservative_sac_main.py` sets
    )
    return agent, Preparation(action_limit=0.999)


SETTINGS: dict[str, Callable[[int], tuple[Agent, Preparation]]] = {
    "bc": bc,
    "td3_bc": td3_bc,
    "iql": iql,
    "cql": cql,
}
