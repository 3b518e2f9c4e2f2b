"""Experience on the device: buffers of online transitions, and the rules by which batches are drawn."""

from moorl_jax.replay.balanced import Balanced
from moorl_jax.replay.buffer import Buffer, Experience
from moorl_jax.replay.chunks import Chunks
from moorl_jax.replay.frame_buffer import FrameBuffer
from moorl_jax.replay.history import History
from moorl_jax.replay.sampling import Both, FromBuffer, FromDataset, Mixed, OneSource, Sampling, Union

__all__ = [
    "Balanced",
    "Both",
    "Buffer",
    "Chunks",
    "Experience",
    "FrameBuffer",
    "FromBuffer",
    "FromDataset",
    "History",
    "Mixed",
    "OneSource",
    "Sampling",
    "Union",
]
