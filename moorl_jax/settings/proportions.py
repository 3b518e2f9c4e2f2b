"""What shorter budgets than the authors' keep of their proportions; the rules are ours."""

from typing import Any

from moorl_jax.replay import Balanced

PAPER_ENV_STEPS = 300_000  #: of OPT's paper


def first_steps(env_steps: int) -> int:
    """Return the env steps before the first online update: 5,000, or a tenth of the budget where that is less."""
    return min(5_000, env_steps // 10)


def iql_decay(updates: int, env_steps: int) -> float | None:
    """Return the updates that the cosine of IQL's actor rate spans: all, but none where fine-tuning follows.

    Source: ikostrikov/implicit_q_learning `learner.py`, and `train_finetune.py`, which sets `opt_decay_schedule` None.
    """
    return None if env_steps else float(max(updates, 1))


def opt_fields(kappa: tuple[float, float, int], utd: int, env_steps: int) -> dict[str, Any]:
    """Return what OPT's three forms have in common (its appendix H); `kappa` is start, end and env step of the end.

    The paper's online budget is 300,000 env steps, a twelfth of them collected first, with two pre-training updates for
    each. Shorter budgets keep the proportions, kappa's way to its end among them: ours.
    """
    start, end, steps = kappa
    collected = min(25_000, env_steps // 12)
    return {
        "batch_size": 256,
        "replay": Balanced(
            hidden=(256, 256),
            density_batch=256,
            updated_numerator=True,
            learning_rate=3e-4,
            temperature=5.0,
            smallest=1e-3,
            greatest=1e3,
            online_fraction=None,
        ),
        "utd": utd,
        "collect_steps": collected,
        "pretrain_updates": 2 * collected,
        "pretraining": "meta",
        "kappa_rule": "schedule",
        "kappa_start": start,
        "kappa_end": end,
        "kappa_steps": float(min(steps, steps * env_steps // PAPER_ENV_STEPS)),
        "inner_learning_rate": 3e-4,
    }
