"""D4RL AntMaze (-v2): what differs from the agents' defaults, every value with its source.

The reward of every step is lowered by 1, or mapped to 10 r - 5, so that ending early pays. Observations are taken as
they are unless said otherwise.
"""

from moorl_jax import agents
from moorl_jax.data.preparation import Preparation
from moorl_jax.settings.proportions import first_steps, iql_decay, opt_fields
from moorl_jax.tasks import Task

LESS_ONE = Preparation(reward_shift=-1.0)
INSIDE = 1 - 1e-5  #: to which IQL's and RLPD's code clips actions


def bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings, of corl-team/CORL `algorithms/offline/any_percent_bc.py` with all of the data."""
    return agents.BC(), Preparation(normalize_observations=True)


def td3_bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return TD3+BC's settings, of corl-team/CORL `configs/offline/td3_bc/antmaze/`; its authors ran no AntMaze."""
    return agents.TD3BC(alpha=2.5), Preparation(normalize_observations=True, reward_shift=-1.0)


SUPPORT_WEIGHTS = {  # maze and level: thuml/SPOT `configs/offline/antmaze-*.yml`
    ("umaze", ""): 0.25,
    ("umaze", "diverse"): 0.25,
    ("medium", "play"): 0.05,
    ("medium", "diverse"): 0.025,
    ("large", "play"): 0.025,
    ("large", "diverse"): 0.025,
}


def _spot(updates: int, env_steps: int, support_weight: float, online_discount: float) -> agents.SPOT:
    return agents.SPOT(
        final_ranges=(1e-3, 3e-3),
        actor_learning_rate=1e-4,
        dropout=0.0,
        vae_updates=min(100_000, max(updates, env_steps)),
        support_weight=support_weight,
        support_end=0.2,
        online_cooling_updates=1e6,
        online_discount=online_discount,
    )


def spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return SPOT's settings, of thuml/SPOT `configs/offline/antmaze-*.yml`, `configs/online_finetune/` and `SPOT.py`.

    Online large mazes have a discount of 0.995. A density model is trained for no more updates than the agent: ours.
    """
    discount = 0.995 if task.subject == "large" else 0.99
    return _spot(updates, env_steps, SUPPORT_WEIGHTS[task.subject, task.level], discount), LESS_ONE


def iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return IQL's settings, of ikostrikov/implicit_q_learning `configs/antmaze_config.py`, `train_offline.py`."""
    agent = agents.IQL(expectile=0.9, temperature=10.0, actor_decay_updates=iql_decay(updates, env_steps))
    return agent, Preparation(reward_shift=-1.0, action_limit=INSIDE)


def pex(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return PEX's settings, of the commands in Haichao-Zhang/PEX `README.md`."""
    agent = agents.PEX(
        expectile=0.9,
        temperature=10.0,
        actor_decay_updates=float(max(updates, 1)),
        collect_steps=first_steps(env_steps),
    )
    return agent, LESS_ONE


def cql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return CQL's settings, of corl-team/CORL `configs/offline/cql/antmaze/`."""
    agent = agents.CQL(
        hidden=(256,) * 3,
        critic_hidden=(256,) * 5,
        orthogonal=True,
        lagrange=True,
        target_gap=0.8,
        gap_min=-200.0,
        max_target_backup=True,
        actor_learning_rate=1e-4,
        penalty_weight=5.0,
    )
    return agent, Preparation(reward_scale=10.0, reward_shift=-5.0, action_limit=0.999)


def cal_ql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return Cal-QL's settings, of nakamotoo/Cal-QL `scripts/run_antmaze.sh`."""
    agent = agents.CalQL(
        critic_hidden=(256,) * 4,
        lagrange=True,
        target_gap=0.8,
        penalty_weight=5.0,
        failure_reward=-5.0,
        offline_share=0.5,
    )
    return agent, Preparation(reward_scale=10.0, reward_shift=-5.0, action_limit=0.99999)


def sac(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return SAC's settings as for locomotion, on RLPD's rewards: ours."""
    return agents.SAC(random_steps=first_steps(env_steps)), LESS_ONE


def rlpd(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return RLPD's settings, of the AntMaze command in ikostrikov/rlpd `README.md`."""
    agent = agents.RLPD(
        hidden=(256, 256, 256), target_members=1, backup_entropy=False, random_steps=first_steps(env_steps)
    )
    return agent, Preparation(reward_shift=-1.0, action_limit=INSIDE)


def moorl(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return MOORL's settings as for locomotion, on RLPD's rewards: ours."""
    return agents.MOORL(random_steps=first_steps(env_steps)), Preparation(reward_shift=-1.0, action_limit=INSIDE)


def opt(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over TD3+BC, which the paper runs on MuJoCo alone: CORL's backbone, `opt_spot`'s schedule; ours."""
    backbone, preparation = td3_bc(task, updates, env_steps)
    return agents.OPT(backbone=backbone, **opt_fields(_kappa(task), utd=1, env_steps=env_steps)), preparation


def opt_spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT's settings on AntMaze (its appendix H): SPOT's backbone, lambda cooled over the env steps."""
    weight = 0.05 if task.subject == "medium" else SUPPORT_WEIGHTS[task.subject, task.level]
    backbone = _spot(updates, env_steps, weight, 0.995)
    backbone = backbone.replace(q_epsilon=1e-10, online_cooling_updates=float(max(env_steps, 1)))
    return agents.OPTSPOT(backbone=backbone, **opt_fields(_kappa(task), utd=1, env_steps=env_steps)), LESS_ONE


def opt_iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over IQL, IQL set as its authors do; the paper's own settings for it are not at hand."""
    backbone, preparation = iql(task, updates, env_steps)
    return agents.OPTIQL(backbone=backbone, **opt_fields(_kappa(task), utd=1, env_steps=env_steps)), preparation


def _kappa(task: Task) -> tuple[float, float, int]:
    return 0.1, 0.9, 200_000 if (task.subject, task.level) == ("large", "diverse") else 100_000
