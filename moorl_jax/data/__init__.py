"""Datasets: reading, making, checking and preparing them."""

from moorl_jax.data.dataset import Dataset
from moorl_jax.data.preparation import Normalizer, Preparation, Prepared
from moorl_jax.data.rows import Rows
from moorl_jax.data.sources import choose, load

__all__ = ["Dataset", "Normalizer", "Preparation", "Prepared", "Rows", "choose", "load"]
