import os

import pytest

from moorl_jax import cores

VERSION_1 = {"cpu,cpuacct/box/cpu.cfs_quota_us": "300000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("groups", "files", "allowed"),
    [
        ("0::/", {}, []),
        ("0::/box", {"box/cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/box", {"box/cpu.max": "max 100000\n", "cpu.max": "200000 100000\n"}, [2.0]),
        ("0::/not/seen/from/here", {"cpu.max": "50000 100000\n"}, [0.5]),
        ("4:memory:/\n1:cpu,cpuacct:/box\n0::/", VERSION_1, [3.0]),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
    ],
)
def test_quotas_of_control_groups_are_seen(tmp_path, groups, files, allowed):
    (tmp_path / "cgroup").write_text(groups, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mounted" / name).write_text(text, encoding="utf-8")
    assert list(cores._quotas(tmp_path / "cgroup", tmp_path / "mounted")) == allowed


def test_a_quota_makes_cores_fewer_and_never_more(monkeypatch):
    mine = len(os.sched_getaffinity(0))
    for allowed, cores_of_it in ((0.2, 1), (1.5, min(2, mine)), (1000.0, mine)):
        monkeypatch.setattr(cores, "_quotas", lambda allowed=allowed: iter([allowed]))
        assert cores.usable_cores() == cores_of_it
