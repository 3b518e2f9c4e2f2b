import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.nets.encoder import Encoder, encode_by_products


@pytest.mark.parametrize("strides", [(2, 1, 1, 1), pytest.param((2, 2), marks=pytest.mark.slow), (1, 3)])
def test_products_are_convolutions(strides):
    """Features and their gradients, of batches of any shape and of images that strides do not divide."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 22, 25, 9), dtype=np.uint8)
    encoder = Encoder((8,) * len(strides), strides)
    params = encoder.init(jax.random.key(0), images)["params"]

    def features_and_gradients(encode):
        features, pull = jax.vjp(encode, params)
        return features, pull(jnp.sin(jnp.arange(features.size)).reshape(features.shape))[0]

    theirs, their_gradients = features_and_gradients(lambda params: encoder.apply({"params": params}, images))
    ours, our_gradients = features_and_gradients(lambda params: encode_by_products(params, images, strides))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), our_gradients, their_gradients)
