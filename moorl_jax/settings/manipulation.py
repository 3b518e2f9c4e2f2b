"""D4RL Adroit (-v1) and Kitchen (-v0): what differs from the agents' defaults, every value with its source.

Rewards are taken as they are stored unless said otherwise. Where authors ran only one of the two families, or neither,
the other is set likewise, which is ours and said so. So is Meta-World's Sawyer, which no author here ran: as Adroit,
but by CQL and Cal-QL as locomotion, whose smaller networks suit what an online learner has gathered.
"""

from moorl_jax import agents
from moorl_jax.data.preparation import Preparation
from moorl_jax.settings import locomotion
from moorl_jax.settings.proportions import first_steps, iql_decay, opt_fields
from moorl_jax.tasks import Task
from moorl_jax.tasks.catalogue import STAGES

INSIDE = 1 - 1e-5  #: to which IQL's and RLPD's code clips actions
KAPPA = (0.1, 0.9, 250_000)  #: OPT's appendix H, for Adroit's cloned sets


def bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings, of corl-team/CORL `algorithms/offline/any_percent_bc.py` with all of the data."""
    return agents.BC(), Preparation(normalize_observations=True)


def td3_bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return TD3+BC's settings, of corl-team/CORL `configs/offline/td3_bc/`: as for locomotion."""
    return agents.TD3BC(alpha=2.5), Preparation(normalize_observations=True)


def spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return SPOT's settings, of corl-team/CORL `configs/finetune/spot/`; its authors ran neither family.

    A density model is trained for no more updates than the agent: ours.
    """
    agent = agents.SPOT(
        final_ranges=(1e-3, 3e-3),
        actor_learning_rate=1e-4,
        dropout=0.0,
        vae_updates=min(100_000, max(updates, env_steps)),
        support_weight=1.0,
        support_end=0.5,
        online_cooling_updates=1e6,
        online_discount=0.99,
    )
    return agent, Preparation()


def iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return IQL's settings, of ikostrikov/implicit_q_learning `configs/kitchen_config.py` and its README's Adroit."""
    decay = iql_decay(updates, env_steps)
    agent = agents.IQL(expectile=0.7, temperature=0.5, dropout=0.1, actor_decay_updates=decay)
    return agent, Preparation(action_limit=INSIDE)


def pex(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return PEX's settings, over IQL as its authors set it here: ours, for PEX's ran neither family.

    The offline policy is trained with dropout, the new one without.
    """
    agent = agents.PEX(
        expectile=0.7,
        temperature=0.5,
        dropout=0.1,
        actor_decay_updates=float(max(updates, 1)),
        collect_steps=first_steps(env_steps),
    )
    return agent, Preparation()


def cql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return CQL's settings: Adroit of corl-team/CORL `configs/offline/cql/`, Kitchen of zhouzypaul/wsrl.

    There Kitchen's rewards are lowered by 4, the most that a step pays.
    """
    if task.family == "sawyer":
        return locomotion.cql(task, updates, env_steps)
    if task.family == "kitchen":
        agent = agents.CQL(hidden=(512,) * 3, importance_sampling=False, penalty_weight=5.0)
        return agent, Preparation(reward_shift=-4.0, action_limit=0.999)
    agent = agents.CQL(hidden=(256,) * 3, orthogonal=True, actor_learning_rate=1e-4, penalty_weight=1.0)
    return agent, Preparation(normalize_observations=True, action_limit=0.999)


def cal_ql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return Cal-QL's settings.

    Adroit has the networks and the weight of nakamotoo/Cal-QL `scripts/run_adroit.sh`, whose tasks have binary rewards;
    on dense ones they are ours. Kitchen is set by its `scripts/run_kitchen.sh`. There a step pays for every sub-task
    finished so far, and returns to go take the last reward to go on for ever (`replay_buffer.py`, infinite_horizon);
    where a sub-task is paid for once, they do not: ours.
    """
    if task.family == "sawyer":
        return locomotion.cal_ql(task, updates, env_steps)
    if task.family == "kitchen":
        agent = agents.CalQL(
            hidden=(512,) * 3,
            importance_sampling=False,
            penalty_weight=5.0,
            offline_share=0.25,
            endless=task.rewards == STAGES,
        )
        return agent, Preparation(action_limit=0.99999)
    agent = agents.CalQL(hidden=(512,) * 2, critic_hidden=(512,) * 3, penalty_weight=1.0, offline_share=0.5)
    return agent, Preparation(action_limit=0.99999)


def sac(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return SAC's settings as for locomotion: ours."""
    return agents.SAC(random_steps=first_steps(env_steps)), Preparation()


def rlpd(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return RLPD's settings, of the Adroit command in ikostrikov/rlpd `README.md`, whose tasks have binary rewards."""
    agent = agents.RLPD(hidden=(256, 256, 256), backup_entropy=False, random_steps=first_steps(env_steps))
    return agent, Preparation(action_limit=INSIDE)


def moorl(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return MOORL's settings as for locomotion: ours."""
    return agents.MOORL(random_steps=first_steps(env_steps)), Preparation(action_limit=INSIDE)


def opt(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over TD3+BC, which the paper runs on MuJoCo alone: `opt_spot`'s schedule and norms; ours."""
    backbone, preparation = td3_bc(task, updates, env_steps)
    backbone = backbone.replace(layer_norm=True)
    return agents.OPT(backbone=backbone, **opt_fields(KAPPA, utd=1, env_steps=env_steps)), preparation


def opt_spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT's settings on Adroit (its appendix H): SPOT's backbone with normalized layers; Kitchen likewise."""
    backbone, preparation = spot(task, updates, env_steps)
    backbone = backbone.replace(layer_norm=True, q_epsilon=1e-10, online_cooling_updates=float(max(env_steps, 1)))
    return agents.OPTSPOT(backbone=backbone, **opt_fields(KAPPA, utd=1, env_steps=env_steps)), preparation


def opt_iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over IQL, IQL set as its authors do; the paper's own settings for it are not at hand."""
    backbone, preparation = iql(task, updates, env_steps)
    return agents.OPTIQL(backbone=backbone, **opt_fields(KAPPA, utd=1, env_steps=env_steps)), preparation
