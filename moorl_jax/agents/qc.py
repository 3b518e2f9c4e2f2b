"""QC and QC-FQL: Q-chunking (Li, Zhou and Levine 2025, arXiv 2507.07969).

Policies and values are over chunks: the actions of the next few steps, chosen at once and executed open-loop.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import TypeVar

from moorl_jax.agents.common import GLOROT, normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.flow import Aggregate, aggregated, best_of, distilled, flow_draws, flow_loss, one_step
from moorl_jax.config import Count, NotNegative, Share, Steps, Turns, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Activation, Learner, Network, critics, init_critics, init_mlp, polyak
from moorl_jax.phases import Collect, Offline, Online, Phase
from moorl_jax.replay import Union
from moorl_jax.types import Array, Draws, Metrics, NStep, Params, Transitions


class QCState(struct.PyTreeNode):
    """Velocity field, and critics with their targets."""

    flow: Learner  #: v(s, x, t), of an observation, a point between noise and chunk, and a time
    critic: Learner  #: Q(s, a_1 ... a_h)
    target_critic: Params


class QCFQLState(QCState):
    """QC's networks, and a one-step policy."""

    actor: Learner  #: mu(s, z), of an observation and noise


S = TypeVar("S", bound=QCState, default=QCState)


class Chunking(Agent[S]):
    """What QC and QC-FQL share: critics of chunks, and a flow that imitates the data's.

    Targets are h-step returns; they need no off-policy correction, because the critic is given the whole chunk.

    All losses are taken from before the update, and the targets follow the critics from before it. Online the agent
    first collects, then uses the same update on dataset and buffer together.
    """

    source = "ColinQiyangLi/qc agents/acfql.py, main.py"

    hidden: Widths = static((512, 512, 512, 512))
    activation: Activation = static("gelu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units of policy and flow after their activation
    critic_layer_norm: bool = static(True)
    members: Count = static(2)  #: number of critics
    horizon: Count = static(5)  #: steps of a chunk
    #: if False, policy and critics use only the first action, with the same n-step returns
    chunked: bool = static(True)
    flow_steps: Count = static(10)  #: of Euler's method
    #: how the critics are combined, in their targets and when choosing among proposals (q_agg)
    target_value: Aggregate = static("mean")
    collect_steps: Steps = static(5000)  #: env steps before the first online update
    utd: Turns = static(1)  #: updates per env step online
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005

    def chunks(self) -> NStep:
        """Ask for chunks, the rewards of which are summed with this agent's discount."""
        return NStep(self.horizon, self.discount)

    def open_loop(self) -> int:
        """Take the actions of a whole chunk."""
        return self.horizon if self.chunked else 1

    def init(self, key: Array, example: Transitions) -> QCState:
        """Initialize kernels by Glorot's uniform rule, biases to 0."""
        flow_key, critic_key = jax.random.split(key)
        pair = jnp.concatenate([example.observations, self._example_chunk(example)], axis=-1)
        timed = jnp.concatenate([pair, jnp.zeros_like(pair[:, :1])], axis=-1)
        value = MLP(
            (*self.hidden, 1),
            kernel_init=GLOROT,
            activation=self.activation,
            layer_norm=normalized(self.critic_layer_norm),
        )
        critic = init_critics(critic_key, value, pair, self.members)
        flow = init_mlp(flow_key, self._maker(example), timed)
        return QCState(Learner.create(flow), Learner.create(critic), critic)

    def learn(self, state: S, batch: Transitions, draws: Draws, chosen: Array) -> tuple[S, Metrics]:
        """Update critics and flow, each against the others from before, and the targets.

        `chosen` are the chunks that the policy takes at s', (batch, size).
        """
        target = self.target(state, batch, chosen)
        critic_loss = partial(self.critic_loss, target=target, batch=batch)
        (_, metrics), of_critic = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)
        imitation = partial(self.flow_loss, batch=batch, draws=draws)
        imitated, of_flow = jax.value_and_grad(imitation)(state.flow.params)
        after = state.replace(
            flow=state.flow.descend(of_flow, self.learning_rate),
            critic=state.critic.descend(of_critic, self.learning_rate),
            target_critic=polyak(state.target_critic, state.critic.params, self.tau),
        )
        return after, metrics | {"flow_loss": imitated}

    def chunk(self, batch: Transitions) -> Array:
        """Return the actions to learn from: the flattened chunk, (batch, steps A), or the first action, (batch, A)."""
        return batch.actions.reshape(len(batch), -1) if self.chunked else batch.actions[:, 0]

    def target(self, state: S, batch: Transitions, chosen: Array) -> Array:
        """Return the critics' targets, (batch,): y = R + (1 - d) discount^h Qbar(s', a') (eq. 7).

        R is the discounted sum of the chunk's rewards, s' is where it leads, a' the chunk chosen there.
        """
        next_q = critics(state.target_critic, batch.next_observations, chosen, self.activation)
        ahead = (1.0 - batch.terminals) * self.discount**self.horizon
        return batch.rewards + ahead * aggregated(next_q, self.target_value)

    def critic_loss(self, critic: Params, target: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return the mean of (Q_i(s, a) - y)^2 over critics and batch.

        Chunks whose episode ends before their last step count as 0.
        """
        q = critics(critic, batch.observations, self.chunk(batch), self.activation)
        chex.assert_shape(q, (self.members, *target.shape))
        loss = jnp.mean(jnp.asarray(batch.valid)[:, -1] * (q - target) ** 2)
        return loss, {"critic_loss": loss, "q": q.mean()}

    def flow_loss(self, flow: Params, batch: Transitions, draws: Draws) -> Array:
        """Return the flow-matching loss on the data's actions; steps after the end of an episode are ignored."""
        weights = jnp.repeat(jnp.asarray(batch.valid), batch.actions.shape[-1], axis=-1) if self.chunked else 1.0
        return flow_loss(flow, batch.observations, self.chunk(batch), draws, self.activation, weights)

    def network(self, params: Params) -> Network:
        """Raise MoorlError: the policy maps noise to the actions of several steps."""
        raise MoorlError(f"{type(self).__name__} chooses several actions at once: it cannot be exported")

    def in_steps(self, chunk: Array) -> Array:
        """Return a chunk, (..., steps A), as actions, (..., steps, A), or as the only one, (..., A)."""
        return chunk.reshape(*chunk.shape[:-1], self.horizon, -1) if self.open_loop() > 1 else chunk

    def online(self, env_steps: int) -> Online:
        """Return learning online on dataset and buffer as one."""
        return Online(self, env_steps, Union(), self.utd)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return offline training, then collecting, then learning online."""
        collected = min(self.collect_steps, env_steps)
        return (Offline(self, updates), Collect(self, collected), self.online(env_steps - collected))

    def _maker(self, example: Transitions) -> MLP:
        """Return the network of what makes chunks: the flow, and QC-FQL's policy."""
        return MLP(
            (*self.hidden, self._example_chunk(example).shape[-1]),
            kernel_init=GLOROT,
            activation=self.activation,
            layer_norm=normalized(self.actor_layer_norm),
        )

    def _example_chunk(self, example: Transitions) -> Array:
        return jnp.tile(example.actions, (1, self.open_loop()))


class QC(Chunking[QCState]):
    """QC with the defaults of its authors' code.

    The critics choose the best of several chunks that the flow proposes, both in their targets and when the agent acts,
    also in evaluation.
    """

    samples: Count = static(32)  #: chunks of which the best is taken

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the flow's start and time, and the noise of the chunks proposed at s', standard normal."""
        flow_key, next_key = jax.random.split(key)
        chunk = self.chunk(batch)
        shape = (len(chunk), self.samples, chunk.shape[-1])
        return flow_draws(flow_key, chunk) | {"next": jax.random.normal(next_key, shape, chunk.dtype)}

    def update(self, state: QCState, batch: Transitions, draws: Draws) -> tuple[QCState, Metrics]:
        """Update critics and flow, each against the others from before, and the targets."""
        return self.learn(state, batch, draws, self.choose(self.policy(state), batch.next_observations, draws["next"]))

    def policy(self, state: QCState) -> Params:
        """Return the flow, and the critics that choose among its chunks."""
        return {"flow": state.flow.params, "critic": state.critic.params}

    def choose(self, params: Params, observations: Array, noise: Array) -> Array:
        """Return the best of the chunks that the flow makes of the noise, (..., samples, size)."""
        flow, critic, steps = params["flow"], params["critic"], self.flow_steps
        return best_of(flow, critic, observations, noise, steps, self.activation, self.target_value)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the best chunk of noise that is always the same, at every observation."""
        shape = self._noise_shape(params)
        noise = jax.random.normal(jax.random.key(0), shape, observations.dtype)
        noise = jnp.broadcast_to(noise, (*observations.shape[:-1], *shape))
        return self.in_steps(self.choose(params, observations, noise))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the best chunk of fresh noise."""
        shape = (*observations.shape[:-1], *self._noise_shape(params))
        return self.in_steps(self.choose(params, observations, jax.random.normal(key, shape, observations.dtype)))

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the best chunk of fresh noise, as the authors evaluate."""
        return self.act(params, observations, key)

    def _noise_shape(self, params: Params) -> tuple[int, ...]:
        return self.samples, params["flow"][f"layer{len(self.hidden)}"]["bias"].shape[-1]


class QCFQL(Chunking[QCFQLState]):
    """QC-FQL with the defaults of its authors' code: FQL of chunks.

    A policy that takes a single step from noise to chunk is distilled from the flow and climbs the critics. It acts by
    sampling, in evaluation too.
    """

    alpha: NotNegative = 100.0  #: weight of the distillation; the README's value for cube-triple

    def init(self, key: Array, example: Transitions) -> QCFQLState:
        """Initialize kernels by Glorot's uniform rule, biases to 0."""
        actor_key, others_key = jax.random.split(key)
        pair = jnp.concatenate([example.observations, self._example_chunk(example)], axis=-1)
        actor = Learner.create(init_mlp(actor_key, self._maker(example), pair))
        return QCFQLState(**vars(super().init(others_key, example)), actor=actor)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the flow's start and time, and the noise of the policy's chunks at s and at s', standard normal."""
        flow_key, policy_key, next_key = jax.random.split(key, 3)
        chunk = self.chunk(batch)
        return flow_draws(flow_key, chunk) | {
            "policy": jax.random.normal(policy_key, chunk.shape, chunk.dtype),
            "next": jax.random.normal(next_key, chunk.shape, chunk.dtype),
        }

    def update(self, state: QCFQLState, batch: Transitions, draws: Draws) -> tuple[QCFQLState, Metrics]:
        """Update critics, flow and policy, each against the others from before, and the targets."""
        chosen = self.made(state.actor.params, batch.next_observations, draws["next"])
        after, metrics = self.learn(state, batch, draws, chosen)
        actor_loss = partial(self.actor_loss, state=state, batch=batch, noise=draws["policy"])
        (_, actor_metrics), gradients = jax.value_and_grad(actor_loss, has_aux=True)(state.actor.params)
        return after.replace(actor=state.actor.descend(gradients, self.learning_rate)), metrics | actor_metrics

    def actor_loss(self, actor: Params, state: QCFQLState, batch: Transitions, noise: Array) -> tuple[Array, Metrics]:
        """Return alpha mean (mu(s, z) - flow(s, z))^2 - mean Q(s, mu(s, z)), Q the mean of the critics.

        Chunks that contain an episode's end count as well, because only s is used.
        """
        flow, critic = state.flow.params, state.critic.params
        distillation, q = distilled(actor, flow, critic, batch.observations, noise, self.flow_steps, self.activation)
        loss = self.alpha * distillation - q.mean()
        return loss, {"actor_loss": loss, "distillation_loss": distillation, "q_policy": q.mean()}

    def policy(self, state: QCFQLState) -> Params:
        """Return the one-step policy."""
        return state.actor.params

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the chunk of fresh noise, as the authors evaluate."""
        return self.act(params, observations, key)

    def made(self, actor: Params, observations: Array, noise: Array) -> Array:
        """Return mu(s, z), clipped to the action range."""
        return jnp.clip(one_step(actor, observations, noise, self.activation), -1.0, 1.0)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the chunk of no noise, mu(s, 0)."""
        noise = jnp.zeros(self._noise_shape(params, observations), observations.dtype)
        return self.in_steps(self.made(params, observations, noise))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the chunk of fresh noise."""
        noise = jax.random.normal(key, self._noise_shape(params, observations), observations.dtype)
        return self.in_steps(self.made(params, observations, noise))

    def _noise_shape(self, params: Params, observations: Array) -> tuple[int, ...]:
        return *observations.shape[:-1], params[f"layer{len(self.hidden)}"]["bias"].shape[-1]
