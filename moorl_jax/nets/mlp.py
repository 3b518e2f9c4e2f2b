"""Multi-layer perceptrons, single and in ensembles, with the initializers of the canonical implementations."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from moorl_jax.types import Array, Params

Initializer = Callable[..., Array]

QFunction = Callable[[Array, Array], Array]
"""Q(s, a): of observations and actions, (batch, sizes), to (batch,)."""

Activation = Literal["relu", "gelu"]
"""Of hidden layers; GELU in its tanh approximation, as Flax has it."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "gelu": nn.gelu}

LAYER_NORMS = {"before": ("ln", 1e-6), "after": ("post_ln", 1e-5), "after_flax": ("flax_ln", 1e-6)}
"""Where hidden layers are normalized, what the parameters are called, and the epsilon.

Before their activation, as in RLPD; after it with PyTorch's epsilon, as in OPT, or with Flax's, as in ReBRAC.
"""


class MLP(nn.Module):
    """Dense layers with an activation between them; the last one is linear.

    `kernel_init=None` is PyTorch's default for kernels and biases, uniform within 1/sqrt(fan_in); with any other,
    biases start at zero. `hidden_bias` is what those of hidden layers start at instead. `final_init` overrides the
    default for the last kernel, and for the last bias if biases are random. `layer_norm` is one of LAYER_NORMS.
    """

    features: Sequence[int]
    kernel_init: Initializer | None = None
    final_init: Initializer | None = None
    layer_norm: str | None = None
    activation: Activation = "relu"
    hidden_bias: float | None = None

    @nn.compact
    def __call__(self, x: Array, dropout: Sequence[Array] = ()) -> Array:
        """Map (..., inputs) to (..., features[-1]); `dropout` are factors of the hidden layers' outputs."""
        for layer, width in enumerate(self.features):
            last = layer == len(self.features) - 1
            final_init = self.final_init if last else None
            bias_init = nn.initializers.zeros if self.kernel_init else final_init or _torch_bias(x.shape[-1])
            if self.hidden_bias is not None and not last:
                bias_init = nn.initializers.constant(self.hidden_bias)
            x = nn.Dense(
                width,
                kernel_init=final_init or self.kernel_init or _TORCH,
                bias_init=bias_init,
                precision=matmul_precision(),
                name=f"layer{layer}",
            )(x)
            if not last:
                if self.layer_norm == "before":
                    x = self._normalized(layer, x)
                x = ACTIVATIONS[self.activation](x)
                if self.layer_norm in ("after", "after_flax"):
                    x = self._normalized(layer, x)
                x = x * dropout[layer] if dropout else x
        return x

    def _normalized(self, layer: int, x: Array) -> Array:
        assert self.layer_norm
        name, epsilon = LAYER_NORMS[self.layer_norm]
        return nn.LayerNorm(epsilon=epsilon, name=f"{name}{layer}")(x)


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
    """Return fresh parameters {layer0: {kernel, bias}, ...}; layers that are normalized add {ln0: {scale, bias}, ...}.

    What stands for `ln` there says where, as in LAYER_NORMS.
    """
    return module.init(key, inputs)["params"]


def mlp(params: Params, x: Array, dropout: Sequence[Array] = (), activation: Activation = "relu") -> Array:
    """Evaluate the MLP whose layers `params` holds, (..., inputs) to (..., outputs)."""
    widths = [params[f"layer{layer}"]["bias"].shape[-1] for layer in range(sum("layer" in name for name in params))]
    return apply(MLP(widths, layer_norm=_layer_norm(params), activation=activation), params, x, dropout)


def _layer_norm(params: Params) -> str | None:
    """Return where the hidden layers are normalized, one of LAYER_NORMS, or None."""
    return next((place for place, (name, _) in LAYER_NORMS.items() if f"{name}0" in params), None)


def init_critics(key: Array, module: MLP, inputs: Array, members: int = 2) -> Params:
    """Return fresh parameters of an ensemble; every leaf has a leading member axis."""
    return jax.vmap(lambda k: module.init(k, inputs)["params"])(jax.random.split(key, members))


def q_value(params: Params, observations: Array, actions: Array, activation: Activation = "relu") -> Array:
    """Evaluate one Q(s, a): (..., sizes) to (...,), or (..., several) if there are several actions per state."""
    if actions.ndim > observations.ndim:
        if all("layer" in name for name in params):  # nothing is normalized
            return _q_of_several(params, observations, actions, activation)
        observations = jnp.broadcast_to(observations[..., None, :], (*actions.shape[:-1], observations.shape[-1]))
    return mlp(params, jnp.concatenate([observations, actions], axis=-1), activation=activation)[..., 0]


def critics(params: Params, observations: Array, actions: Array, activation: Activation = "relu") -> Array:
    """Evaluate an ensemble of Q(s, a) as batched products: what `q_value` returns, with a leading axis of members."""
    one = partial(q_value, activation=activation)
    return jax.vmap(one, in_axes=(0, None, None))(params, observations, actions)


def _q_of_several(params: Params, observations: Array, actions: Array, activation: Activation) -> Array:
    """Evaluate one Q at (..., several, size) actions of (..., size) states.

    The state's part of the first layer is computed once for all of its actions, where the layer is not normalized.
    """
    if _layer_norm(params):
        states = jnp.broadcast_to(observations[..., None, :], (*actions.shape[:-1], observations.shape[-1]))
        return mlp(params, jnp.concatenate([states, actions], axis=-1), activation=activation)[..., 0]
    split = observations.shape[-1]
    kernel, bias = params["layer0"]["kernel"], params["layer0"]["bias"]
    of_states = jnp.dot(observations, kernel[:split], precision=matmul_precision()) + bias
    of_actions = jnp.dot(actions, kernel[split:], precision=matmul_precision())
    behind = {f"layer{layer - 1}": params[f"layer{layer}"] for layer in range(1, len(params))}
    return mlp(behind, ACTIVATIONS[activation](of_states[..., None, :] + of_actions), activation=activation)[..., 0]
