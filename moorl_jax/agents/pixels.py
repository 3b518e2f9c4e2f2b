"""BC, CQL, RLPD and MOORL from images: the same losses, on the features of an encoder that the critics train.

As in RLPD (Ball, Smith, Kostrikov and Levine 2023, arXiv 2302.02948) and DrQ-v2, images are randomly shifted before an
update, actor and critics each project the features to a small size with a "trunk" layer, and the actor's loss does not
train the encoder. The encoder is part of the critics' parameters. SAC's target critics therefore have their own
encoder, as in RLPD, and MOORL's meta update interpolates the encoder.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from moorl_jax.agents.bc import BC, BCState
from moorl_jax.agents.common import SquashedGaussian
from moorl_jax.agents.contract import State, Update
from moorl_jax.agents.cql import CQL, CQLState, CriticInputs
from moorl_jax.agents.moorl import MOORL, MOORLState
from moorl_jax.agents.sac import RLPD, SAC, S, SACState
from moorl_jax.config import Count, Positive, Steps, Turns, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import (
    Encoder,
    Learner,
    Trunk,
    batch_gradients,
    drawn_shifts,
    encode,
    init_mlp,
    mlp,
    random_shift,
    trunk,
)
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class FromImages(SquashedGaussian):
    """Mixin that makes an agent of the SAC or CQL family learn from images (height, width, channels).

    It comes before the agent among the base classes.
    """

    channels: Widths = static((32, 32, 32, 32))  #: of the encoder's convolutions
    strides: Widths = static((2, 1, 1, 1))
    feature_size: Count = static(50)  #: of the trunks
    pad: Steps = static(4)  #: the largest random shift, in pixels

    def init(self, key: Array, example: Transitions) -> State:
        """Initialize encoder and trunks orthogonally, the other networks as for states of the trunk's size."""
        encoder_key, actor_key, critic_key, key = jax.random.split(key, 4)
        encoder = Encoder(self.channels, self.strides).init(encoder_key, example.observations)["params"]
        features = encode(encoder, example.observations, self.strides)
        narrow = jnp.zeros((1, self.feature_size), features.dtype)
        state = super().init(key, example.replace(observations=narrow, next_observations=narrow))
        trunks = [Trunk(self.feature_size).init(each, features)["params"] for each in (actor_key, critic_key)]
        actor = {"trunk": trunks[0], "net": state.actor.params}
        critic = {"encoder": encoder, "trunk": trunks[1], "members": state.critic.params}
        return state.replace(actor=Learner.create(actor), critic=Learner.create(critic), target_critic=critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw what the agent draws, and each image's shift."""
        shift_key, next_key, key = jax.random.split(key, 3)
        shifts = {"shift": drawn_shifts(shift_key, len(batch), self.pad)}
        shifts |= {"next_shift": drawn_shifts(next_key, len(batch), self.pad)}
        return super().draw(key, batch) | shifts

    def cycle(self) -> tuple[Update, ...]:
        """Return the agent's updates, of shifted images."""
        return self.shifted(super().cycle())

    def shifted(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Return updates as they are, but that images are shifted first."""
        return tuple(_OfShiftedImages(update, self.pad) for update in updates)

    def see(self, critic: Params, images: Array) -> Array:
        """Return the encoder's features, (batch, features)."""
        return encode(critic["encoder"], images, self.strides)

    def values(self, critic: Params, observations: Array, actions: Array) -> Array:
        """Return all critics' values, (members, ...), given encoder features; the critics' trunk is applied first."""
        return super().values(critic["members"], trunk(critic["trunk"], observations), actions)

    def subset(self, critic: Params, members: Array) -> Params:
        """Return these members of the ensemble, with the encoder and the trunk that all share."""
        return critic | {"members": super().subset(critic["members"], members)}

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing, of features, behind the actor's trunk."""
        return super().gaussian(actor["net"], trunk(actor["trunk"], observations))

    def policy(self, state: State) -> Params:
        """Return the critics' encoder and the actor."""
        return {"encoder": state.critic.params["encoder"], "actor": super().policy(state)}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the squashed mean."""
        return super().greedy(params["actor"], encode(params["encoder"], observations, self.strides))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s)."""
        return super().act(params["actor"], encode(params["encoder"], observations, self.strides), key)


@dataclass(frozen=True)
class _OfShiftedImages:
    """An update, before which images are shifted. Two of the same update are equal, so that they are scanned."""

    update: Update
    pad: int

    def __call__(self, state: State, batch: Transitions, draws: Draws) -> tuple[State, Metrics]:
        images = random_shift(batch.observations, draws["shift"], self.pad)
        next_images = random_shift(batch.next_observations, draws["next_shift"], self.pad)
        return self.update(state, batch.replace(observations=images, next_observations=next_images), draws)


class PixelSAC(FromImages, SAC[S]):
    """SAC from images."""

    def critic_gradients(self, critic: Params, target: Array, batch: Transitions) -> tuple[Params, Metrics]:
        """Return gradient and metrics of the critics' loss, for all critics together, because they share an encoder."""

        def loss(critic: Params, batch: Transitions) -> tuple[Array, Metrics]:
            seen = self.see(critic, batch.observations)
            return self.critic_loss(self.values(critic, seen, batch.actions), target)

        return batch_gradients(loss, critic, batch)


class PixelRLPD(PixelSAC, RLPD):
    """RLPD from images with ikostrikov/rlpd's defaults for images; pixels are scaled to [-0.5, 0.5], as in DrQ-v2."""

    source = "ikostrikov/rlpd configs/, train_finetuning_pixels.py; orthogonal as DrQ-v2: ours"

    utd: Turns = static(1)
    initial_temperature: Positive = 0.1
    backup_entropy: bool = static(False)
    target_members: Count = static(1)
    channels: Widths = static((32, 64, 128, 256))
    strides: Widths = static((2, 2, 2, 2))


class PixelMOORL(MOORL, PixelSAC[MOORLState]):
    """MOORL from images; the encoder is interpolated as a part of the critics.

    The meta policy acts. The adapted policy of the latest epoch cannot act, because its encoder has already been
    interpolated.
    """

    source = "MOORL's; the encoder conglu1997/v-d4rl drqbc/drqv2.py: ours"

    def cycle(self) -> tuple[Update, ...]:
        """Return MOORL's updates, of shifted images."""
        return self.shifted(super().cycle())

    def policy(self, state: State) -> Params:
        """Return the policies that are evaluated and that act, each with the meta critics' encoder."""
        encoder = state.meta["critic"]["encoder"]
        return {name: {"encoder": encoder, "actor": actor} for name, actor in super().policy(state).items()}

    def _parts(self, state: SACState) -> dict[str, Params]:
        if self.acting != "meta":
            raise MoorlError(f"MOORL from images: the meta policy acts, not '{self.acting}'")
        return super()._parts(state)


class Seen(Transitions):
    """Transitions whose observations are encoder features, together with the images of the current observations."""

    images: Array | None = None


class PixelCQL(FromImages, CQL):
    """CQL from images. As in DrQ-v2, targets use the online encoder; there is no target encoder."""

    source = "CQL's; the encoder conglu1997/v-d4rl drqbc/drqv2.py"

    def update(self, state: CQLState, batch: Transitions, draws: Draws) -> tuple[CQLState, Metrics]:
        """Step as CQL does; all but the critics' loss takes the features as given."""
        features = {
            "observations": self.see(state.critic.params, batch.observations),
            "next_observations": self.see(state.critic.params, batch.next_observations),
        }
        return super().update(state, Seen(**vars(batch) | features, images=batch.observations), draws)

    def critic_gradients(self, critic: Params, inputs: CriticInputs, weight: Array) -> tuple[Params, Metrics]:
        """Return the gradient of the twins' losses, of both at once: they share an encoder; and the metrics, (2,)."""

        def loss(critic: Params, inputs: CriticInputs) -> tuple[Array, Metrics]:
            assert isinstance(inputs.batch, Seen)
            assert inputs.batch.images is not None
            q = self.values(critic, self.see(critic, inputs.batch.images), inputs.actions)
            losses, metrics = self.critic_loss(q, inputs, weight)
            return losses.sum(), metrics

        return batch_gradients(loss, critic, inputs, self.blocks)


class PixelBC(BC):
    """BC from images. The cloning loss trains encoder, trunk and policy."""

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
        net = init_mlp(net_key, self.net(example.actions.shape[-1]), trunk(narrow, features))
        return BCState(Learner.create({"encoder": encoder, "trunk": narrow, "net": net}))

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw each image's shift."""
        return {"shift": drawn_shifts(key, len(batch), self.pad)}

    def update(self, state: BCState, batch: Transitions, draws: Draws) -> tuple[BCState, Metrics]:
        """Take one step on the cloning loss of the shifted images."""
        images = random_shift(batch.observations, draws["shift"], self.pad)
        return super().update(state, batch.replace(observations=images), draws)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return pi(s)."""
        features = encode(params["encoder"], observations, self.strides)
        return jnp.tanh(mlp(params["net"], trunk(params["trunk"], features), activation=self.activation))
