"""The studies by name."""

from moorl_jax.studies.study import Study, Variant
from moorl_jax.tasks.catalogue import SAWYER

FIXED = "kappa_steps=0.0"  #: kappa keeps its start
OLD_ALONE = ("kappa_start=0.0", FIXED)
OPT_TASKS = "walker2d-random-v2,hopper-medium-v2"
BY_BOTH = "validated=('dataset', 'policy')"
VALIDATIONS = {
    "": (),
    "dataset by episodes": ("validated=('dataset',)",),
    "policy by episodes": ("validated=('policy',)",),
    "both by episodes": (BY_BOTH,),
    "both by fitted values": (BY_BOTH, "validation='offline'"),
}
SUBROUTINES = {
    "IQL recommended": "recommend_iql",
    "CQL recommended": "recommend_cql",
    "Cal-QL recommended": "recommend_cal_ql",
    "tuned by IQL": "tune_iql",
    "tuned by PEX": "tune_pex",
    "tuned by Cal-QL": "tune_cal_ql",
}
ONLINE_ONLY = Variant("online only", "sac")
# What the first author's public development forks of jaxrl2 and Cal-QL set, which look like the study's code and hold
# no results: a million env steps with the pause at 800,000, 500,000 offline updates at a fixed rate; all that was seen,
# or 200,000 fresh steps; checkpoints compared by three episodes each, 1 % of the budget. They also pick the learner's
# best checkpoint, which ours cannot.
PAUSED = "pauses=(0.8,)"
FIXED_RATE = "offline.actor_decay_updates=None"
FRESH = ("datasets=('fresh',)", "fresh_share=0.2")
POOLED = ("validated=('policy',)", "validation_share=0.01")
MOORL = ("utd=4", "meta_rate=0.5", "offline_probability=0.5")  #: what the variants of its study start from

STUDIES = {
    "opt-components": Study(
        # On random data OPT's own kappa is 1: there "full" and "new critics alone" are one run.
        question="What do OPT's parts contribute?",
        tasks=OPT_TASKS,
        variants=(
            Variant("full", "opt"),
            Variant("new critics at random", "opt", ("pretrain_updates=0",)),
            Variant("pre-trained on online data alone", "opt", ("pretraining='online'",)),
            Variant("old critics alone (kappa 0)", "opt", OLD_ALONE),
            Variant("new critics alone (kappa 1)", "opt", ("kappa_start=1.0", FIXED)),
            # Not the agent td3_bc, whose observations are normalized.
            Variant("TD3 with as many updates", "opt", (*OLD_ALONE, "replay=Union()", "pretrain_updates=0")),
        ),
    ),
    "opt-kappa": Study(
        question="How should OPT weigh its new critics against the old ones?",
        tasks=OPT_TASKS,
        variants=(
            Variant("fixed 0.5", "opt", ("kappa_start=0.5", FIXED)),
            Variant("0.1 to 0.9", "opt", ("kappa_start=0.1", "kappa_end=0.9")),
            Variant("0.3 to 0.9", "opt", ("kappa_start=0.3", "kappa_end=0.9")),
            Variant("0.5 to 0.9", "opt", ("kappa_start=0.5", "kappa_end=0.9")),
            Variant("by density (ours)", "opt", ("kappa_rule='density'",)),
        ),
    ),
    "opt-alpha": Study(
        question="How large should the inner step of OPT's pre-training be?",
        tasks=OPT_TASKS,
        variants=tuple(
            Variant(f"alpha {alpha}", "opt", (f"inner_learning_rate={alpha}",))
            for alpha in ("1e-5", "1e-4", "3e-4", "1e-3", "1e-2")
        ),
    ),
    "opt-collect": Study(
        question="How many env steps should OPT collect before its new critics are trained (N_tau)?",
        tasks="hopper-medium-v2,walker2d-medium-v2",  # states of 11 and 17 numbers; those with more need D4RL's data
        least=150_000,
        variants=tuple(
            Variant(f"N_tau {steps:,}", "opt", (f"collect_steps={steps}",))
            for steps in (2_500, 10_000, 25_000, 100_000)
        ),
    ),
    "opt-replay": Study(
        question="Where should the batches of OPT's fine-tuning come from?",
        tasks=OPT_TASKS,
        variants=(
            Variant("balanced", "opt"),
            Variant("symmetric", "opt", ("replay=Mixed(0.5)",)),
            Variant("uniform", "opt", ("replay=Union()",)),
            Variant("online only", "opt", ("replay=FromBuffer()",)),
        ),
    ),
    "moorl-meta": Study(
        question="Which values should MOORL have for what its paper leaves open?",
        tasks="hopper-medium-v2,walker2d-medium-replay-v2",
        variants=(
            Variant("K 4, rate 0.5, p 0.5", "moorl", MOORL),
            Variant("K 1, rate 1 (SAC, one source)", "moorl", (*MOORL, "utd=1", "meta_rate=1.0")),
            Variant("K 4, rate 1", "moorl", (*MOORL, "meta_rate=1.0")),
            Variant("K 4, rate 0.1", "moorl", (*MOORL, "meta_rate=0.1")),
            Variant("K 10, rate 0.5", "moorl", (*MOORL, "utd=10")),
            Variant("p 0.25", "moorl", (*MOORL, "offline_probability=0.25")),
            Variant("p 0.75", "moorl", (*MOORL, "offline_probability=0.75")),
            Variant("one batch for all K", "moorl", (*MOORL, "repeats_batch=True")),
            Variant("adapted policy acts", "moorl", (*MOORL, "acting='adapted'")),
            Variant(
                "targets, temperature too",
                "moorl",
                (*MOORL, "interpolated=('actor', 'critic', 'target_critic', 'log_temperature')"),
            ),
            Variant("moments anew", "moorl", (*MOORL, "resets_moments=True")),
            # What is left of the difference: half of each batch from either source, the critics' mean for the actor,
            # and one actor update an env step.
            Variant(
                "RLPD of that size",
                "rlpd",
                ("utd=4", "members=2", "layer_norm=False", "target_entropy_per_dimension=-1.0"),
            ),
        ),
    ),
    "hybrid": Study(
        question="How do the hybrid methods compare at equal env steps?",
        tasks="hopper-medium-v2,hopper-medium-replay-v2,walker2d-medium-v2,walker2d-medium-replay-v2",
        variants=tuple(Variant(agent, agent) for agent in ("moorl", "rlpd", "sac", "cal_ql", "opt")),
    ),
    "subroutines": Study(
        question="Where does offline RL as a subroutine help online RL, and with which validation?",
        tasks="subroutines-12," + ",".join(f"sawyer-{subject}-sparse" for subject in SAWYER),
        protocol="subroutine",
        variants=(
            ONLINE_ONLY,
            *(
                Variant(", ".join(filter(None, (label, validation))), agent, changes)
                for label, agent in SUBROUTINES.items()
                for validation, changes in VALIDATIONS.items()
            ),
        ),
    ),
    "subroutine-forks": Study(
        question="What do subroutines add by the recipe of their first author's public forks?",
        tasks="hopper,walker2d,halfcheetah,ant,sawyer-push,sawyer-push-sparse",
        protocol="subroutine",
        variants=(
            ONLINE_ONLY,
            Variant("IQL recommended", "recommend_iql", (FIXED_RATE,)),
            Variant("IQL recommended, fresh data", "recommend_iql", (FIXED_RATE, *FRESH)),
            Variant("IQL recommended, best checkpoint", "recommend_iql", (FIXED_RATE, *POOLED)),
            Variant("tuned by IQL", "tune_iql", (FIXED_RATE, PAUSED)),
            Variant("tuned by IQL, best checkpoint", "tune_iql", (FIXED_RATE, PAUSED, *POOLED)),
            Variant("tuned by PEX", "tune_pex", (FIXED_RATE, PAUSED)),
            Variant("tuned by Cal-QL", "tune_cal_ql", (PAUSED,)),
        ),
    ),
    "subroutine-reward": Study(
        question="Does Cal-QL as a subroutine need a reward for each finished sub-task?",
        tasks="franka-kitchen,franka-kitchen-sparse,sawyer-push,sawyer-push-sparse",
        protocol="subroutine",
        variants=(
            ONLINE_ONLY,
            *(Variant(label, agent) for label, agent in SUBROUTINES.items() if agent.endswith("cal_ql")),
        ),
    ),
    "subroutine-drop": Study(
        question="How far does the score fall when fine-tuning begins, and when is it back?",
        tasks="hopper,walker2d",
        protocol="subroutine",
        every=1_000,
        variants=(
            ONLINE_ONLY,
            *(Variant(label, agent) for label, agent in SUBROUTINES.items() if agent.startswith("tune")),
        ),
    ),
}
