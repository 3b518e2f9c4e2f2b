import dataclasses
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data import Rows, hdf5, plans, recipe, sources
from moorl_jax.data.sources import D4RL, File, Source, d4rl
from moorl_jax.errors import DatasetError, NotAvailableError, UnknownNameError
from moorl_jax.tasks import SUITES, TASKS, find


@pytest.fixture
def own_file(hopper, hopper_rows):
    """A file in D4RL's place that is not D4RL's."""
    path = D4RL(hopper).place
    hdf5.write(path, hopper_rows, {})
    return path


@pytest.fixture
def d4rl_file(own_file, monkeypatch):
    """The same, where D4RL's own is of its size."""
    known = {"https://server/gym_mujoco_v2/hopper_medium-v2.hdf5": {"bytes": str(own_file.stat().st_size)}}
    monkeypatch.setattr(d4rl, "_known", lambda: known)
    return own_file


class TestChoose:
    def test_an_original_file_comes_first(self, hopper, d4rl_file, tmp_path):
        assert sources.choose(hopper, policies=tmp_path) == "d4rl"

    def test_a_file_is_not_d4rls_by_its_name_alone(self, hopper, own_file):
        assert sources.choose(hopper) == sources.choose(hopper, "file") == "file"
        with pytest.raises(NotAvailableError, match=r"hopper_medium-v2\.hdf5: its size differs from D4RL's file"):
            sources.choose(hopper, "d4rl")
        with pytest.raises(NotAvailableError, match="its size differs from D4RL's file"):
            sources.load(hopper, "d4rl")
        assert len(hdf5.read(own_file).rewards) == 2000
        dataset = sources.load(hopper, "file")
        assert (dataset.source, len(dataset.rows.rewards)) == ("file", 2000)
        assert list(sources.of(hopper)) == ["recipe", "embedded", "file"]

    def test_where_d4rls_size_is_not_known_its_name_must_do(self):
        task = find("relocate-cloned-v1")
        D4RL(task).place.parent.mkdir(parents=True)
        D4RL(task).place.touch()
        assert sources.choose(task) == "d4rl"

    @pytest.mark.parametrize(("rows", "source"), [(3680, "d4rl"), (3679, "file")])
    def test_where_d4rls_number_of_rows_is_known_it_decides(self, rows, source):
        task = find("kitchen-complete-v0")
        flags = np.arange(rows) == rows - 1
        floats = np.zeros((rows, 60), np.float32), np.zeros((rows, 9), np.float32), np.zeros(rows, np.float32)
        hdf5.write(D4RL(task).place, Rows(*floats, flags, None), {})
        assert sources.choose(task) == source
        assert sources.load(task, source).source == source

    def test_a_file_that_is_not_there_is_not_made(self, hopper, tmp_path):
        for attempt in (sources.choose, sources.load):
            with pytest.raises(NotAvailableError, match="no source 'file'"):
                attempt(hopper, "file", tmp_path)
        with pytest.raises(DatasetError, match="nowhere: no such file"):
            File(hopper, tmp_path / "nowhere").load()
        with pytest.raises(DatasetError, match=r"nowhere: there are no \.npz or \.hdf5 files"):
            File(find("vd4rl-walker_walk-medium"), tmp_path / "nowhere").load()
        assert not list(tmp_path.iterdir())

    def test_d4rls_server_comes_next(self, hopper, tmp_path, monkeypatch):
        monkeypatch.setattr(d4rl, "answers", lambda: True)
        assert sources.choose(hopper, policies=tmp_path) == "d4rl"

    def test_then_what_the_package_can_make_itself(self, hopper, tmp_path):
        assert sources.choose(hopper, policies=tmp_path) == "embedded"

    def test_then_a_recipe_of_policies_given(self, tmp_path):
        task = find("pen-cloned-v1")
        assert sources.choose(task, policies=tmp_path) == "recipe"
        sources.find(task, "recipe").place.parent.mkdir(parents=True)
        sources.find(task, "recipe").place.touch()
        assert sources.choose(task) == "recipe"

    @pytest.mark.parametrize("task", ["hammer-cloned-v1", "pen-cloned-v1", "kitchen-partial-v0"])
    def test_else_d4rl_whose_absence_is_reported(self, task):
        assert sources.choose(find(task)) == "d4rl"

    def test_a_task_of_minaris_has_minari_alone(self, tmp_path):
        assert sources.choose(find("minari-pen-human-v2"), policies=tmp_path) == "minari"

    @pytest.mark.parametrize("task", SUITES["vd4rl-all"])
    def test_of_images_all_can_be_made_without_policies(self, task):
        assert sources.choose(find(task)) == "embedded"
        assert plans.embedded(find(task))

    def test_a_source_by_name(self, hopper, d4rl_file):
        assert sources.choose(hopper, "embedded") == "embedded"

    def test_unknown_and_unavailable_sources(self, hopper):
        with pytest.raises(UnknownNameError, match="did you mean d4rl"):
            sources.choose(hopper, "d4lr")
        with pytest.raises(NotAvailableError, match="ant-medium-v2 has no source 'embedded'; it has d4rl"):
            sources.choose(find("ant-medium-v2"), "embedded")
        with pytest.raises(NotAvailableError, match="sawyer-push has no dataset: it is for agents that learn online"):
            sources.choose(find("sawyer-push"))


def test_asking_a_source_about_its_data_leaves_nothing_behind():
    everything = [source for task in TASKS.values() for source in sources.of(task).values()]
    assert {source.name for source in everything} == {*sources.SOURCES} - {"file"}
    for source in everything:
        assert not source.is_here()
        assert not source.is_current()
        assert source.serves() == (source.name == "embedded")
        assert source.location
    assert not list(d4rl.directory().parent.iterdir())


class TestLoad:
    def test_an_original_file(self, hopper, d4rl_file, hopper_rows):
        dataset = sources.load(hopper, "d4rl")
        assert (dataset.source, dataset.fingerprint) == ("d4rl", hopper_rows.fingerprint())
        assert len(dataset.transitions) == 2000 - hopper_rows.timeouts[:-1].sum() - 1

    def test_a_faulty_file_is_refused(self, hopper, hopper_rows):
        rows = dataclasses.replace(hopper_rows, rewards=np.full(2000, np.nan, np.float32))
        hdf5.write(D4RL(hopper).place, rows, {})
        with pytest.raises(DatasetError, match=r"hopper_medium-v2\.hdf5: 'rewards' is NaN"):
            sources.load(hopper, "file")

    def test_a_file_of_an_earlier_recipe_is_made_again(self, hopper, hopper_rows, monkeypatch):
        monkeypatch.setattr("moorl_jax.data.plans._STEPS", 400)
        hdf5.write(sources.find(hopper, "embedded").place, hopper_rows, {"metadata/version": "0"})
        assert len(sources.load(hopper, "embedded").rows.rewards) == 400


def test_what_cannot_be_fetched_may_be_made(monkeypatch):
    monkeypatch.setattr(d4rl, "SERVER", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match="or make it from trained policies: --policies DIR"):
        sources.load(find("antmaze-umaze-v2"), "d4rl")
    with pytest.raises(DatasetError, match="human demonstrations of hammer are not among the policies"):
        sources.load(find("hammer-cloned-v1"), "d4rl")


def side_by_side(load):
    """Call it twice at once, as two processes would; return what came of both, and what they were told."""
    said = []
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(load, said.append) for _ in range(2)]
    return [each.result() for each in both], said


class TestIdentity:
    """A file is D4RL's for what is in it, wherever it lies."""

    @pytest.fixture
    def sha256(self, own_file, monkeypatch):
        known = {"bytes": str(own_file.stat().st_size), "sha256": d4rl.sha256(own_file)}
        monkeypatch.setattr(d4rl, "_known", lambda: {"https://server/gym_mujoco_v2/hopper_medium-v2.hdf5": known})
        return known

    def test_one_of_d4rls_size_with_other_bytes_is_refused(self, hopper, sha256):
        sha256["sha256"] = "0" * 64
        with pytest.raises(DatasetError, match="its sha256 is not that of D4RL's own"):
            sources.load(hopper, "d4rl")

    def test_d4rls_own_is_paired_as_d4rl_does_under_any_name(self, hopper, own_file, hopper_rows, sha256):
        moved = own_file.rename(own_file.with_name("mine.hdf5"))
        theirs = File(hopper, moved).load()
        assert (theirs.source, len(theirs.transitions)) == ("d4rl", 1999 - hopper_rows.timeouts[:-1].sum())
        sha256["sha256"] = "0" * 64
        mine = File(hopper, moved).load()
        assert (mine.source, len(mine.transitions)) == ("file", 2000)
        np.testing.assert_array_equal(mine.transitions.next_observations, hopper_rows.next_observations)


class TestTwoAtOnce:
    def test_a_dataset_is_made_once(self, hopper, hopper_rows, monkeypatch):
        makings = []

        def generate(task, parts, path, seed, progress):
            makings.append(path)
            time.sleep(0.5)
            hdf5.write(path, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])})

        monkeypatch.setattr(recipe, "generate", generate)
        both, said = side_by_side(lambda tell: sources.load(hopper, "embedded", tell=tell))
        assert [dataset.fingerprint for dataset in both] == [hopper_rows.fingerprint()] * 2
        assert len(makings) == 1
        assert said == [f"{makings[0]}: another process is making it; waiting"]
        assert list(makings[0].parent.iterdir()) == makings

    def test_what_is_to_be_made_anew_is_made_in_turn(self, hopper, monkeypatch):
        running = []

        def generate(task, parts, path, seed, progress):
            running.append(path)
            assert len(running) == 1
            time.sleep(0.2)
            running.pop()

        monkeypatch.setattr(recipe, "generate", generate)
        side_by_side(lambda tell: sources.find(hopper, "embedded").get(tell=tell, anew=True))


@dataclass(frozen=True)
class Arrays(Source):
    """A source of another kind: rows that are here once they have been got."""

    name = "arrays"
    made_of = "arrays"
    folder: Path
    rows: Rows

    @property
    def place(self):
        return self.folder / "arrays"

    def is_here(self):
        return self.place.exists()

    def getter(self):
        return lambda _: self.place.touch()

    def read(self, progress):
        return self.rows


class TestANewSource:
    """It defines what is abstract, and gets locks, checks and fingerprints from `Source`."""

    def test_its_data_is_got_once_then_read(self, hopper, hopper_rows, tmp_path, monkeypatch):
        source = Arrays(hopper, tmp_path, hopper_rows)
        dataset = source.load()
        assert (dataset.source, dataset.fingerprint) == ("arrays", hopper_rows.fingerprint())
        monkeypatch.setattr(Arrays, "getter", None)
        assert len(source.load().transitions) == len(dataset.transitions)

    def test_its_data_is_checked(self, hopper, hopper_rows, tmp_path):
        rows = dataclasses.replace(hopper_rows, actions=3 * hopper_rows.actions)
        with pytest.raises(DatasetError, match=r"/arrays: 'actions' reaches .* outside \[-1, 1\]"):
            Arrays(hopper, tmp_path, rows).load()


def test_without_a_home_data_lies_below_the_temporary_directory(monkeypatch, hopper):
    """As in a container that runs under a number without an entry in /etc/passwd."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for variable in ("MOORL_DATA_DIR", "D4RL_DATASET_DIR", "VD4RL_DATASET_DIR"):
        monkeypatch.delenv(variable)
    for source in ("recipe", "d4rl"):
        assert Path(tempfile.gettempdir()) in sources.find(hopper, source).place.parents
