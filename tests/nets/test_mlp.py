import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from moorl_jax.nets import MLP, critics, init_critics, init_mlp, mlp, q_value, symmetric_uniform

OBSERVATIONS, ACTIONS = jnp.ones((4, 3)), jnp.ones((4, 2))


def test_products_are_of_full_precision_unless_another_was_chosen():
    params = init_critics(jax.random.key(0), MLP((8, 1)), jnp.concatenate([OBSERVATIONS, ACTIONS], axis=-1))

    def precisions():
        program = str(jax.make_jaxpr(critics)(params, OBSERVATIONS, ACTIONS))
        products = program.count("dot_general")
        assert products == 2  # a layer each
        return re.findall(r"precision=\(?(?:Precision\.)?(\w+)", program)

    assert precisions() == ["HIGHEST"] * 2
    with jax.default_matmul_precision("tensorfloat32"):
        assert precisions() == ["HIGH"] * 2


@pytest.mark.parametrize(
    ("kernel_init", "drawn"), [(None, True), (nn.initializers.lecun_normal(), False)], ids=["as PyTorch", "others"]
)
def test_the_last_layer_is_drawn_from_its_own_range(kernel_init, drawn):
    """Kernel and bias both, as thuml/SPOT and OPT's code have it; where biases begin at zero, so does the last one."""
    params = init_mlp(jax.random.key(0), MLP((64, 256), kernel_init, symmetric_uniform(1e-3)), OBSERVATIONS)
    last = params["layer1"]
    for leaf in (last["kernel"], last["bias"]) if drawn else (last["kernel"],):
        assert 0.95e-3 < jnp.abs(leaf).max() <= 1e-3
        assert jnp.std(leaf) == pytest.approx(1e-3 / 3**0.5, rel=0.1)
    for layer in params.values() if not drawn else ():
        assert not layer["bias"].any()
    assert jnp.abs(params["layer0"]["kernel"]).max() > 1e-2


def normalized(x, epsilon):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def relu(x):
    return np.maximum(x, 0.0)


def gelu(x):
    """Its tanh approximation."""
    return 0.5 * x * (1.0 + np.tanh((2.0 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(("activation", "written"), [("relu", relu), ("gelu", gelu)])
@pytest.mark.parametrize(
    ("layer_norm", "before", "after"),
    [(None, None, None), ("before", 1e-6, None), ("after", None, 1e-5), ("after_flax", None, 1e-6)],
)
def test_layers_are_normalized_and_activated_as_set(activation, written, layer_norm, before, after, rng):
    """Of small inputs, at which the epsilons differ."""
    net = MLP((5, 1), layer_norm=layer_norm, activation=activation)
    params = init_mlp(jax.random.key(0), net, OBSERVATIONS)
    x = 1e-3 * rng.standard_normal((4, 3)).astype(np.float32)
    hidden = x @ params["layer0"]["kernel"]
    params["layer0"]["bias"] = jnp.zeros(5)
    hidden = written(normalized(hidden, before) if before else hidden)
    hidden = normalized(hidden, after) if after else hidden
    expected = hidden @ params["layer1"]["kernel"] + params["layer1"]["bias"]
    np.testing.assert_allclose(mlp(params, x, activation=activation), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [None, "after_flax"])
def test_values_of_several_actions_know_the_activation(rng, layer_norm):
    params = init_mlp(jax.random.key(0), MLP((8, 8, 1), activation="gelu", layer_norm=layer_norm), jnp.ones((1, 5)))
    states, actions = rng.standard_normal((4, 3)), rng.standard_normal((4, 6, 2))
    several = q_value(params, states, actions, "gelu")
    each = [q_value(params, states, actions[:, number], "gelu") for number in range(6)]
    np.testing.assert_allclose(several, np.stack(each, axis=1), rtol=1e-5, atol=1e-6)
    assert np.abs(several - q_value(params, states, actions)).max() > 1e-3


def test_hidden_biases_begin_where_they_are_set():
    params = init_mlp(
        jax.random.key(0), MLP((8, 8, 1), final_init=symmetric_uniform(1e-3), hidden_bias=0.1), OBSERVATIONS
    )
    for layer in ("layer0", "layer1"):
        np.testing.assert_array_equal(params[layer]["bias"], np.float32(0.1))
    assert 0 < jnp.abs(params["layer2"]["bias"]).max() <= 1e-3
