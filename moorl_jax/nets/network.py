"""A policy as one network: what an export writes."""

from typing import Literal, NamedTuple

import jax

from moorl_jax.nets.mlp import Activation
from moorl_jax.types import Params


class Network(NamedTuple):
    """The policy scale squash(mlp(s)) of normalized observations s."""

    params: Params  #: of an MLP, {layer0: {kernel, bias}, ...}, as `mlp` takes them
    squash: Literal["tanh", "clip"] = "tanh"  #: into [-1, 1]
    scale: float = 1.0
    activation: Activation = "relu"

    def first_half(self) -> "Network":
        """Return the network without the second half of its outputs, say of a Gaussian its log stds."""
        last = f"layer{sum('layer' in name for name in self.params) - 1}"
        size = self.params[last]["bias"].shape[-1] // 2
        return self._replace(
            params=self.params | {last: jax.tree.map(lambda leaf: leaf[..., :size], self.params[last])}
        )
