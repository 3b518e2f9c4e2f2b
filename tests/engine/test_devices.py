from types import SimpleNamespace

import jax
import numpy as np
import pytest

from moorl_jax.engine.devices import require_room
from moorl_jax.errors import MoorlError


def test_data_must_fit_what_an_accelerator_has_free():
    data = {"frames": np.zeros(600, np.uint8), "rewards": np.zeros(100, np.float32)}
    accelerator = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 2_000, "bytes_in_use": 1_000})
    require_room(data, accelerator)
    require_room(None, accelerator)
    require_room(data, jax.devices("cpu")[0])
    with pytest.raises(MoorlError, match="the data takes"):
        require_room(data | {"actions": np.zeros(1, np.uint8)}, accelerator)
