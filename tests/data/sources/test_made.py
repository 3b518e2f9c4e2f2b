import pytest

from moorl_jax.data import sources
from moorl_jax.data.sources import MADE_HERE
from moorl_jax.tasks import TASKS

OFFERED = [(task, source) for task in TASKS.values() for source in task.datasets]


@pytest.mark.parametrize(("task", "source"), OFFERED, ids=lambda value: getattr(value, "name", value))
def test_only_published_data_is_called_its_publishers_own(task, source):
    assert sources.find(task, source).made_of.endswith("'s own") == (source not in MADE_HERE)


def test_the_hoppers_small_set_is_not_called_a_learners():
    assert sources.find(TASKS["hopper-medium-v2"], "embedded").made_of.startswith("a clone of a public policy")
    assert sources.find(TASKS["halfcheetah-medium-v2"], "embedded").made_of.startswith("our SAC learner")
