"""Gradients taken in blocks and member by member are those of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.nets import batch_gradients, member_gradients

PARAMS = {"slope": jnp.array([1.0, -2.0]), "offset": jnp.array([0.5, 0.25])}  #: of two members
X = jnp.arange(12.0) / 10.0


def loss(params, batch):
    x, y = batch
    error = jnp.mean((params["slope"] * x + params["offset"] - y) ** 2)
    return error, {"loss": error}


def one(member):
    return jax.tree.map(lambda leaf: leaf[member], PARAMS)


def written_out(params):
    """The gradient of the mean square error, and the error."""
    error = params["slope"] * X + params["offset"] - X**2
    gradients = {"slope": 2.0 * (error * X).mean(), "offset": 2.0 * error.mean()}
    return gradients, {"loss": (error**2).mean()}


def assert_close(ours, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)


@pytest.mark.parametrize("blocks", [1, 3, 12, None])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_in_any_number_of_blocks_and_on_any_device_they_are_the_same(blocks, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert_close(batch_gradients(loss, one(0), (X, X**2), blocks), written_out(one(0)))
    members = member_gradients(loss, PARAMS, (X, X**2), blocks)
    for member in (0, 1):
        assert_close(jax.tree.map(lambda leaf, m=member: leaf[m], members), written_out(one(member)))


@pytest.mark.parametrize(("backend", "size"), [("cpu", 3), ("gpu", 12)])
def test_a_cpu_takes_a_batch_in_as_many_of_sixteen_blocks_as_divide_it(backend, size, monkeypatch):
    """Twelve rows in four blocks."""
    sizes = set()

    def noting(params, batch):
        sizes.add(len(batch[0]))
        return loss(params, batch)

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    batch_gradients(noting, one(0), (X, X**2), None)
    assert sizes == {size}
