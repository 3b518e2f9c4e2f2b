"""From images to features: convolutions, a normalized trunk, and the random shift that augments them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from moorl_jax.nets.mlp import apply, matmul_precision
from moorl_jax.types import Array, Params

_RELU_ORTHOGONAL = nn.initializers.orthogonal(2.0**0.5)


class Encoder(nn.Module):
    """3x3 convolutions without padding, ReLU after each, orthogonal kernels; DrQ-v2's by default.

    Source: facebookresearch/drqv2 `drqv2.py`, Encoder.
    """

    features: Sequence[int] = (32, 32, 32, 32)
    strides: Sequence[int] = (2, 1, 1, 1)

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Map images (..., height, width, channels), 0 to 255, to flat features (..., features)."""
        x = images / 255.0 - 0.5
        for layer, (width, stride) in enumerate(zip(self.features, self.strides, strict=True)):
            convolution = nn.Conv(
                width,
                (3, 3),
                stride,
                padding="VALID",
                kernel_init=_RELU_ORTHOGONAL,
                precision=matmul_precision(),
                name=f"conv{layer}",
            )
            x = nn.relu(convolution(x))
        return x.reshape(*x.shape[:-3], -1)


class Trunk(nn.Module):
    """A dense layer, normalized (epsilon 1e-5), then tanh: the bottleneck between the encoder and an MLP."""

    width: int

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Map (..., features) to (..., width)."""
        dense = nn.Dense(
            self.width, kernel_init=nn.initializers.orthogonal(), precision=matmul_precision(), name="dense"
        )
        return jnp.tanh(nn.LayerNorm(epsilon=1e-5, name="ln")(dense(features)))


def encode(params: Params, images: Array, strides: Sequence[int]) -> Array:
    """Evaluate the encoder whose convolutions `params` holds."""
    if jax.default_backend() == "cpu":
        return encode_by_products(params, images, strides)
    widths = [params[f"conv{layer}"]["bias"].shape[-1] for layer in range(len(params))]
    return apply(Encoder(widths, strides), params, images)


def encode_by_products(params: Params, images: Array, strides: Sequence[int]) -> Array:
    """Evaluate the same encoder by matrix products, one image at a time.

    XLA's convolutions are thirty times slower inside a loop on a CPU, and training is a loop. One image's activations
    fit in the cache, and are recomputed for the gradient rather than stored.
    """

    @jax.checkpoint
    def one(image: Array) -> Array:
        x = image / 255.0 - 0.5
        for layer, stride in enumerate(strides):
            x = nn.relu(_convolved(params[f"conv{layer}"], x, stride))
        return x.ravel()

    features = jax.lax.map(one, images.reshape(-1, *images.shape[-3:]))
    return features.reshape(*images.shape[:-3], -1)


def _convolved(params: Params, image: Array, stride: int) -> Array:
    kernel = params["kernel"]
    rows, columns = ((size - 3) // stride * stride + 1 for size in image.shape[:2])
    patches = [image[i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]
    joined = jnp.concatenate(patches, axis=-1)
    return jnp.dot(joined, kernel.reshape(-1, kernel.shape[-1]), precision=matmul_precision()) + params["bias"]


def trunk(params: Params, features: Array) -> Array:
    """Evaluate the trunk whose layers `params` holds."""
    return apply(Trunk(params["dense"]["bias"].shape[-1]), params, features)


def drawn_shifts(key: Array, count: int, pad: int) -> Array:
    """Draw the shifts of `count` images, (count, 2), integers from 0 to 2 `pad`."""
    return jax.random.randint(key, (count, 2), 0, 2 * pad + 1)


def random_shift(images: Array, shifts: Array, pad: int) -> Array:
    """Shift images by whole pixels, their edges repeated: pad by `pad` on all sides, then crop at the shift.

    Images are (batch, height, width, channels), shifts (batch, 2), x and y, whole numbers from 0 to 2 `pad`;
    out[i, j] = padded[i + y, j + x]. This is what DrQ-v2's bilinear sampling comes to (Yarats et al. 2021, arXiv
    2107.09645).
    """
    height, width = images.shape[1:3]

    def one(image: Array, shift: Array) -> Array:
        rows = jnp.clip(jnp.arange(height) + shift[1] - pad, 0, height - 1)
        columns = jnp.clip(jnp.arange(width) + shift[0] - pad, 0, width - 1)
        return image[rows][:, columns]

    return jax.vmap(one)(images, shifts)
