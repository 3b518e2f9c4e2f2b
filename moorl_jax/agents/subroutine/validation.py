"""How the candidates of a pause are scored, by episodes or by fitted values, and the best one chosen."""

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents.contract import Agent
from moorl_jax.agents.subroutine.parts import Candidate
from moorl_jax.agents.subroutine.state import FittedState, SubroutineState
from moorl_jax.config import NotNegative, Share, Widths, static
from moorl_jax.nets import MLP, Learner, critics, init_critics, polyak
from moorl_jax.replay import Experience
from moorl_jax.replay.buffer import ENDED
from moorl_jax.replay.history import episode_numbers
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


def score_episodes(
    state: SubroutineState, _key: Array, experience: Experience, *, name: str, env_steps: int
) -> SubroutineState:
    """Score a candidate by the latest env steps, in which it acted; NaN if it diverged."""
    if experience.diverged:
        return scored(state, name, jnp.asarray(jnp.nan))
    assert experience.ends is not None
    count = len(experience.ends)
    rewards = np.asarray(experience.online.rows.rewards)[count - env_steps : count]
    return scored(state, name, jnp.asarray(mean_return(rewards, experience.ends[count - env_steps :])))


def mean_return(rewards: np.ndarray, ends: np.ndarray) -> np.float32:
    """Return the mean return of the episodes in a window; `rewards` and `ends` are (env steps,).

    The mean is over complete episodes. The simpler estimate, all rewards divided by the number of episodes that ended,
    depends on the window: at a reward of 1 per step and a window of 333, episodes of 165 steps would score 166.5 and
    episodes of 167 steps 333.

    The window truncates the last episode, which counts only if it is longer than every complete one, or if none is
    complete. Otherwise a policy that fell once and then stood until the end would score no better than one that always
    falls early.
    """
    number = episode_numbers(ends)
    returns, lengths = np.bincount(number, rewards), np.bincount(number)
    whole = ends[ends != 0] == ENDED
    counts = whole | (lengths > lengths[whole].max(initial=0))
    return np.float32(returns[counts].mean())


class FittedValue(Agent[SubroutineState]):
    """Fitted Q evaluation of a candidate on all history (Le, Voloshin and Yue 2019, arXiv 1903.08738)."""

    candidate: Candidate = Candidate()
    hidden: Widths = static((256, 256))
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005

    def begin(self, state: SubroutineState, key: Array, example: Transitions) -> SubroutineState:
        """Put a fresh critic into the state."""
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        critic = init_critics(key, MLP((*self.hidden, 1)), inputs, members=1)
        return state.replace(fitted=FittedState(Learner.create(critic), critic))

    def update(self, state: SubroutineState, batch: Transitions, draws: Draws) -> tuple[SubroutineState, Metrics]:
        """Regress Q(s, a) on r + (1 - d) discount Qbar(s', pi(s'))."""
        assert state.fitted is not None
        actions = self.candidate.greedy(self.candidate.policy(state), batch.next_observations)
        next_q = critics(state.fitted.target_critic, batch.next_observations, actions)[0]
        target = batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

        def loss(critic: Params) -> Array:
            return jnp.mean((critics(critic, batch.observations, batch.actions)[0] - target) ** 2)

        error, gradients = jax.value_and_grad(loss)(state.fitted.critic.params)
        critic = state.fitted.critic.descend(gradients, self.learning_rate)
        fitted = FittedState(critic, polyak(state.fitted.target_critic, critic.params, self.tau))
        return state.replace(fitted=fitted), {"value_loss": error}

    def policy(self, state: SubroutineState) -> Params:
        """Return the candidate's policy."""
        return self.candidate.policy(state)

    def score(self, state: SubroutineState, key: Array, experience: Experience) -> SubroutineState:
        """Score the candidate by the mean of Q(s, pi(s)) over the first observations of all episodes."""
        assert experience.ends is not None
        assert state.fitted is not None
        _, begin = np.unique(episode_numbers(experience.ends), return_index=True)
        firsts = jnp.asarray(experience.online.rows.observations[begin])
        actions = self.candidate.greedy(self.candidate.policy(state), firsts)
        value = critics(state.fitted.critic.params, firsts, actions).mean()
        return scored(state, self.candidate.name, value)


def scored(state: SubroutineState, name: str, score: Array) -> SubroutineState:
    """Note a candidate's score."""
    return state.replace(scores=state.scores | {name: score.astype(jnp.float32)})


def choose(
    state: SubroutineState, _key: Array, _example: Transitions, *, preferred: tuple[str, ...]
) -> SubroutineState:
    """Choose the candidate with the highest score, breaking ties by preference; diverged candidates rank last."""
    scores = jnp.stack([state.scores[name] for name in preferred])
    choice = jnp.argmax(jnp.where(jnp.isfinite(scores), scores, -jnp.inf))
    return state.replace(offline=None, fitted=None, choice=choice)
