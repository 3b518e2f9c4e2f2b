"""Multi-layer perceptrons, single and in ensembles, with the initializers of the canonical implementations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from moorl_jax.types import Array, Params

Initializer = Callable[..., Array]

QFunction = Callable[[Array, Array], Array]
"""Q(s, a): of observations and actions, (batch, sizes), to (batch,)."""


class MLP(nn.Module):
    """Dense layers with ReLU between them; the last one is linear.

    `kernel_init=None` is PyTorch's default for kernels and biases, uniform within 1/sqrt(fan_in); with any other,
    biases start at zero. `final_init` overrides it for the last kernel, and for the last bias if biases are random.
    `layer_norm` normalizes hidden layers `before` their ReLU (epsilon 1e-6, as in RLPD) or `after` it (epsilon 1e-5, as
    in OPT).
    """

    features: Sequence[int]
    kernel_init: Initializer | None = None
    final_init: Initializer | None = None
    layer_norm: str | None = None

    @nn.compact
    def __call__(self, x: Array, dropout: Sequence[Array] = ()) -> Array:
        """Map (..., inputs) to (..., features[-1]); `dropout` are factors of the hidden layers' outputs."""
        for layer, width in enumerate(self.features):
            last = layer == len(self.features) - 1
            final_init = self.final_init if last else None
            drawn_bias = final_init or _torch_bias(x.shape[-1])
            x = nn.Dense(
                width,
                kernel_init=final_init or self.kernel_init or _TORCH,
                bias_init=nn.initializers.zeros if self.kernel_init else drawn_bias,
                precision=matmul_precision(),
                name=f"layer{layer}",
            )(x)
            if not last:
                if self.layer_norm == "before":
                    x = nn.LayerNorm(epsilon=1e-6, name=f"ln{layer}")(x)
                x = nn.relu(x)
                if self.layer_norm == "after":
                    x = nn.LayerNorm(epsilon=1e-5, name=f"post_ln{layer}")(x)
                x = x * dropout[layer] if dropout else x
        return x


def matmul_precision() -> str:
    """Return JAX's configured matmul precision, or the highest if none is configured.

    JAX's own default lets accelerators round the operands to ten bits (GPUs) or seven (TPUs). To get that speed, set
    JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32, or bfloat16.
    """
    config: Any = jax.config  # whose options are annotated in some releases and not in others
    return config.jax_default_matmul_precision or "highest"


def symmetric_uniform(bound: float) -> Initializer:
    """Return the initializer that draws uniformly from [-bound, bound]."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


_TORCH = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def _torch_bias(fan_in: int) -> Initializer:
    return symmetric_uniform(fan_in**-0.5)


def apply(module: nn.Module, params: Params, *inputs: Any) -> Array:
    """Evaluate a module that returns one array."""
    output = module.apply({"params": params}, *inputs)
    assert isinstance(output, Array)
    return output


def init_mlp(key: Array, module: MLP, inputs: Array) -> Params:
    """Return fresh parameters {layer0: {kernel, bias}, ...}.

    Layers normalized before their ReLU add {ln0: {scale, bias}, ...}, after it {post_ln0: {scale, bias}, ...}.
    """
    return module.init(key, inputs)["params"]


def mlp(params: Params, x: Array, dropout: Sequence[Array] = ()) -> Array:
    """Evaluate the MLP whose layers `params` holds, (..., inputs) to (..., outputs)."""
    widths = [params[f"layer{layer}"]["bias"].shape[-1] for layer in range(sum("layer" in name for name in params))]
    layer_norm = "before" if "ln0" in params else "after" if "post_ln0" in params else None
    return apply(MLP(widths, layer_norm=layer_norm), params, x, dropout)


def init_critics(key: Array, module: MLP, inputs: Array, members: int = 2) -> Params:
    """Return fresh parameters of an ensemble; every leaf has a leading member axis."""
    return jax.vmap(lambda k: module.init(k, inputs)["params"])(jax.random.split(key, members))


def q_value(params: Params, observations: Array, actions: Array) -> Array:
    """Evaluate one Q(s, a): (..., sizes) to (...,), or (..., several) if there are several actions per state."""
    if actions.ndim > observations.ndim:
        return _q_of_several(params, observations, actions)
    return mlp(params, jnp.concatenate([observations, actions], axis=-1))[..., 0]


def critics(params: Params, observations: Array, actions: Array) -> Array:
    """Evaluate an ensemble of Q(s, a) as batched products: what `q_value` returns, with a leading axis of members."""
    return jax.vmap(q_value, in_axes=(0, None, None))(params, observations, actions)


def _q_of_several(params: Params, observations: Array, actions: Array) -> Array:
    """Evaluate one Q, not normalized, at (..., several, size) actions of (..., size) states.

    The state's part of the first layer is computed once for all of its actions.
    """
    split = observations.shape[-1]
    kernel, bias = params["layer0"]["kernel"], params["layer0"]["bias"]
    of_states = jnp.dot(observations, kernel[:split], precision=matmul_precision()) + bias
    of_actions = jnp.dot(actions, kernel[split:], precision=matmul_precision())
    behind = {f"layer{layer - 1}": params[f"layer{layer}"] for layer in range(1, len(params))}
    return mlp(behind, nn.relu(of_states[..., None, :] + of_actions))[..., 0]
