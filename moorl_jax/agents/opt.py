"""OPT: a second critic, pre-trained online, beside the offline one (Shin et al. 2025, arXiv 2507.08387).

The authors' code is not public. Where the paper leaves details open we follow a third-party implementation that claims
to reproduce theirs; our tests check against numbers recorded from it.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.backbone import Backbone
from moorl_jax.agents.contract import Agent, State, Update
from moorl_jax.agents.spot import SPOT
from moorl_jax.agents.td3_bc import TD3BC, first_critic
from moorl_jax.config import NotNegative, Share, Steps, Turns, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import Learner, Network, polyak
from moorl_jax.phases import Collect, Online, Phase, Pretrain, Switch
from moorl_jax.replay import Balanced, Both, Sampling
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

Pair = tuple[Transitions, Transitions]

OLD, NEW = 0, 1  #: generations of critics


class OPTState(struct.PyTreeNode):
    """The backbone's state; critics, their Adam moments and targets have a leading axis of size two: old and new."""

    backbone: State
    updates: Array  #: (), critic updates since fine-tuning began


class OPT(Agent[OPTState]):
    """OPT over TD3+BC, as the paper runs MuJoCo.

    The actor maximizes (1 - kappa) Q_old + kappa Q_new (eq. 4). Kappa is constant while steps are collected and then
    rises linearly until env step `kappa_steps`; steps are counted from the first collected one. With `kappa_rule`
    "density", ours and not the paper's, a row's kappa is w / (1 + w) instead, w the density ratio d_online / d_offline
    that balanced replay has learned: the probability that (s, a) is online experience, with both equally likely a
    priori.
    """

    source = "arXiv 2507.08387 appendix H, MuJoCo's medium sets"

    #: Fields of the backbone's state that have two generations.
    BOTH: ClassVar[tuple[str, ...]] = ("critic", "target_critic")

    backbone: Annotated[Any, Backbone] = TD3BC()  #: the agent that is trained offline
    replay: Sampling = Balanced(updated_numerator=True, online_fraction=None)  #: the sampling rule of fine-tuning
    utd: Turns = static(5)  #: updates per env step of fine-tuning
    collect_steps: Steps = static(25_000)  #: N_tau, env steps of the frozen policy before the new critics are trained
    pretrain_updates: Steps = static(50_000)  #: N_pretrain, of the new critics before fine-tuning
    #: the loss of pre-training: "meta" (eq. 3), or "online", plain TD on the collected steps
    pretraining: Literal["meta", "online"] = static("meta")
    kappa_rule: Literal["schedule", "density"] = static("schedule")
    kappa_start: Share = 0.3
    kappa_end: Share = 0.9
    kappa_steps: NotNegative = 150_000.0  #: env step at which kappa reaches kappa_end; 0: it stays at kappa_start
    inner_learning_rate: NotNegative = 3e-4  #: alpha, of the inner step of pre-training

    def init(self, key: Array, example: Transitions) -> OPTState:
        """Initialize a backbone and a second generation of critics."""
        backbone_key, new_key = jax.random.split(key)
        return self.expand(self.backbone.init(backbone_key, example), new_key, example)

    def expand(self, state: State, key: Array, example: Transitions) -> OPTState:
        """Add a fresh generation of critics to a trained backbone."""
        fresh = self.backbone.init(key, example)
        pairs = {
            name: jax.tree.map(lambda *leaves: jnp.stack(leaves), getattr(state, name), getattr(fresh, name))
            for name in self.BOTH
        }
        return OPTState(state.replace(**pairs), jnp.zeros((), jnp.int32))

    def renew(self, state: OPTState, key: Array, example: Transitions) -> OPTState:
        """Reset the optimizers of the actor and the old critics; the new critics keep theirs from pre-training."""
        learners = {name: part.renewed() for name, part in vars(state.backbone).items() if isinstance(part, Learner)}
        for name in set(self.BOTH) & set(learners):
            trained = getattr(state.backbone, name)
            learners[name] = jax.tree.map(lambda anew, kept: anew.at[NEW].set(kept[NEW]), learners[name], trained)
        return state.replace(backbone=state.backbone.replace(**learners))

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw what the backbone draws, with separate target-policy noise for each generation, (2, batch, A)."""
        backbone_key, new_key = jax.random.split(key)
        draws = self.backbone.draw(backbone_key, batch)
        new = jax.random.normal(new_key, batch.actions.shape, batch.actions.dtype)
        return draws | {"policy_noise": jnp.stack([draws["policy_noise"], new])}

    def cycle(self) -> tuple[Update[OPTState], ...]:
        """Return a cycle as long as the backbone's; only its last update moves the actor and the targets."""
        return (self.update_critics,) * (len(self.backbone.cycle()) - 1) + (self.update,)

    def update(self, state: OPTState, batch: Transitions, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update both generations of critics, the actor against their mixture, and all targets."""
        state, critic_metrics = self.update_critics(state, batch, draws)
        kappa = self.kappa(state.updates, batch)

        def mixture(observations: Array, actions: Array) -> Array:
            params = state.backbone.critic.params
            first = partial(first_critic, activation=self.backbone.activation)
            old, new = jax.vmap(first, in_axes=(0, None, None))(params, observations, actions)
            return (1.0 - kappa) * old + kappa * new

        backbone, actor_metrics = self.backbone.update_actor(state.backbone, mixture, batch, draws)
        return state.replace(backbone=backbone), critic_metrics | actor_metrics | {"kappa": jnp.mean(kappa)}

    def update_critics(self, state: OPTState, batch: Transitions, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update both generations on the same batch, each towards its own targets, in one batched pass."""
        axes = self.generation_axes(state.backbone)
        noise_axis = {name: 0 if name == "policy_noise" else None for name in draws}
        both = jax.vmap(self.backbone.update_critic, in_axes=(axes, None, noise_axis), out_axes=(axes, 0))
        backbone, metrics = both(state.backbone, batch, draws)
        return OPTState(backbone, state.updates + 1), by_generation(metrics)

    def kappa(self, updates: Array, batch: Transitions) -> Array:
        """Return the new critics' weight at the given number of updates: (), or (batch,) by density."""
        if self.kappa_rule == "schedule":
            return self.scheduled_kappa(self.collect_steps + -(-updates // self.utd))
        assert batch.density_ratio is not None
        return batch.density_ratio / (1.0 + batch.density_ratio)

    def scheduled_kappa(self, step: Array) -> Array:
        """Return the new critics' weight at an env step of the online phase, counted from 1 (Appendix H)."""
        ramp = (step - self.collect_steps) / jnp.maximum(self.kappa_steps - self.collect_steps, 1.0)
        progress = jnp.where(self.kappa_steps > self.collect_steps, jnp.clip(ramp, 0.0, 1.0), 1.0)
        progress = jnp.where(self.kappa_steps > 0, progress, 0.0)
        return self.kappa_start + progress * (self.kappa_end - self.kappa_start)

    def policy(self, state: OPTState) -> Params:
        """Return the backbone's policy."""
        return self.backbone.policy(state.backbone)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the backbone's greedy actions."""
        return self.backbone.greedy(params, observations)

    def network(self, params: Params) -> Network:
        """Return the backbone's."""
        return self.backbone.network(params)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the backbone's exploratory actions."""
        return self.backbone.act(params, observations, key)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the backbone's offline phases, collecting, pre-training of the new critics, fine-tuning.

        `collect_steps` are part of `env_steps`.
        """
        offline_and_online = self.backbone.phases(updates, env_steps)
        if not env_steps:
            return offline_and_online
        *before, _ = offline_and_online
        if self.pretrain_updates and not self.collect_steps:
            raise MoorlError("OPT pre-trains its new critics on collected steps: collect_steps must be more than 0")
        if self.kappa_rule == "density" and not isinstance(self.replay, Balanced):
            raise MoorlError("OPT's kappa_rule 'density' needs balanced replay, which estimates the density ratio")
        if env_steps <= self.collect_steps:
            raise MoorlError(
                f"OPT collects {self.collect_steps:,} env steps before it learns online: {env_steps:,} are too few"
            )
        opt = self._tuning(env_steps)
        return (
            *before,
            Switch(opt.expand),
            Collect(opt, self.collect_steps),
            Pretrain(opt.online_pretraining(), self.pretrain_updates, Both(), evaluated=False),
            Switch(opt.renew),
            Online(opt, env_steps - self.collect_steps, self.replay, self.utd),
        )

    def online(self, env_steps: int) -> Online:
        """Return fine-tuning."""
        return Online(self._tuning(env_steps), env_steps, self.replay, self.utd)

    def online_pretraining(self) -> "OnlinePretraining":
        """Return the agent that trains the new critics before fine-tuning."""
        return OnlinePretraining(batch_size=self.batch_size, opt=self)

    def _tuning(self, env_steps: int) -> "OPT":
        """Return OPT with the backbone set for fine-tuning, for example without a schedule or with another discount."""
        return self.replace(backbone=self.backbone.online(env_steps).agent)

    def generation_axes(self, backbone: State) -> Any:
        """Return the vmap axes of a backbone's state: 0 for fields with two generations, None for the others."""
        return jax.tree.map(lambda _: None, backbone).replace(**dict.fromkeys(self.BOTH, 0))


class OPTSPOT(OPT):
    """OPT over SPOT, as the paper runs AntMaze and Adroit."""

    backbone: Annotated[Any, SPOT] = SPOT(q_epsilon=1e-10)


class OnlinePretraining(Agent[OPTState]):
    """The agent of OPT's online pre-training: only the new critics learn, from the dataset and the collected steps.

    Its state is OPT's; its batches are pairs, the dataset's and the buffer's.
    """

    opt: OPT = OPT()

    def draw(self, key: Array, batch: Pair) -> Draws:
        """Draw the backbone's randomness for each batch of the pair, (2, ...)."""
        drawn = [self.opt.backbone.draw(k, part) for k, part in zip(jax.random.split(key), batch, strict=True)]
        return {name: jnp.stack([draws[name] for draws in drawn]) for name in drawn[0]}

    def cycle(self) -> tuple[Update[OPTState], ...]:
        """Return as many updates as the backbone has, of which the last moves the targets."""
        return (self.update_critics,) * (len(self.opt.backbone.cycle()) - 1) + (self.update,)

    def update(self, state: OPTState, batch: Pair, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update the new critics, then move their targets."""
        state, metrics = self.update_critics(state, batch, draws)
        new = self.new_generation(state)
        target = polyak(new.target_critic, new.critic.params, self.opt.backbone.tau)
        return self.adopt(state, new.replace(target_critic=target)), metrics

    def update_critics(self, state: OPTState, batch: Pair, draws: Draws) -> tuple[OPTState, Metrics]:
        """Update the new critics alone."""
        new = self.new_generation(state)
        loss = partial(self.loss, state=new, batch=batch, draws=draws)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(new.critic.params)
        critic = new.critic.descend(gradients, self.opt.backbone.critic_learning_rate)
        return self.adopt(state, new.replace(critic=critic)), metrics

    def loss(self, params: Params, state: State, batch: Pair, draws: Draws) -> tuple[Array, Metrics]:
        """Return L_off(psi) + w L_on(psi - alpha grad L_off(psi)) (eq. 3), w = min(L_off, L_on) / L_on held fixed.

        Its gradient holds the second-order term, (I - alpha H_off) grad L_on. The weight is not in the equation but in
        the implementations, from OEMA (Guo et al. 2023).
        """
        offline, online = batch
        offline_draws, online_draws = ({name: pair[of] for name, pair in draws.items()} for of in (0, 1))
        if self.opt.pretraining == "online":
            loss = self.td_loss(params, state, online, online_draws)
            return loss, {"online_td_loss": loss}
        before, gradient = jax.value_and_grad(self.td_loss)(params, state, offline, offline_draws)
        adapted = jax.tree.map(lambda p, g: p - self.opt.inner_learning_rate * g, params, gradient)
        after = self.td_loss(adapted, state, online, online_draws)
        weight = jax.lax.stop_gradient(jnp.minimum(before, after) / (after + 1e-10))
        metrics = {"offline_td_loss": before, "online_td_loss": after, "gradient_weight": weight}
        return before + weight * after, metrics

    def td_loss(self, critic: Params, state: State, batch: Transitions, draws: Draws) -> Array:
        """Return L of the new critics on one batch, as the backbone defines it; the actor and the targets are fixed."""
        return self.opt.backbone.critic_loss(critic, state, batch, draws)[0]

    def new_generation(self, state: OPTState) -> State:
        """Return the backbone's state with only the new generation of critics."""
        new = {name: jax.tree.map(lambda pair: pair[NEW], getattr(state.backbone, name)) for name in self.opt.BOTH}
        return state.backbone.replace(**new)

    def adopt(self, state: OPTState, new: State) -> OPTState:
        """Put the new generation back in its place."""
        both = {}
        for name in self.opt.BOTH:
            pair = getattr(state.backbone, name)
            both[name] = jax.tree.map(lambda ages, one: ages.at[NEW].set(one), pair, getattr(new, name))
        return state.replace(backbone=state.backbone.replace(**both))


def by_generation(metrics: Metrics) -> Metrics:
    """Split metrics with a generation axis into `old_...` and `new_...`."""
    return {f"{age}_{name}": value[g] for g, age in ((OLD, "old"), (NEW, "new")) for name, value in metrics.items()}
