"""BC, CQL, RLPD and MOORL from images: the same losses, on the features of an encoder that the critics train.

As in RLPD (Ball, Smith, Kostrikov and Levine 2023, arXiv 2302.02948) and DrQ-v2 images are shifted at random, actor and
critics narrow the features by a trunk each, and the actor's loss does not reach the encoder. The encoder is part of the
critics' parameters, so SAC's targets have their own, as RLPD's, and MOORL's meta update interpolates it.
"""

import jax
import jax.numpy as jnp

from moorl_jax.agents.bc import BC, BCState
from moorl_jax.agents.common import SquashedGaussian, blockwise
from moorl_jax.agents.contract import State
from moorl_jax.agents.cql import CQL, Tried
from moorl_jax.agents.moorl import MOORL
from moorl_jax.agents.sac import RLPD, SAC, SACState
from moorl_jax.config import Count, Positive, Steps, Turns, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Encoder, Learner, Trunk, drawn_shifts, encode, init_mlp, mlp, random_shift, trunk
from moorl_jax.types import Array, Metrics, Params, Transitions


class FromImages(SquashedGaussian):
    """What an agent of the SAC family is to come before, to learn from images (height, width, channels)."""

    channels: Widths = static((32, 32, 32, 32))  #: of the encoder's convolutions
    strides: Widths = static((2, 1, 1, 1))
    feature_size: Count = static(50)  #: of the trunks
    pad: Steps = static(4)  #: the largest random shift, in pixels

    def init(self, key: Array, example: Transitions) -> State:
        """Initialize the networks as from states of the trunks' size, encoder and trunks orthogonally."""
        encoder_key, actor_key, critic_key, key = jax.random.split(key, 4)
        encoder = Encoder(self.channels, self.strides).init(encoder_key, example.observations)["params"]
        features = encode(encoder, example.observations, self.strides)
        narrow = jnp.zeros((1, self.feature_size), features.dtype)
        state = super().init(key, example.replace(observations=narrow, next_observations=narrow))
        trunks = [Trunk(self.feature_size).init(each, features)["params"] for each in (actor_key, critic_key)]
        actor = {"trunk": trunks[0], "net": state.actor.params}
        critic = {"encoder": encoder, "trunk": trunks[1], "members": state.critic.params}
        return state.replace(actor=Learner.create(actor), critic=Learner.create(critic), target_critic=critic)

    def draw(self, key: Array, batch: Transitions) -> dict[str, Array]:
        """Draw what the agent draws, and each image's shift."""
        shift_key, next_key, key = jax.random.split(key, 3)
        shifts = {"shift": drawn_shifts(shift_key, len(batch), self.pad)}
        shifts |= {"next_shift": drawn_shifts(next_key, len(batch), self.pad)}
        return super().draw(key, batch) | shifts

    def see(self, critic: Params, observations: Array, shifts: Array | None) -> Array:
        """Return the encoder's features of the shifted images, (batch, features)."""
        images = observations if shifts is None else random_shift(observations, shifts, self.pad)
        return encode(critic["encoder"], images, self.strides)

    def values(self, critic: Params, seen: Array, actions: Array) -> Array:
        """Return all critics' values, (members, ...), behind their trunk."""
        return super().values(critic["members"], trunk(critic["trunk"], seen), actions)

    def gaussian(self, actor: Params, seen: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing, behind the actor's trunk."""
        return super().gaussian(actor["net"], trunk(actor["trunk"], seen))  # type: ignore[safe-super]

    def policy(self, state: State) -> Params:
        """Return the critics' encoder and the actor."""
        return {"encoder": state.critic.params["encoder"], "actor": super().policy(state)}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the squashed mean."""
        return super().greedy(params["actor"], encode(params["encoder"], observations, self.strides))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s)."""
        return super().act(params["actor"], encode(params["encoder"], observations, self.strides), key)


class PixelSAC(FromImages, SAC):
    """SAC from images."""

    def critic_gradients(
        self, params: Params, target: Array, batch: Transitions, draws: dict[str, Array]
    ) -> tuple[Params, Metrics]:
        """Return the gradient and the metrics of the critics' loss, of all at once: they share an encoder."""

        def loss(params: Params) -> tuple[Array, Metrics]:
            seen = self.see(params, batch.observations, draws["shift"])
            return self.critic_loss(self.values(params, seen, batch.actions), target)

        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return gradients, metrics

    def subset(self, critic: Params, members: Array) -> Params:
        """Return these members of the ensemble, with the encoder and the trunk that all share."""
        return critic | {"members": super().subset(critic["members"], members)}


class PixelRLPD(PixelSAC, RLPD):
    """RLPD from images with the defaults that ikostrikov/rlpd has for them; pixels lie in [-0.5, 0.5], as in DrQ-v2."""

    source = "ikostrikov/rlpd configs/, train_finetuning_pixels.py; orthogonal as DrQ-v2: ours"

    utd: Turns = static(1)
    initial_temperature: Positive = 0.1
    backup_entropy: bool = static(False)
    target_members: Count = static(1)
    channels: Widths = static((32, 64, 128, 256))
    strides: Widths = static((2, 2, 2, 2))


class PixelMOORL(MOORL, PixelSAC):
    """MOORL from images; the encoder is interpolated as a part of the critics.

    The meta policy acts: the one adapted in the latest epoch would see by another encoder than its own.
    """

    source = "MOORL's; the encoder conglu1997/v-d4rl drqbc/drqv2.py: ours"

    def policy(self, state: State) -> Params:
        """Return the policies that are judged and that act, each with the meta critics' encoder."""
        encoder = state.meta["critic"]["encoder"]
        return {name: {"encoder": encoder, "actor": actor} for name, actor in super().policy(state).items()}

    def _parts(self, state: SACState) -> dict[str, Params]:
        if self.acting != "meta":
            raise MoorlError(f"MOORL from images: the meta policy acts, not '{self.acting}'")
        return super()._parts(state)


class PixelCQL(FromImages, CQL):
    """CQL from images. Targets see by the encoder that is trained, as DrQ-v2's do."""

    source = "CQL's; the encoder conglu1997/v-d4rl drqbc/drqv2.py"

    def critic_gradients(
        self,
        params: Params,
        seen: Array,  # noqa: ARG002
        tried: Tried,
        batch: Transitions,
        draws: dict[str, Array],
        rate: Array,
    ) -> tuple[Params, Metrics]:
        """Return the gradient of the twins' losses, of both at once: they share an encoder; and the metrics, (2,)."""

        def of_block(block: tuple[Tried, Transitions, Array]) -> tuple[Params, Metrics]:
            tried, batch, shifts = block

            def loss(params: Params) -> tuple[Array, Metrics]:
                q = self.values(params, self.see(params, batch.observations, shifts), tried.actions)
                losses, metrics = self.critic_loss(q, tried, batch, rate)
                return losses.sum(), metrics

            (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
            return gradients, metrics

        return blockwise(of_block, (tried, batch, draws["shift"]), self.parts(batch))


class PixelBC(BC):
    """BC from images, which trains encoder, trunk and policy by its loss."""

    source = "conglu1997/v-d4rl drqbc/bcagent.py; without noise on the action: ours"

    channels: Widths = static((32, 32, 32, 32))
    strides: Widths = static((2, 1, 1, 1))
    feature_size: Count = static(50)
    pad: Steps = static(4)

    def init(self, key: Array, example: Transitions) -> BCState:
        """Initialize encoder and trunk orthogonally, the policy as BC's."""
        encoder_key, trunk_key, net_key = jax.random.split(key, 3)
        encoder = Encoder(self.channels, self.strides).init(encoder_key, example.observations)["params"]
        features = encode(encoder, example.observations, self.strides)
        narrow = Trunk(self.feature_size).init(trunk_key, features)["params"]
        policy = MLP((*self.hidden, example.actions.shape[-1]))
        net = init_mlp(net_key, policy, trunk(narrow, features))
        return BCState(Learner.create({"encoder": encoder, "trunk": narrow, "net": net}))

    def draw(self, key: Array, batch: Transitions) -> dict[str, Array]:
        """Draw each image's shift."""
        return {"shift": drawn_shifts(key, len(batch), self.pad)}

    def update(self, state: BCState, batch: Transitions, draws: dict[str, Array]) -> tuple[BCState, Metrics]:  # type: ignore[override]
        """Take one step on the cloning loss of the shifted images."""
        images = random_shift(batch.observations, draws["shift"], self.pad)
        return super().update(state, batch.replace(observations=images), None)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return pi(s)."""
        features = encode(params["encoder"], observations, self.strides)
        return jnp.tanh(mlp(params["net"], trunk(params["trunk"], features)))
