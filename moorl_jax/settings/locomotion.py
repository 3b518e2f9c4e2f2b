"""D4RL locomotion (-v2): HalfCheetah, Hopper, Walker2d. Every value, with its source.

`updates` offline and `env_steps` online are the budget; only schedules that span it, and warm-ups that would not fit
it, depend on it.
"""

from typing import Any

from moorl_jax import agents
from moorl_jax.data.preparation import Preparation
from moorl_jax.settings.proportions import first_steps, iql_decay, opt_fields
from moorl_jax.tasks import Task


def bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return BC's settings, of corl-team/CORL `algorithms/offline/any_percent_bc.py` with all of the data."""
    agent = agents.BC(
        batch_size=256,
        hidden=(256, 256),
        learning_rate=3e-4,
    )
    return agent, Preparation(normalize_observations=True)


def td3_bc(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return TD3+BC's settings, of sfujim/TD3_BC `main.py` and `TD3_BC.py`; raw rewards.

    The authors did not fine-tune. Online the cloning term is dropped, which makes it TD3: the baseline of OPT's paper.
    """
    agent = agents.TD3BC(
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
        exploration_noise=0.1,  # of TD3
        online_cloning=False,
    )
    return agent, Preparation(normalize_observations=True)  # std + 1e-3, `utils.py`


SUPPORT_WEIGHTS = {  # robot: medium and medium-replay, medium-expert; `configs/offline/*.yml`
    "halfcheetah": (0.05, 1.0),
    "hopper": (0.1, 0.2),
    "walker2d": (0.2, 0.5),
}
SUPPORT_WEIGHT = (0.1, 0.5)  #: of other robots, which the authors did not run: the three's medians


def spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return SPOT's settings, of thuml/SPOT `train_vae.py`, `SPOT.py` and `configs/offline/`.

    The authors fine-tuned on AntMaze alone: online we keep their rule there, and its discount of 0.99. Levels without a
    weight of their own take medium's. A density model is trained for no more updates than the agent: ours.
    """
    weights = SUPPORT_WEIGHTS.get(task.subject, SUPPORT_WEIGHT)
    agent = agents.SPOT(
        batch_size=256,
        hidden=(256, 256),
        vae_hidden=(750, 750),
        vae_updates=min(100_000, max(updates, env_steps)),
        vae_learning_rate=1e-3,
        beta=0.5,
        samples=1,
        dropout=0.1,
        policy_freq=2,
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        policy_noise=0.2,
        noise_clip=0.5,
        exploration_noise=0.1,
        support_weight=weights[task.level == "medium-expert"],
        support_end=0.2,
        online_cooling_updates=1e6,
        online_discount=0.99,
    )
    return agent, Preparation(normalize_observations=True)


def iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return IQL's settings, of ikostrikov/implicit_q_learning `configs/mujoco_config.py` and `learner.py`."""
    agent = agents.IQL(
        batch_size=256,
        hidden=(256, 256),
        actor_learning_rate=3e-4,
        value_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        actor_decay_updates=iql_decay(updates, env_steps),  # `opt_decay_schedule`, a cosine to 0 over an offline run
        discount=0.99,
        tau=0.005,
        expectile=0.7,
        temperature=3.0,
        weight_clip=100.0,  # `actor.py`
    )
    # `train_offline.py` scales the rewards, `dataset_utils.py` clips the actions.
    return agent, Preparation(normalize_returns=True, action_limit=1 - 1e-5)


def pex(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return PEX's settings, the defaults of Haichao-Zhang/PEX over the IQL that its backbone's authors ran on MuJoCo.

    The commands in PEX's repository are for AntMaze alone. With its code's inverse temperature of 10 on raw locomotion
    rewards the offline policy scored 2 on hopper-medium recipe data; expectile, temperature and reward scale are IQL's
    own, our reading. It collects 5,000 env steps before it learns online; where that is more than a tenth of the
    budget, a tenth: ours.
    """
    agent = agents.PEX(
        batch_size=256,
        hidden=(256, 256),
        actor_learning_rate=3e-4,
        value_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        actor_decay_updates=float(max(updates, 1)),  # offline; online the rate stays
        discount=0.99,
        tau=0.005,
        expectile=0.7,
        temperature=3.0,
        weight_clip=100.0,
        choice_temperature=10.0,
        epsilon=0.1,
        collect_steps=first_steps(env_steps),
        offline_share=0.5,
    )
    return agent, Preparation(normalize_returns=True)


def cql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return CQL's settings, of young-geng/JaxCQL `conservative_sac.py` and `conservative_sac_main.py`."""
    agent = agents.CQL(
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


def cal_ql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return Cal-QL's settings, what nakamotoo/Cal-QL's `scripts/*.sh` have in common.

    The authors ran no locomotion; its rewards are taken raw, its weight as for CQL.
    """
    agent = agents.CalQL(
        batch_size=256,
        hidden=(256, 256),
        actions_per_state=10,
        orthogonal=True,
        importance_sampling=True,
        lagrange=False,
        max_target_backup=True,
        backup_entropy=False,
        actor_learning_rate=1e-4,
        critic_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        penalty_weight=5.0,
        penalty_temperature=1.0,
        offline_share=0.5,
    )
    return agent, Preparation(action_limit=0.99999)


def sac(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return SAC's settings: Haarnoja et al. 2018b (arXiv 1812.05905) table 1, as of Stable-Baselines3 and CleanRL.

    It starts with 5,000 random env steps (CleanRL); where that is more than a tenth of the budget, a tenth: ours.
    """
    agent = agents.SAC(
        batch_size=256,
        hidden=(256, 256),
        members=2,
        target_members=2,
        layer_norm=False,
        backup_entropy=True,
        utd=1,
        random_steps=first_steps(env_steps),
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        temperature_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        initial_temperature=1.0,
        target_entropy_per_dimension=-1.0,
    )
    return agent, Preparation()


def rlpd(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:  # noqa: ARG001
    """Return RLPD's settings, of ikostrikov/rlpd `configs/rlpd_config.py` and its locomotion command.

    It starts with 5,000 random env steps; where that is more than a tenth of the budget, a tenth: ours.
    """
    agent = agents.RLPD(
        batch_size=256,
        hidden=(256, 256),
        members=10,
        target_members=2,
        layer_norm=True,
        backup_entropy=True,
        utd=20,
        random_steps=first_steps(env_steps),
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
        temperature_learning_rate=3e-4,
        discount=0.99,
        tau=0.005,
        initial_temperature=1.0,
        target_entropy_per_dimension=-0.5,
        offline_share=0.5,
    )
    return agent, Preparation(action_limit=1 - 1e-5)


def moorl(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return MOORL's settings: SAC's, and our values for what the paper leaves open; the study `moorl-meta` compares.

    It starts as SAC and RLPD do, with 5,000 random env steps, or a tenth of the budget.
    """
    base, _ = sac(task, updates, env_steps)
    agent = agents.MOORL(
        **(vars(base) | {"utd": 4}),
        meta_rate=0.5,
        offline_probability=0.5,
        repeats_batch=False,
        acting="meta",
        interpolated=("actor", "critic"),
        resets_moments=False,
    )
    return agent, Preparation(action_limit=1 - 1e-5)


KAPPA = {  # level: start, end, env step of the end; OPT's appendix H, table 15. Other levels take medium's.
    "random": (1.0, 1.0, 150_000),
    "medium": (0.3, 0.9, 150_000),
    "medium-replay": (0.1, 0.9, 150_000),
}


def _opt_fields(task: Task, env_steps: int) -> dict[str, Any]:
    """Return what OPT's three forms have in common on MuJoCo."""
    return opt_fields(KAPPA.get(task.level, KAPPA["medium"]), utd=5, env_steps=env_steps)


def opt(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT's settings on MuJoCo (its appendix): TD3+BC's backbone, on observations as they are."""
    backbone, _ = td3_bc(task, updates, env_steps)
    return agents.OPT(backbone=backbone, **_opt_fields(task, env_steps)), Preparation()


def opt_spot(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over SPOT. The paper runs it on AntMaze and Adroit; on MuJoCo the two are put together here.

    As OPT does there: no dropout, observations as they are, lambda cooled over as many updates as there are env steps.
    """
    backbone, _ = spot(task, updates, env_steps)
    backbone = backbone.replace(q_epsilon=1e-10, dropout=0.0, online_cooling_updates=float(max(env_steps, 1)))
    return agents.OPTSPOT(backbone=backbone, **_opt_fields(task, env_steps)), Preparation()


def opt_iql(task: Task, updates: int, env_steps: int) -> tuple[agents.Agent, Preparation]:
    """Return OPT over IQL, IQL set as its authors do; the paper's own settings for it are not at hand."""
    backbone, preparation = iql(task, updates, env_steps)
    return agents.OPTIQL(backbone=backbone, **_opt_fields(task, env_steps)), preparation
