"""The returns of the last evaluation's episodes, one by one, as a result keeps them: what a choice needs."""

import io

import numpy as np
import pandas as pd

from moorl_jax.engine import results, seals
from moorl_jax.errors import MoorlError


def final_returns(result: results.Result) -> np.ndarray:
    """Return the raw returns, (seeds, episodes), NaN for a seed that diverged.

    Raises MoorlError where the result has none, or they are not as they were written.
    """
    try:
        written = (result.directory / results.EPISODES).read_bytes()
    except OSError:
        raise MoorlError(
            f"{result.directory} has no {results.EPISODES}: it is of an earlier version, or was not evaluated; run it "
            "again"
        ) from None
    if seals.checksum(io.BytesIO(written)) != result.checksums.get(results.EPISODES):
        raise MoorlError(f"{result.directory}: {results.EPISODES} is not as it was written; run it again")
    return pd.read_csv(io.BytesIO(written))["return"].to_numpy(float).reshape(len(result.config["seeds"]), -1)
