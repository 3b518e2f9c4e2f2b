"""All recordings of MOORL_PARITY's folder are taken, each as what it says it is, and none of their switches missed."""

import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from tests import recordings
from tests.recordings import GIVEN, OURS, HyperParameters, Recording, kind_of


def assert_taken(path):
    assert kind_of(path), f"no test takes the recording {path}: it is named like none, and says of itself nothing known"


@pytest.mark.parametrize("path", recordings.files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recording_is_taken(path):
    assert_taken(path)


def test_the_given_folder_holds_recordings():
    for folder in GIVEN:
        assert list(folder.rglob("*.npz")), f"MOORL_PARITY: no recordings (.npz) in {folder.resolve()}"


@pytest.mark.parametrize(
    ("name", "algorithm", "kind"),
    [
        ("td3bc", "TD3+BC", "td3bc"),
        ("first", "TD3+BC", "td3bc"),
        ("first", "RLPD (SAC, critic ensemble)", "rlpd"),
        ("first", "SPOT VAE", "spot_vae"),
        ("first", "DrQ random shift (pad 2) and encoder forward, 84 px", "drq_aug84"),
        ("first", "IQL of the FQL/OGBench code, actor awr", "ogb_iql"),
        ("iql", "IQL of the FQL/OGBench code, actor awr", "ogb_iql"),
        ("cql_bc", "something else", "cql"),
        ("spot_vae", "", "spot_vae"),
        ("sac_n", None, "sac_n"),
        ("qc_fql", None, "qc_fql"),
        ("first", "QC (best-of-n, action_chunking=True)", "qc"),
        ("first", "something else", None),
        ("first", None, None),
    ],
)
def test_a_recording_is_known_by_what_it_says_or_else_by_its_name(name, algorithm, kind, tmp_path):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **({} if algorithm is None else {"hparams": json.dumps({"algorithm": algorithm})}))
    assert kind_of(path) == kind


def test_what_no_test_takes_is_named(tmp_path):
    path = tmp_path / "riddle.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(AssertionError, match=r"no test takes the recording .*riddle\.npz"):
        assert_taken(path)


def test_all_of_the_given_folder_run(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for name in ("renamed.npz", "deep/td3bc.npz"):
        shutil.copy(OURS / "td3bc.npz", tmp_path / name)
    monkeypatch.setattr(recordings, "GIVEN", [tmp_path])
    assert {param.values[0] for param in recordings.recordings("td3bc")} == {
        OURS / "td3bc.npz",
        tmp_path / "renamed.npz",
        tmp_path / "deep" / "td3bc.npz",
    }


class TestHyperParameters:
    @pytest.fixture
    def h(self):
        switches = {
            "tau": 0.1,
            "iwae": True,
            "algo": "TD3",
            "steps": [1, 2],
            "optimizer": {"eps": 1e-8, "lr": {"a": 1}},
            "layer_norm": "Linear - ReLU - LayerNorm",
        }
        notes = {"note": "as in the paper", "update_order": ["critic first", "then the actor"]}
        return HyperParameters(switches | notes)

    def test_what_is_neither_read_nor_named_is_overlooked(self, h):
        assert h["tau"] == 0.1
        assert h.overlooked({}) == ["iwae", "algo", "steps", "optimizer.eps", "layer_norm"]
        assert h.overlooked({"optimizer": "", "steps": ""}) == ["iwae", "algo", "layer_norm"]

    def test_what_ours_cannot_change_must_be_so(self, h):
        h.fixed({"iwae": True, "optimizer.eps": 1e-8, "dropout": 0, "layer_norm": re.compile("ReLU - LayerNorm")})
        assert h.overlooked({}) == ["tau", "algo", "steps"]
        with pytest.raises(AssertionError, match="algo is TD3, of ours always SPOT"):
            h.fixed({"algo": "SPOT"})
        with pytest.raises(AssertionError, match="layer_norm is Linear - ReLU - LayerNorm, of ours always LayerNorm -"):
            h.fixed({"layer_norm": re.compile("LayerNorm - ReLU")})


def test_a_recording_with_another_activation_is_refused(tmp_path):
    path = tmp_path / "td3bc.npz"
    np.savez(path, hparams=json.dumps({"activation": "gelu"}))
    with pytest.raises(AssertionError, match="activation is gelu"):
        Recording(path, jnp.float32)
