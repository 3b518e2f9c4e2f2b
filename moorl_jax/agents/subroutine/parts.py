"""The agents that act and learn within a subroutine; each owns one part of the subroutine's state."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from moorl_jax.agents.contract import Agent, Batch, Update
from moorl_jax.agents.sac import SAC
from moorl_jax.agents.subroutine.state import SubroutineState
from moorl_jax.config import static
from moorl_jax.nets import Network
from moorl_jax.types import Array, Draws, Metrics, NStep, Params, ReturnsToGo, Transitions

PartName = Literal["learner", "offline", "tuned"]


class Part(Agent[SubroutineState]):
    """An agent whose state is a field of the subroutine's."""

    agent: Agent = SAC()
    name: PartName = static("learner")

    def init(self, key: Array, example: Transitions) -> SubroutineState:
        """Return a state with this part alone."""
        return SubroutineState(**{self.name: self.agent.init(key, example)})

    def draw(self, key: Array, batch: Batch) -> Draws:
        """Draw what the agent draws."""
        return self.agent.draw(key, batch)

    def cycle(self) -> tuple[Update[SubroutineState], ...]:
        """Return the agent's updates, of its part of the state."""
        return tuple(PartialUpdate(update, self.name) for update in self.agent.cycle())

    def policy(self, state: SubroutineState) -> Params:
        """Return the agent's policy."""
        return self.agent.policy(getattr(state, self.name))

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the agent's greedy actions."""
        return self.agent.greedy(params, observations)

    def network(self, params: Params) -> Network:
        """Return the agent's."""
        return self.agent.network(params)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the agent's exploratory actions."""
        return self.agent.act(params, observations, key)

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the agent's actions for evaluation."""
        return self.agent.act_in_evaluation(params, observations, key)

    def returns_to_go(self) -> ReturnsToGo | None:
        """Return the agent's rule for returns-to-go."""
        return self.agent.returns_to_go()

    def needs_next_actions(self) -> bool:
        """Return whether the agent needs next actions."""
        return self.agent.needs_next_actions()

    def chunks(self) -> NStep | None:
        """Return the span of the agent's chunks."""
        return self.agent.chunks()

    def best_episodes(self) -> float:
        """Return the share of episodes that the agent asks for."""
        return self.agent.best_episodes()


@dataclass(frozen=True)
class PartialUpdate:
    """An update of a part of the state. Wrappers of the same update are equal, so that they can be scanned."""

    update: Update
    name: PartName

    def __call__(self, state: SubroutineState, batch: Batch, draws: Draws) -> tuple[SubroutineState, Metrics]:
        """Update the part; the offline algorithm is given scaled rewards, the learner rewards as they are."""
        if state.reward_scale is not None:
            to_go = None if batch.mc_returns is None else batch.mc_returns * state.reward_scale
            batch = batch.replace(rewards=batch.rewards * state.reward_scale, mc_returns=to_go)
        part, metrics = self.update(getattr(state, self.name), batch, draws)
        return state.replace(**{self.name: part}), metrics


class Candidate(Agent[SubroutineState]):
    """One of a pause's candidates, acting greedily."""

    agent: Agent = SAC()
    name: str = static("learner")

    def policy(self, state: SubroutineState) -> Params:
        """Return the candidate's policy."""
        return self.agent.policy(state.candidates[self.name])

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return its greedy actions."""
        return self.agent.greedy(params, observations)

    def network(self, params: Params) -> Network:
        """Return its agent's."""
        return self.agent.network(params)


class Recommended(Agent[SubroutineState]):
    """The chosen candidate, which may differ between seeds."""

    candidates: tuple[Candidate, ...] = (Candidate(),)  #: in the order of preference

    def policy(self, state: SubroutineState) -> Params:
        """Return all candidates' policies and the place of the chosen one."""
        return {"policies": tuple(each.policy(state) for each in self.candidates), "choice": state.choice}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the chosen candidate's greedy actions."""
        pairs = zip(self.candidates, params["policies"], strict=True)
        actions = jnp.stack([candidate.greedy(policy, observations) for candidate, policy in pairs])
        return actions[params["choice"]]

    def network(self, params: Params) -> Network:
        """Return the chosen candidate's."""
        choice = int(params["choice"])
        return self.candidates[choice].network(params["policies"][choice])
