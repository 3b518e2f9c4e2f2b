"""D4RL Adroit (-v1) and Kitchen (-v0): what their authors change; and Meta-World's Sawyer.

Where authors ran only one of the two families, or neither, the other is set likewise, which is ours. So is Sawyer,
which no author here ran: as Adroit, but by CQL and Cal-QL as locomotion, whose smaller networks suit what an online
learner has gathered.
"""

from moorl_jax.settings.changes import Changes, prepares, sets, within
from moorl_jax.tasks import Task
from moorl_jax.tasks.catalogue import STAGES


def _as_adroit(source: str, task: Task) -> str:
    """Return the source of what its authors ran on Adroit; the other families are set likewise."""
    return source if task.family == "adroit" else f"ours: as Adroit, {source}"


REBRAC = {  # hand and level: weights of the actor's and of the critics' penalty
    ("pen", "human"): (0.1, 0.5),
    ("pen", "cloned"): (0.05, 0.5),
    ("pen", "expert"): (0.01, 0.01),
    ("door", "human"): (0.1, 0.1),
    ("door", "cloned"): (0.01, 0.1),
    ("door", "expert"): (0.05, 0.01),
    ("hammer", "human"): (0.01, 0.5),
    ("hammer", "cloned"): (0.1, 0.5),
    ("hammer", "expert"): (0.01, 0.01),
    ("relocate", "human"): (0.1, 0.01),
    ("relocate", "cloned"): (0.1, 0.01),
    ("relocate", "expert"): (0.05, 0.01),
}


def rebrac(task: Task) -> Changes:
    """Return ReBRAC's."""
    actor, critic = REBRAC.get((task.subject, task.level), REBRAC["relocate", "human"])
    common = sets(
        _as_adroit("DT6A/ReBRAC configs/rebrac/", task),
        batch_size=256,
        actor_learning_rate=3e-4,
        critic_learning_rate=3e-4,
    )
    source = "DT6A/ReBRAC configs/rebrac/" if task.family == "adroit" else "ours: as for relocate-human"
    return common + sets(source, actor_penalty=actor, critic_penalty=critic)


def awac(task: Task) -> Changes:
    """Return AWAC's."""
    return sets(_as_adroit("corl-team/CORL configs/offline/awac/", task), advantage_scale=0.1)


def sac_n(task: Task) -> Changes:
    """Return SAC-N's."""
    return sets(_as_adroit("corl-team/CORL configs/offline/sac_n/", task), members=100)


def edac(task: Task) -> Changes:
    """Return EDAC's. Its authors also normalize rewards, and have other rates for the pen; CORL does not."""
    of_pen = task.subject == "pen"
    pens = 1000.0 if task.level == "human" else 10.0
    return sets(
        _as_adroit("corl-team/CORL configs/offline/edac/", task),
        members=20 if of_pen else 50,
        diversity_weight=pens if of_pen else 200.0,
    )


def spot(task: Task) -> Changes:
    """Return SPOT's; its authors ran neither family."""
    return sets(
        _as_adroit("corl-team/CORL configs/finetune/spot/", task),
        final_ranges=(1e-3, 3e-3),
        actor_learning_rate=1e-4,
        support_weight=1.0,
        support_end=0.5,
    )


def iql(task: Task) -> Changes:
    """Return IQL's."""
    kitchen = "ikostrikov/implicit_q_learning configs/kitchen_config.py"
    adroit = _as_adroit("ikostrikov/implicit_q_learning README.md", task)
    return sets(kitchen if task.family == "kitchen" else adroit, temperature=0.5, dropout=0.1)


FQL = {  # hand and level: weight of the distillation
    ("pen", "human"): 10_000.0,
    ("pen", "cloned"): 10_000.0,
    ("pen", "expert"): 3_000.0,
    ("door", "human"): 30_000.0,
    ("door", "cloned"): 30_000.0,
    ("door", "expert"): 30_000.0,
    ("hammer", "human"): 30_000.0,
    ("hammer", "cloned"): 10_000.0,
    ("hammer", "expert"): 30_000.0,
    ("relocate", "human"): 10_000.0,
    ("relocate", "cloned"): 30_000.0,
    ("relocate", "expert"): 30_000.0,
}


def fql(task: Task) -> Changes:
    """Return FQL's, those of its offline runs; online its authors have other alphas."""
    source = "seohongpark/fql README.md" if task.family == "adroit" else "ours: as for relocate-human"
    alpha = FQL.get((task.subject, task.level), FQL["relocate", "human"])
    return sets(source, target_value="min", alpha=alpha)


def ifql(task: Task) -> Changes:
    """Return IFQL's; the samples are its paper's."""
    many = (task.subject, task.level) in (("door", "cloned"), ("relocate", "human"))
    return sets("arXiv 2502.02538, at second hand", samples=128) if many else ()


def pex(_: Task) -> Changes:
    """Return PEX's, whose authors ran neither family. Dropout is of the offline policy; the new one has none."""
    return sets("ours: as ikostrikov/implicit_q_learning", temperature=0.5, dropout=0.1)


def cql(task: Task) -> Changes:
    """Return CQL's. Kitchen's rewards are lowered by 4, the most that a step pays."""
    if task.family == "sawyer":
        return ()
    if task.family == "kitchen":
        source = "zhouzypaul/wsrl"
        return sets(source, hidden=(512,) * 3, importance_sampling=False) + prepares(source, reward_shift=-4.0)
    source = "corl-team/CORL configs/offline/cql/"
    changes = sets(source, hidden=(256,) * 3, orthogonal=True, actor_learning_rate=1e-4, penalty_weight=1.0)
    return changes + prepares(source, normalize_observations=True)


def cal_ql(task: Task) -> Changes:
    """Return Cal-QL's.

    Of Adroit the authors ran the tasks with binary rewards; on dense ones their values are our choice. On Kitchen a
    step pays for every sub-task finished so far, and returns to go take the last reward to go on for ever
    (`replay_buffer.py`, infinite_horizon); where a sub-task is paid for once, they do not: ours.
    """
    if task.family == "sawyer":
        return ()
    if task.family == "kitchen":
        source = "nakamotoo/Cal-QL scripts/run_kitchen.sh"
        changes = sets(source, hidden=(512,) * 3, importance_sampling=False, offline_share=0.25)
        return changes + (sets(source, endless=True) if task.rewards == STAGES else ())
    source = "nakamotoo/Cal-QL scripts/run_adroit.sh, for binary rewards"
    return sets(source, hidden=(512,) * 2, critic_hidden=(512,) * 3, penalty_weight=1.0)


def wsrl(task: Task) -> Changes:
    """Return WSRL's, beyond Cal-QL's: Kitchen's rewards are lowered by 4, the most that a step pays.

    Of Adroit its authors ran the tasks with binary rewards, as 10 r + 5; dense ones stay as they are: ours.
    """
    pays_again = task.family == "kitchen" and task.rewards == STAGES
    return prepares("zhouzypaul/wsrl experiments/", reward_shift=-4.0) if pays_again else ()


def rlpd(task: Task) -> Changes:
    """Return RLPD's, which its authors ran on Adroit with binary rewards."""
    source = _as_adroit("ikostrikov/rlpd README.md, Adroit's command", task)
    return sets(source, hidden=(256,) * 3, backup_entropy=False)


def _opt(source: str) -> Changes:
    """Return what the three forms of OPT share; the paper has it for Adroit's cloned sets."""
    return sets(source, utd=1, kappa_start=0.1, kappa_steps=250_000.0)


def opt(_: Task) -> Changes:
    """Return OPT's, which the paper runs on MuJoCo alone: schedule and norms of OPT over SPOT."""
    source = "ours: as OPT over SPOT"
    return _opt(source) + within("backbone", sets(source, layer_norm=True))


def opt_spot(task: Task) -> Changes:
    """Return those of OPT over SPOT: normalized layers."""
    source = _as_adroit("arXiv 2507.08387 appendix H", task)
    return _opt(source) + within("backbone", sets(source, layer_norm=True))


def opt_iql(_: Task) -> Changes:
    """Return those of OPT over IQL."""
    return _opt("ours: as OPT over SPOT")
