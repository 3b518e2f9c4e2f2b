"""Compiled programs are kept between processes."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp
jax.jit(lambda x: x + 1)(jnp.zeros(3))  # JAX has begun, and asked whether programs are kept
from moorl_jax.engine.devices import prepare_jax
prepare_jax()
jax.jit(lambda x: x + 2)(jnp.zeros(3))
"""


def run(home, **variables):
    """Run the program in a process of its own, with nothing set but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {**clean, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(home), **variables}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    return [path for path in home.rglob("*-cache") if path.is_file()]


class TestKeepPrograms:
    def test_small_ones_are_kept_in_the_users_cache_directory(self, tmp_path):
        kept = run(tmp_path)
        assert kept
        assert {path.parents[2] for path in kept} == {tmp_path / "moorl_jax"}

    def test_another_process_compiles_nothing_anew(self, tmp_path):
        first = run(tmp_path)
        assert run(tmp_path) == first

    @pytest.mark.parametrize(
        "variables", [{"JAX_ENABLE_COMPILATION_CACHE": "false"}, {"JAX_COMPILATION_CACHE_DIR": "elsewhere"}]
    )
    def test_jaxs_own_settings_win(self, tmp_path, monkeypatch, variables):
        monkeypatch.chdir(tmp_path)
        assert not run(tmp_path / "home", **variables)

    def test_one_that_was_being_written_when_its_process_was_killed_is_compiled_again(self, tmp_path):
        first, *_ = run(tmp_path)
        whole = first.read_bytes()
        first.write_bytes(whole[: len(whole) // 2])
        first.with_name(first.name.removesuffix("-cache") + "-atime").unlink()
        run(tmp_path)
        assert first.read_bytes() == whole

    def test_a_home_that_cannot_be_written_to_keeps_nothing(self, tmp_path):
        (tmp_path / "file").write_text("", encoding="utf-8")
        assert not run(tmp_path / "file")
