"""What a budget changes: schedules that span it, and what comes before learning and would not fit it.

Shorter budgets than the authors' keep their proportions; those rules are ours.
"""

from typing import Any

from moorl_jax.agents import IQL, OPT, OPTSPOT, PEX, QC, QCFQL, SAC, SPOT, WSRL, Agent, DrQ, DrQBC, ReBRAC, Subroutine
from moorl_jax.settings.changes import Changes, sets, within

OPT_ENV_STEPS = 300_000  #: of OPT's paper

# The loop of V-D4RL's authors runs for 1.1 million frames. Online an env step takes two of them; offline each is a turn
# of the loop, of which every second one makes an update. The noise falls over the first 250,000 env steps or turns.
PIXEL_STEPS = 550_000  #: env steps online, updates offline

A_TENTH = "at most a tenth of the env steps: ours"
OPTS = "the proportions of OPT's 300,000 env steps: ours"
NOISE = "the proportions of the authors' 550,000 env steps or updates: ours"


def within_budget(agent: Agent, updates: int, env_steps: int) -> Changes:
    """Return what a budget of offline updates and env steps changes of an agent as it is set for a longer one."""
    match agent:
        case Subroutine():
            return _subroutine(agent, updates, env_steps)
        case OPT():
            return _opt(agent, updates, env_steps)
        case PEX():
            return _annealed(updates) + _first("collect_steps", agent, env_steps)
        case QC() | QCFQL():
            return _first("collect_steps", agent, env_steps)
        case WSRL():
            backbone = within_budget(agent.backbone, updates, 0)
            return within("backbone", backbone) + _first("warmup_steps", agent, env_steps)
        case IQL():
            # `train_finetune.py` sets opt_decay_schedule None; the code with one optimizer has no schedule.
            return () if env_steps or agent.joint else _annealed(updates)
        case ReBRAC():
            cooling = sets(
                "corl-team/CORL algorithms/finetune/rebrac.py", online_cooling_updates=float(env_steps * agent.utd)
            )
            return cooling if env_steps else ()
        case SPOT():
            vae_updates = min(agent.vae_updates, max(updates, env_steps))
            return sets("a density model gets no more updates than the agent: ours", vae_updates=vae_updates)
        case DrQBC():
            return _noise(agent, updates + env_steps)
        case DrQ():
            random_steps = max(agent.n_step, min(agent.random_steps, env_steps // 10))
            return _noise(agent, env_steps) + sets(A_TENTH, random_steps=random_steps)
        case SAC():
            return _first("random_steps", agent, env_steps)
    return ()


def _annealed(updates: int) -> Changes:
    """Return over how many updates the cosine of IQL's actor rate falls: all offline ones."""
    return sets("ikostrikov/implicit_q_learning learner.py", actor_decay_updates=float(max(updates, 1)))


def _first(name: str, agent: Any, env_steps: int) -> Changes:
    """Return the env steps before the first update, `name` of the agent's fields."""
    return sets(A_TENTH, **{name: min(getattr(agent, name), env_steps // 10)})


def _noise(agent: DrQ, steps: int) -> Changes:
    """Return over how many steps DrQ-v2's noise falls."""
    share = min(1.0, steps / PIXEL_STEPS)
    return sets(NOISE, noise_updates=max(1.0, agent.noise_updates * share))


def _opt(agent: OPT, updates: int, env_steps: int) -> Changes:
    """Return OPT's; a twelfth of the paper's env steps comes first, with two pre-training updates for each of them."""
    collect_steps, steps = min(agent.collect_steps, env_steps // 12), int(agent.kappa_steps)
    changes = within("backbone", within_budget(agent.backbone, updates, env_steps)) + sets(
        OPTS,
        collect_steps=collect_steps,
        pretrain_updates=2 * collect_steps,
        kappa_steps=float(min(steps, steps * env_steps // OPT_ENV_STEPS)),
    )
    if isinstance(agent, OPTSPOT):
        cooling = sets("arXiv 2507.08387: cooled over the env steps", online_cooling_updates=float(max(env_steps, 1)))
        changes += within("backbone", cooling)
    return changes


def _subroutine(agent: Subroutine, updates: int, env_steps: int) -> Changes:
    """Return a subroutine's; `updates` are those of each offline training."""
    tuned = env_steps - round(agent.pauses[-1] * env_steps)
    return (
        within("learner", within_budget(agent.learner, 0, env_steps))
        + within("offline", within_budget(agent.offline, updates, tuned))
        + _first("first_steps", agent, env_steps)
        + sets("as many as an offline training's: ours", validation_updates=max(1, updates))
    )
