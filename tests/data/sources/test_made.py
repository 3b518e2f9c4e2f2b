import pytest

from moorl_jax.data import sources
from moorl_jax.data.sources import MADE_HERE
from moorl_jax.tasks import TASKS

OFFERED = [(task, source) for task in TASKS.values() for source in task.datasets]


@pytest.mark.parametrize(("task", "source"), OFFERED, ids=lambda value: getattr(value, "name", value))
def test_only_published_data_is_called_its_publishers_own(task, source):
    assert sources.find(task, source).made_of.endswith("'s own") == (source not in MADE_HERE)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hopper-medium-v2", "our SAC learner at D4RL's medium level"),
        ("halfcheetah-medium-v2", "our SAC learner at D4RL's medium level"),
        ("walker2d-expert-v2", "our network, which learned from a public policy near D4RL's expert level"),
        (
            "halfcheetah-medium-expert-v2",
            "our SAC learner at D4RL's medium level, and our network, which learned from a public policy near D4RL's "
            "expert level, half and half",
        ),
    ],
)
def test_robots_say_who_learned_and_who_was_taught(name, words):
    assert sources.find(TASKS[name], "embedded").made_of == words
