import pytest

from moorl_jax.errors import UnknownNameError
from moorl_jax.sweeps.budgets import find_budget


def test_a_budget_by_name():
    assert find_budget("short").spend("offline") == (100_000, 0)
    with pytest.raises(UnknownNameError, match="did you mean short"):
        find_budget("shrt")


def test_numbers_of_ones_own_become_part_of_the_name():
    budget = find_budget("short", updates=5_000, env_steps=0)
    assert budget.name == "short-5000u-0e"
    assert budget.spend("offline") == (5_000, 0)
    assert budget.spend("offline-to-online") == (5_000, 0)
    longer = find_budget("quick", env_steps=30_000)
    assert longer.name == "quick-30000e"
    assert longer.spend("offline-to-online") == (2_000, 30_000)
    assert longer.spend("online") == (0, 30_000)


def test_images_have_a_shorter_quick_and_their_authors_paper_budget():
    of_images = find_budget("quick", of_images=True)
    assert of_images.name == "quick"
    assert of_images.spend("offline") == (5, 0)
    assert find_budget("quick", updates=5_000, of_images=True).spend("offline") == (5_000, 0)
    assert find_budget("short", of_images=True).spend("offline") == (20_000, 0)
    assert find_budget("paper", of_images=True).spend("offline") == (550_000, 0)  # V-D4RL's authors'


def test_quick_gives_costly_agents_fewer_updates_unless_the_user_says_how_many():
    assert find_budget("quick", agent="cql").updates < find_budget("quick", agent="iql").updates
    assert find_budget("quick", agent="cql").name == "quick"
    assert find_budget("quick", updates=5_000, agent="cql").updates == 5_000
    assert find_budget("short", agent="cql") == find_budget("short")
