"""Bad datasets of every kind: refused in one line that names the cause, nothing written, nothing executed."""

import fcntl
import json
import pickle
import shutil
import warnings
import zipfile
from types import SimpleNamespace

import gymnasium
import h5py
import minari
import numpy as np
import psutil
import pytest

from moorl_jax.data import filming, sources
from moorl_jax.data.sources import File
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import find

ROWS = 60
HOPPER = find("hopper-medium-v2")
WALKER = find("vd4rl-walker_walk-medium-64px")
MINARI = find("minari-hopper-medium-v0")


class Code:
    """What runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path / "executed"), "w"))


def columns():
    rng = np.random.default_rng(0)
    numbers = np.arange(ROWS)
    return {
        "observations": rng.standard_normal((ROWS, 11), np.float32),
        "actions": rng.uniform(-0.9, 0.9, (ROWS, 3)).astype(np.float32),
        "rewards": rng.uniform(size=ROWS).astype(np.float32),
        "terminals": numbers == 19,
        "timeouts": np.isin(numbers, (39, ROWS - 1)),
    }


def save(path, arrays, **more):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value, **more)


def refused(read, message, folder):
    """Assert that reading is refused as it should be."""

    def there():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = there()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DatasetError, match=message) as fault:
            read()
    told = str(fault.value)
    assert told.startswith((str(folder), "minari "))
    assert "\n" not in told
    assert "delete" not in told
    assert len(told) < 600
    assert there() == before


def without(key, replace):
    """Return what replaces one array of a file that is otherwise sound."""

    def damage(path):
        save(path, columns())
        with h5py.File(path, "r+") as file:
            del file[key]
            replace(file, path)

    return damage


def holding(**arrays):
    return lambda path: save(path, columns() | arrays)


def linked(file, path):
    save(path.with_name("other.hdf5"), columns())
    file["rewards"] = h5py.ExternalLink("other.hdf5", "rewards")


def linked_by_a_detour(file, path):
    save(path.with_name("other.hdf5"), columns())
    file["elsewhere"] = h5py.ExternalLink("other.hdf5", "/")
    file["rewards"] = h5py.SoftLink("/elsewhere/rewards")


def in_a_circle(file, path):
    file["rewards"] = h5py.SoftLink("/circle")
    file["circle"] = h5py.SoftLink("/rewards")


def virtual(rows):
    def replace(file, path):
        save(path.with_name("other.hdf5"), columns(), maxshape=None, chunks=True)
        layout = h5py.VirtualLayout((ROWS,), np.float32, maxshape=(rows,))
        source = h5py.VirtualSource("other.hdf5", "rewards", (ROWS,), maxshape=(rows,))
        layout[: h5py.h5s.UNLIMITED if rows is None else ROWS] = source[: h5py.h5s.UNLIMITED if rows is None else ROWS]
        file.create_virtual_dataset("rewards", layout)

    return replace


def outside(file, path):
    secret = path.with_name("secret")
    secret.write_bytes(bytes(4 * ROWS))
    file.create_dataset("rewards", (ROWS,), np.float32, external=[(str(secret), 0, 4 * ROWS)])


def written_in_part(file, path):
    file.create_dataset("rewards", (ROWS,), np.float32, chunks=(10,))[:30] = 1.0


def filtered(file, path):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((ROWS,))
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"rewards", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((ROWS,)), made)
    file["rewards"][:] = 1.0


def cut(share):
    """Return what keeps a share of a file that is otherwise sound."""

    def damage(path):
        save(path, columns())
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return damage


def with_bad(key, value):
    """Return what puts a number into row 17 of one array of a file that is otherwise sound."""
    array = columns()[key]
    array[17] = value
    return holding(**{key: array})


OF_D4RLS_LAYOUT = {
    "nothing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "no such file"),
    "an empty file": (lambda path: path.touch(), "not an HDF5 file but something else"),
    "a web page": (
        lambda path: path.write_text("<html>404</html>", encoding="utf-8"),
        "not an HDF5 file but an HTML page",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Code(path.parent))), "not an HDF5 file"),
    **{f"cut off after {share:.0%}": (cut(share), "truncated or damaged") for share in (0.1, 0.5, 0.99)},
    "a link to another file": (without("rewards", linked), "'rewards' is a link that leads out of the file"),
    "a link to a link": (without("rewards", linked_by_a_detour), "'rewards' is a link that leads out of the file"),
    "links in a circle": (without("rewards", in_a_circle), "in a circle"),
    "a link to nothing": (
        without("rewards", lambda file, _: file.__setitem__("rewards", h5py.SoftLink("/nothing"))),
        "the key 'rewards' is missing",
    ),
    "a virtual dataset": (without("rewards", virtual(ROWS)), "'rewards' is stored in other files"),
    "a virtual dataset without end": (without("rewards", virtual(None)), "'rewards' is stored in other files"),
    "storage outside": (without("rewards", outside), "'rewards' is stored in other files"),
    "rows never written": (
        without("rewards", lambda file, _: file.create_dataset("rewards", (10**12,), np.float32)),
        r"'rewards' has \(1000000000000,\) numbers, not all of which were written",
    ),
    "pieces never written": (
        without("rewards", lambda file, _: file.create_dataset("rewards", (10**12,), np.float32, chunks=(1000,))),
        "not all of which were written",
    ),
    "written in part": (without("rewards", written_in_part), "not all of which were written"),
    "a filter that is not here": (without("rewards", filtered), "compressed by the filter 32015"),
    **{
        f"no {key}": (without(key, lambda *_: None), rf"the key '{key}' is missing \(found: .*timeouts")
        for key in ("observations", "actions", "rewards", "terminals")
    },
    "a group": (without("rewards", lambda file, _: file.create_group("rewards")), "not an array of numbers"),
    "a type": (
        without("rewards", lambda file, _: file.__setitem__("rewards", np.dtype("f4"))),
        "not an array of numbers",
    ),
    "a number": (holding(rewards=1.0), "not an array of numbers"),
    "text": (holding(rewards="text"), "not an array of numbers"),
    "nothing at all": (holding(rewards=h5py.Empty("f4")), "'rewards'"),
    "complex numbers": (holding(rewards=np.ones(ROWS, complex)), "not an array of numbers"),
    "records": (holding(rewards=np.zeros(ROWS, [("a", "f4")])), "not an array of numbers"),
    "flags that are none": (holding(timeouts=np.full(ROWS, 7)), "'timeouts' holds other values than 0 and 1"),
    "flags that are not numbers": (holding(terminals=np.full(ROWS, np.nan)), "'terminals' holds other values"),
    "beyond float32": (holding(observations=np.full((ROWS, 11), 1e39)), "beyond float32's range"),
    **{
        f"{key} of {value}": (with_bad(key, value), f"'{key}' is NaN or infinite in 1 rows, the first is row 17; ")
        for key in ("observations", "actions", "rewards")
        for value in (np.nan, np.inf)
    },
    "rows of another number": (
        holding(actions=columns()["actions"][:-1]),
        "'actions' has 59 rows where 'rewards' has 60",
    ),
    "another task's": (
        holding(observations=np.zeros((ROWS, 5))),
        r"'observations' has shape .* needs \(60, 11\); is this the file of another task",
    ),
    "rewards in two columns": (holding(rewards=np.zeros((ROWS, 2))), r"'rewards' has shape \(60, 2\)"),
    "actions out of range": (holding(actions=np.full((ROWS, 3), 1.5)), r"'actions' reaches 1\.5, outside \[-1, 1\]"),
    "no rows": (lambda path: save(path, {key: value[:0] for key, value in columns().items()}), "no episode in 0 rows"),
    "no ends": (
        holding(terminals=np.zeros(ROWS), timeouts=np.zeros(ROWS)),
        "'terminals' and time-outs end no episode in 60 rows",
    ),
    "nothing but ends": (holding(timeouts=np.ones(ROWS)), "'timeouts' leaves no transition of 60 rows"),
}


@pytest.mark.parametrize("kind", OF_D4RLS_LAYOUT)
def test_of_d4rls_layout(kind, tmp_path):
    damage, message = OF_D4RLS_LAYOUT[kind]
    path = tmp_path / "hopper.hdf5"
    damage(path)
    refused(lambda: File(HOPPER, path).load(), message, tmp_path)


def test_a_file_that_is_being_written(tmp_path):
    path = tmp_path / "hopper.hdf5"
    save(path, columns())
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        refused(lambda: File(HOPPER, path).load(), "another process holds HDF5's lock", tmp_path)


def test_more_than_memory_has_room_for(tmp_path, monkeypatch):
    """A file of a few thousand bytes can hold more numbers than any machine."""
    path = tmp_path / "hopper.hdf5"
    save(path, columns() | {"rewards": np.zeros(1_000_000, np.float32)}, compression="gzip")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    refused(lambda: File(HOPPER, path).load(), r"'rewards' takes 0\.0 GB, 0\.0 GB of memory are free", tmp_path)


def episode(rows=4):
    first = np.arange(rows) == 0
    return {
        "image": np.zeros((rows, 64, 64, 3), np.uint8),
        "action": np.zeros((rows, 6), np.float32),
        "reward": np.ones(rows),
        "discount": np.ones(rows),
        "is_first": first,
    }


def npz(**changed):
    return lambda folder: np.savez(folder / "1.npz", **episode() | changed)


def npz_without(key):
    return lambda folder: np.savez(folder / "1.npz", **{name: v for name, v in episode().items() if name != key})


def of_other_width(folder):
    npz()(folder)
    np.savez(folder / "2.npz", **episode() | {"action": np.zeros((4, 3), np.float32)})


def of_other_size(folder):
    npz()(folder)
    np.savez(folder / "2.npz", **episode() | {"image": np.zeros((4, 32, 32, 3), np.uint8)})


def cut_archive(folder):
    npz()(folder)
    path = folder / "1.npz"
    path.write_bytes(path.read_bytes()[:3000])


def member(content):
    """Return an archive whose reward is these bytes."""

    def damage(folder):
        npz_without("reward")(folder)
        with zipfile.ZipFile(folder / "1.npz", "a") as archive:
            archive.writestr("reward.npy", content)

    return damage


def declared(shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def shard(folder, **changed):
    arrays = {name: value for name, value in episode().items() if name not in ("image", "is_first")}
    arrays |= {"observation": np.zeros((4, 3, 64, 64), np.uint8), "step_type": np.array([0, 1, 1, 2])}
    save(folder / "1.hdf5", arrays | changed)


def cut_shard(folder):
    shard(folder)
    path = folder / "1.hdf5"
    path.write_bytes(path.read_bytes()[:3000])


def shard_linked(folder):
    shard(folder)
    with h5py.File(folder / "1.hdf5", "r+") as file:
        del file["observation"]
        file["observation"] = h5py.ExternalLink("/etc/passwd", "observation")


OF_VD4RLS_LAYOUT = {
    "no files": (lambda folder: None, "there are no .npz or .hdf5 files"),
    "a folder of the name": (lambda folder: (folder / "1.npz").mkdir(), "truncated or damaged"),
    "a pickle": (lambda folder: (folder / "1.npz").write_bytes(pickle.dumps(Code(folder))), "truncated or damaged"),
    "objects": (
        lambda folder: npz(reward=np.array([Code(folder)] * 4, object))(folder),
        "'reward' is not an array of numbers",
    ),
    "a plain array": (lambda folder: (folder / "1.npz").write_bytes(declared("()") + bytes(8)), "truncated or damaged"),
    "cut off": (cut_archive, "truncated or damaged"),
    "no array": (member(b"text"), "truncated or damaged"),
    "a header of lies": (member(declared("(1000000000000,)")), r"takes 8000000000000 bytes, 0 are stored"),
    "a header without end": (member(declared("(" * 5000)), "truncated or damaged"),
    **{f"no {key}": (npz_without(key), f"the key '{key}' is missing") for key in episode()},
    "text": (npz(reward=np.array(["a"] * 4)), "'reward' is not an array of numbers"),
    "a number": (npz(reward=1.0), "'reward' is not an array of numbers"),
    "frames of floats": (npz(image=np.zeros((4, 64, 64, 3))), "float64, not bytes"),
    "fewer frames": (npz(image=np.zeros((3, 64, 64, 3), np.uint8)), "3 frames for 4 rows"),
    "more frames": (npz(image=np.zeros((5, 64, 64, 3), np.uint8)), "not of one dataset"),
    "frames of another size": (npz(image=np.zeros((4, 32, 32, 3), np.uint8)), "'frames' has shape"),
    "frames of two sizes": (of_other_size, "not of one dataset"),
    "flat frames": (npz(image=np.zeros(4, np.uint8)), "'frames' has shape"),
    "uneven columns": (npz(is_first=np.eye(1, 7, dtype=bool)[0]), "its columns have different lengths"),
    "actions of two widths": (of_other_width, "not of one dataset"),
    "actions without a width": (npz(action=np.zeros(4, np.float32)), "'actions' has shape"),
    "no rows": (npz(**{name: value[:0] for name, value in episode().items()}), "does not begin an episode"),
    "no beginning": (npz(is_first=np.zeros(4, bool)), "does not begin an episode"),
    "no end": (npz(is_first=np.ones(4, bool)), "an episode has no env steps"),
    "beyond float32": (npz(reward=np.full(4, 1e39)), "beyond float32's range"),
    "not finite": (npz(reward=np.full(4, np.nan)), "holds NaN or infinite numbers"),
    "a shard cut off": (cut_shard, "truncated or damaged"),
    "a linked shard": (shard_linked, "leads out of the file"),
    "a shard without a key": (lambda folder: save(folder / "1.hdf5", {"reward": np.ones(4)}), "is missing"),
    "a shard of flat frames": (lambda folder: shard(folder, observation=np.zeros(4, np.uint8)), "'observation' has"),
    "an empty shard": (lambda folder: (folder / "1.hdf5").touch(), "not an HDF5 file"),
}


@pytest.mark.parametrize("kind", OF_VD4RLS_LAYOUT)
def test_of_vd4rls_layout(kind, tmp_path):
    damage, message = OF_VD4RLS_LAYOUT[kind]
    damage(tmp_path)
    refused(lambda: File(WALKER, tmp_path).load(), message, tmp_path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A sound dataset of Minari's, from which the bad ones are made."""
    root = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        environment = minari.DataCollector(gymnasium.make("Hopper-v5", max_episode_steps=3))
        for number in range(2):
            environment.reset(seed=number)
            for _ in range(3):
                environment.step(np.zeros(3, np.float32))
        environment.create_dataset(MINARI.datasets["minari"], author="t", author_email="t@t", code_permalink="t")
        environment.close()
    return root


def metadata(**changed):
    """Return what changes a dataset's metadata; None takes a word out."""

    def damage(data):
        path = data / "metadata.json"
        told = json.loads(path.read_text(encoding="utf-8")) | changed
        path.write_text(json.dumps({key: v for key, v in told.items() if v is not None}), encoding="utf-8")

    return damage


def main_data(change):
    def damage(data):
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            change(file)

    return damage


def replaced(key, value):
    def change(file):
        del file[key]
        file[key] = value

    return main_data(change)


FOREIGN = json.dumps({"id": "Foreign-v0", "entry_point": "antigravity:Foreign", "additional_wrappers": []})

OF_MINARIS = {
    "no episodes": (metadata(total_episodes=0, total_steps=0), "it has no episodes"),
    "episodes that are not there": (metadata(total_episodes=5), "cannot be read"),
    "an episode without steps": (
        main_data(
            lambda file: [file.__delitem__("episode_0/rewards"), file.create_dataset("episode_0/rewards", (0,), "f4")]
        ),
        "episode 0 has no steps",
    ),
    "code in place of spaces": (metadata(observation_space=None, env_spec=FOREIGN), "it lacks the spaces"),
    "metadata that is no JSON": (lambda data: (data / "metadata.json").write_bytes(b"\xff{"), "cannot be read"),
    "metadata that is a list": (
        lambda data: (data / "metadata.json").write_text("[]", encoding="utf-8"),
        "it lacks the spaces",
    ),
    "no metadata": (lambda data: (data / "metadata.json").unlink(), "cannot be read"),
    "a later Minari's": (metadata(minari_version="9.9.9"), "cannot be read.*9.9.9"),
    "another format": (metadata(data_format="else"), "cannot be read"),
    "no numbers": (lambda data: (data / "main_data.hdf5").unlink(), "main_data.hdf5: no such file"),
    "cut off": (
        lambda data: (data / "main_data.hdf5").write_bytes((data / "main_data.hdf5").read_bytes()[:2000]),
        "main_data.hdf5: truncated or damaged",
    ),
    "a link to another file": (
        replaced("episode_1/rewards", h5py.ExternalLink("/etc/passwd", "rewards")),
        "'episode_1/rewards' is a link that leads out of the file",
    ),
    "text": (replaced("episode_1/rewards", "text"), "cannot be read"),
    "a missing column": (main_data(lambda file: file.__delitem__("episode_1/actions")), "cannot be read"),
    "beyond float32": (replaced("episode_1/observations", np.full((4, 11), 1e39)), "beyond float32's range"),
    "fewer rewards": (
        replaced("episode_1/rewards", np.ones(2)),
        "rewards, terminations and truncations of 3, 3, 2, 3, 3 steps",
    ),
}


def test_what_bad_ones_are_made_of_is_sound(tmp_path, recorded, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(recorded))
    save(tmp_path / "hopper.hdf5", columns())
    npz()(tmp_path)
    of_d4rls = File(HOPPER, tmp_path / "hopper.hdf5").load()
    (tmp_path / "hopper.hdf5").unlink()
    of_vd4rls = File(WALKER, tmp_path).load()
    assert [len(each.rows.rewards) for each in (of_d4rls, of_vd4rls, sources.load(MINARI, "minari"))] == [ROWS, 4, 6]


@pytest.mark.parametrize("kind", OF_MINARIS)
def test_of_minaris(kind, tmp_path, recorded, monkeypatch):
    damage, message = OF_MINARIS[kind]
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    damage(sources.find(MINARI, "minari").place / "data")
    refused(lambda: sources.load(MINARI, "minari"), message, tmp_path)


NOTES = {"none": "", "no JSON": "{", "a list": "[]", "empty": "{}", "another type": "3"}


@pytest.mark.parametrize("kind", NOTES)
def test_images_made_here_whose_notes_are_bad(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("MOORL_DATA_DIR", str(tmp_path))
    folder = sources.find(WALKER, "recipe").place
    folder.mkdir(parents=True)
    npz()(folder)
    if NOTES[kind]:
        (folder / filming.NOTES).write_text(NOTES[kind], encoding="utf-8")
    refused(lambda: sources.load(WALKER, "recipe"), "the recipe's notes cannot be read", tmp_path)


@pytest.mark.parametrize("metadata", [None, np.ones(3), {"version": np.ones(3)}, {"version": 1.0}, {"algorithm": "x"}])
def test_rows_made_here_whose_notes_are_bad(metadata, tmp_path, monkeypatch):
    """Without its notes a file may be anyone's: it is not made anew in its place."""
    monkeypatch.setenv("MOORL_DATA_DIR", str(tmp_path))
    path = sources.find(HOPPER, "embedded").place
    path.parent.mkdir(parents=True)
    notes = {"metadata": metadata} if not isinstance(metadata, dict) else {}
    notes |= {f"metadata/{key}": value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    save(path, columns() | {key: value for key, value in notes.items() if value is not None})
    refused(lambda: sources.load(HOPPER, "embedded"), "it lacks a recipe's 'metadata/version'", tmp_path)
