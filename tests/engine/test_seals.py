import tracemalloc

from moorl_jax.engine import seals


def test_a_file_need_not_fit_in_memory(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(50_000_000)
    tracemalloc.start()
    seals.seal(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000
