"""D4RL locomotion (-v2): HalfCheetah, Hopper, Walker2d.

Where a value is an agent's default it is not repeated here: each agent's defaults are its canonical MuJoCo settings,
with their source in its docstring.
"""

from collections.abc import Callable

from moorl_jax.agents import BC, CQL, IQL, TD3BC, Agent
from moorl_jax.data.preparation import Preparation


def bc(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings.

    States normalized, 256-256, Adam 3e-4: corl-team/CORL `any_percent_bc.py`.
    """
    return BC(), Preparation(normalize_observations=True)


def td3_bc(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return TD3+BC's settings.

    States normalized with std + 1e-3, alpha 2.5, raw rewards: sfujim/TD3_BC `main.py`, `utils.py`.
    """
    return TD3BC(), Preparation(normalize_observations=True)


def iql(updates: int) -> tuple[Agent, Preparation]:
    """Return IQL's settings.

    Expectile 0.7, temperature 3, rewards scaled to returns spanning 1000, actions clipped to 1 - 1e-5, the actor's
    rate falling to 0 over all updates: ikostrikov/implicit_q_learning `configs/mujoco_config.py`,
    `train_offline.py`, `dataset_utils.py`.
    """
    return IQL(actor_decay_updates=float(updates)), Preparation(normalize_returns=True, action_limit=1 - 1e-5)


def cql(updates: int) -> tuple[Agent, Preparation]:  # noqa: ARG001
    """Return CQL's settings.

    Penalty weight 5, no Lagrange multiplier, 10 actions, 3e-4 for policy and critics, actions clipped to 0.999:
    young-geng/JaxCQL `conservative_sac.py`, `conservative_sac_main.py`.
    """
    return CQL(), Preparation(action_limit=0.999)


SETTINGS: dict[str, Callable[[int], tuple[Agent, Preparation]]] = {
    "bc": bc,
    "td3_bc": td3_bc,
    "iql": iql,
    "cql": cql,
}
