"""OPT over IQL. The design is ours, because we do not know the paper's version."""

from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from moorl_jax.agents.contract import State
from moorl_jax.agents.iql import IQL
from moorl_jax.agents.opt import OPT, OnlinePretraining, OPTState, Pair, by_generation
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Phase
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class OPTIQL(OPT):
    """OPT over IQL.

    A generation is a pair of critics and a state value. The pre-training loss is the sum of IQL's value and critic
    losses. The policy loss is weighted with the mixed advantage, (1 - kappa) A_old + kappa A_new.
    """

    source = "as OPT over TD3+BC: ours"

    BOTH: ClassVar[tuple[str, ...]] = ("critic", "target_critic", "value")

    backbone: Annotated[Any, IQL] = IQL()

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return OPT's; raises MoorlError for an IQL whose actor is not weighted by advantages."""
        if self.backbone.actor_objective != "awr":
            raise MoorlError("OPT over IQL mixes advantages: it needs backbone.actor_objective=awr")
        return super().phases(updates, env_steps)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw what IQL draws."""
        return self.backbone.draw(key, batch)

    def update(self, state: OPTState, batch: Transitions, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update both generations of values, critics and targets, then the actor by their mixed advantage."""
        axes = self.generation_axes(state.backbone)
        both = jax.vmap(self.backbone.update_critics, in_axes=(axes, None), out_axes=(axes, 0, 0))
        backbone, (old, new), metrics = both(state.backbone, batch)
        state = OPTState(backbone, state.updates + 1)
        kappa = self.kappa(state.updates, batch)
        advantage = (1.0 - kappa) * old + kappa * new
        backbone, actor_metrics = self.backbone.update_actor(state.backbone, batch, draws, advantage)
        metrics = by_generation(metrics) | actor_metrics | {"kappa": jnp.mean(kappa)}
        return state.replace(backbone=backbone), metrics

    def online_pretraining(self) -> "OnlinePretrainingIQL":
        """Return the agent that trains the new critics and the new value before fine-tuning."""
        return OnlinePretrainingIQL(batch_size=self.batch_size, opt=self)


class OnlinePretrainingIQL(OnlinePretraining):
    """OPT's pre-training of a pair of critics and a state value."""

    opt: OPTIQL = OPTIQL()

    def update_critics(self, state: OPTState, batch: Pair, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update the new critics and the new value."""
        new, backbone = self.new_generation(state), self.opt.backbone
        loss = partial(self.loss, state=new, batch=batch, draws=draws)
        params = {"critic": new.critic.params, "value": new.value.params}
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        critic = new.critic.descend(gradients["critic"], backbone.critic_learning_rate)
        value = new.value.descend(gradients["value"], backbone.value_learning_rate)
        return self.adopt(state, new.replace(critic=critic, value=value)), metrics

    def td_loss(self, params: Params, state: State, batch: Transitions, draws: Draws) -> Array:
        """Return the sum of IQL's losses of value and critics."""
        backbone = self.opt.backbone
        q = backbone.q(state.target_critic, batch.observations, batch.actions).min(axis=0)
        next_v = jax.lax.stop_gradient(backbone.v(params["value"], batch.next_observations))
        value_loss, _ = backbone.value_loss(params["value"], q, batch)
        critic_loss, _ = backbone.critic_loss(params["critic"], next_v, batch)
        return value_loss + critic_loss
