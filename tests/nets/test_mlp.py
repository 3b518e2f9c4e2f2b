import re

import jax
import jax.numpy as jnp

from moorl_jax.nets import MLP, critics, init_critics

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
