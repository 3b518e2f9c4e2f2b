from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest

from moorl_jax.engine import devices
from moorl_jax.engine.devices import require_memory, use_all_cores
from moorl_jax.errors import MoorlError


def test_data_must_fit_what_an_accelerator_has_free():
    data = {"frames": np.zeros(600, np.uint8), "rewards": np.zeros(100, np.float32)}
    stats = {"bytes_limit": 2_000, "bytes_in_use": 1_000}
    accelerator = SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    require_memory(data, accelerator, "the data", held=True)
    require_memory(None, accelerator, "the data", held=True)
    with pytest.raises(MoorlError, match="the data takes"):
        require_memory(data | {"actions": np.zeros(1, np.uint8)}, accelerator, "the data", held=True)


def test_what_is_yet_to_be_made_must_fit_what_the_machine_has_free(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000))
    shapes = {"frames": jax.ShapeDtypeStruct((1_001,), np.uint8)}
    require_memory(shapes, jax.devices("cpu")[0], "the data", held=True)
    with pytest.raises(MoorlError, match="experience to come takes"):
        require_memory(shapes, jax.devices("cpu")[0], "experience to come")


def test_once_jax_has_started_its_devices_stay_as_they_are(monkeypatch, recwarn):
    before = jax.local_devices()
    monkeypatch.setattr(devices, "usable_cores", lambda: len(before))
    use_all_cores()  # as a notebook's cell that is run twice
    assert not recwarn
    monkeypatch.setattr(devices, "usable_cores", lambda: 64)
    with pytest.warns(UserWarning, match=r"started with 2 .*train on all 64 cores, restart Python and call"):
        use_all_cores()
    assert jax.local_devices() == before
