import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from moorl_jax.nets import MLP, critics, init_critics, init_mlp, symmetric_uniform

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
