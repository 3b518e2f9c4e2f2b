"""MOORL: meta offline-online reinforcement learning (Chaudhary, Mondal and Behera 2025, arXiv 2506.09574)."""

from typing import Annotated, Literal

from moorl_jax.agents.contract import Update
from moorl_jax.agents.sac import SAC, SACState
from moorl_jax.config import Bounds, Share, Turns, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import Learner, Network, polyak
from moorl_jax.phases import Online
from moorl_jax.replay import OneSource
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

Interpolated = Literal["actor", "critic", "target_critic", "log_temperature"]  #: parts of the meta update


class MOORLState(SACState):
    """SAC's networks during the inner updates, and the meta parameters from which an epoch starts."""

    meta: dict[str, Params]  #: by the names of SACState's fields
    adapted_actor: Params  #: at the end of the latest epoch, before the meta update


class MOORL(SAC[MOORLState]):
    """MOORL over SAC.

    A meta-epoch is one env step followed by `utd` (K in the paper) inner updates of actor and critics. Each epoch
    starts from the meta parameters, picks dataset or buffer at random, draws all its batches from it, and ends with
    Reptile's meta update: meta + meta_rate (inner - meta) (Algorithm 1, line 11). With K = 1 and a meta rate of 1 it is
    SAC on batches from a single source.

    To our knowledge the paper does not state K, the two learning rates, the probability of each source, whether an
    epoch reuses one batch, which policy acts, and how a meta update treats targets, temperature and Adam's moments. All
    are fields, and their defaults are ours; the study `moorl-meta` compares them with others.
    """

    source = "SAC's; what the paper leaves open is ours, the study moorl-meta compares"

    utd: Turns = static(4)
    meta_rate: Annotated[float, Bounds(above=0.0, at_most=1.0)] = 0.5  #: eta_meta
    offline_probability: Share = 0.5  #: probability that an epoch learns from the dataset
    repeats_batch: bool = static(False)  #: whether all updates of an epoch learn from the same batch
    #: which policy acts online: "meta", or "adapted", the one at the end of the latest epoch
    acting: Literal["meta", "adapted"] = static("meta")
    interpolated: tuple[Interpolated, ...] = static(("actor", "critic"))  #: the rest stays as it is
    resets_moments: bool = static(False)  #: whether an epoch starts with fresh Adam moments

    def init(self, key: Array, example: Transitions) -> MOORLState:
        """Initialize SAC's networks; the meta parameters are the same."""
        state = super().init(key, example)
        return MOORLState(**vars(state), meta=self._parts(state), adapted_actor=state.actor.params)

    def cycle(self) -> tuple[Update[MOORLState], ...]:
        """Return `utd` inner updates, of which the last ends with the meta update."""
        return (self.inner_update,) * (self.utd - 1) + (self.update,)

    def inner_update(self, state: MOORLState, batch: Transitions, draws: Draws) -> tuple[MOORLState, Metrics]:
        """Update critics, targets, actor and temperature as SAC does."""
        return super().update(state, batch, draws)

    def update(self, state: MOORLState, batch: Transitions, draws: Draws) -> tuple[MOORLState, Metrics]:
        """Perform the epoch's last inner update, then the meta update, from which the next epoch starts."""
        state, metrics = self.inner_update(state, batch, draws)
        meta = polyak(state.meta, self._parts(state), self.meta_rate)
        started = state.replace(meta=meta, adapted_actor=state.actor.params)
        for name, params in meta.items():
            part = getattr(state, name)
            started = started.replace(**{name: part.replace(params=params) if isinstance(part, Learner) else params})
        if self.resets_moments:
            learners = ("actor", "critic", "log_temperature")
            started = started.replace(**{name: getattr(started, name).renewed() for name in learners})
        return started, metrics

    def policy(self, state: MOORLState) -> Params:
        """Return the policy that is evaluated and the one that acts."""
        meta = state.meta["actor"]
        return {"evaluated": meta, "acting": meta if self.acting == "meta" else state.adapted_actor}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the meta policy's squashed mean."""
        return super().greedy(params["evaluated"], observations)

    def network(self, params: Params) -> Network:
        """Return the meta policy's."""
        return super().network(params["evaluated"])

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample the acting policy."""
        return super().act(params["acting"], observations, key)

    def online(self, env_steps: int) -> Online:
        """Return learning from one source an epoch."""
        one_source = OneSource(self.offline_probability, draws=self.utd, repeated=self.repeats_batch)
        return Online(self, env_steps, one_source, self.utd)

    def _parts(self, state: SACState) -> dict[str, Params]:
        """Return the parameters that meta updates interpolate."""
        if not {"actor", "critic"} <= set(self.interpolated):
            raise MoorlError(f"MOORL.interpolated must hold actor and critic: {self.interpolated}")
        parts = {name: getattr(state, name) for name in self.interpolated}
        return {name: part.params if isinstance(part, Learner) else part for name, part in parts.items()}
