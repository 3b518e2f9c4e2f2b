"""D4RL AntMaze (-v2): what its authors change.

The reward of every step is lowered by 1, or mapped to 10 r - 5, so that ending early pays.
"""

from moorl_jax.settings.changes import Changes, prepares, sets, within
from moorl_jax.tasks import Task


def td3_bc(_: Task) -> Changes:
    """Return TD3+BC's; its authors ran no AntMaze."""
    return prepares("corl-team/CORL configs/offline/td3_bc/antmaze/", reward_shift=-1.0)


REBRAC = {  # maze and level: weights of the actor's and of the critics' penalty
    ("umaze", ""): (0.003, 0.002),
    ("umaze", "diverse"): (0.003, 0.001),
    ("medium", "play"): (0.001, 0.0005),
    ("medium", "diverse"): (0.001, 0.0),
    ("large", "play"): (0.002, 0.001),
    ("large", "diverse"): (0.002, 0.002),
}


def rebrac(task: Task) -> Changes:
    """Return ReBRAC's, which multiplies rewards by 100 and lowers none."""
    source = "DT6A/ReBRAC configs/rebrac/"
    actor, critic = REBRAC[task.subject, task.level]
    return sets(
        source,
        batch_size=256,
        actor_learning_rate=3e-4,
        critic_learning_rate=5e-5,
        discount=0.999,
        actor_penalty=actor,
        critic_penalty=critic,
    ) + prepares(source, reward_scale=100.0)


def awac(_: Task) -> Changes:
    """Return AWAC's."""
    source = "corl-team/CORL configs/offline/awac/"
    return sets(source, advantage_scale=0.1) + prepares(source, reward_shift=-1.0)


def sac_n(_: Task) -> Changes:
    """Return SAC-N's; rewards stay as they are. EDAC's are its defaults."""
    return sets("corl-team/CORL configs/offline/sac_n/", members=25)


SUPPORT_WEIGHTS = {  # maze and level: thuml/SPOT `configs/offline/antmaze-*.yml`
    ("umaze", ""): 0.25,
    ("umaze", "diverse"): 0.25,
    ("medium", "play"): 0.05,
    ("medium", "diverse"): 0.025,
    ("large", "play"): 0.025,
    ("large", "diverse"): 0.025,
}


def spot(task: Task) -> Changes:
    """Return SPOT's; online, large mazes have a longer horizon."""
    source = "thuml/SPOT configs/offline/antmaze-*.yml"
    large = sets("thuml/SPOT configs/online_finetune/", online_discount=0.995)
    return (
        sets(source, final_ranges=(1e-3, 3e-3), actor_learning_rate=1e-4)
        + sets(source, support_weight=SUPPORT_WEIGHTS[task.subject, task.level])
        + (large if task.subject == "large" else ())
        + prepares(source, reward_shift=-1.0)
    )


def iql(_: Task) -> Changes:
    """Return IQL's."""
    return sets("ikostrikov/implicit_q_learning configs/antmaze_config.py", expectile=0.9, temperature=10.0) + prepares(
        "ikostrikov/implicit_q_learning train_offline.py", reward_shift=-1.0
    )


def fql(task: Task) -> Changes:
    """Return FQL's."""
    weight = sets("seohongpark/fql README.md", alpha=3.0) if task.subject == "large" else ()
    return weight + prepares("seohongpark/fql envs/d4rl_utils.py", reward_shift=-1.0)


def ifql(_: Task) -> Changes:
    """Return IFQL's."""
    return prepares("seohongpark/fql envs/d4rl_utils.py", reward_shift=-1.0)


def qc(_: Task) -> Changes:
    """Return QC's."""
    return prepares("ours: as FQL", reward_shift=-1.0)


def qc_fql(_: Task) -> Changes:
    """Return QC-FQL's."""
    return prepares("ours: as FQL", reward_shift=-1.0)


def pex(_: Task) -> Changes:
    """Return PEX's."""
    source = "Haichao-Zhang/PEX README.md"
    return sets(source, expectile=0.9) + prepares(source, reward_shift=-1.0)


def cql(_: Task) -> Changes:
    """Return CQL's."""
    source = "corl-team/CORL configs/offline/cql/antmaze/"
    return sets(
        source,
        hidden=(256,) * 3,
        critic_hidden=(256,) * 5,
        orthogonal=True,
        lagrange=True,
        target_gap=0.8,
        gap_min=-200.0,
        max_target_backup=True,
        actor_learning_rate=1e-4,
    ) + prepares(source, reward_scale=10.0, reward_shift=-5.0)


def cal_ql(_: Task) -> Changes:
    """Return Cal-QL's."""
    source = "nakamotoo/Cal-QL scripts/run_antmaze.sh"
    return sets(source, critic_hidden=(256,) * 4, lagrange=True, target_gap=0.8, failure_reward=-5.0) + prepares(
        source, reward_scale=10.0, reward_shift=-5.0
    )


def wsrl(_: Task) -> Changes:
    """Return WSRL's; its policy's std depends on the state, as Cal-QL's, and not as its authors have it here."""
    return sets("zhouzypaul/wsrl experiments/", target_actions=10)


def sac(_: Task) -> Changes:
    """Return SAC's, which no author here ran."""
    return prepares("ours: as RLPD", reward_shift=-1.0)


def rlpd(_: Task) -> Changes:
    """Return RLPD's."""
    source = "ikostrikov/rlpd README.md, AntMaze's command"
    return sets(source, hidden=(256,) * 3, target_members=1, backup_entropy=False) + prepares(source, reward_shift=-1.0)


def moorl(_: Task) -> Changes:
    """Return MOORL's, which its authors did not run here."""
    return prepares("ours: as RLPD", reward_shift=-1.0)


def _opt(source: str, task: Task) -> Changes:
    """Return what the three forms of OPT share."""
    longest = (task.subject, task.level) == ("large", "diverse")
    return sets(source, utd=1, kappa_start=0.1, kappa_steps=200_000.0 if longest else 100_000.0)


def opt(task: Task) -> Changes:
    """Return OPT's, which the paper runs on MuJoCo alone: the schedule of OPT over SPOT, the data TD3+BC's."""
    return _opt("ours: as OPT over SPOT", task)


def opt_spot(task: Task) -> Changes:
    """Return those of OPT over SPOT, whose weights and discounts are not all SPOT's."""
    source = "arXiv 2507.08387 appendix H"
    weight = sets(source, support_weight=0.05) if task.subject == "medium" else ()
    return _opt(source, task) + within("backbone", weight + sets(source, online_discount=0.995))


def opt_iql(task: Task) -> Changes:
    """Return those of OPT over IQL."""
    return _opt("ours: as OPT over SPOT", task)
