"""What an instant between phases does to the seeds of a group that go through its recipe."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from moorl_jax.agents.contract import State
from moorl_jax.engine.keys import SWITCHES
from moorl_jax.replay import Experience
from moorl_jax.types import Array, Transitions

if TYPE_CHECKING:
    from moorl_jax.engine.groups import Group


class Changing:
    """Some seeds of a group, to which an instant of their recipe happens (`phases.Seeds`)."""

    def __init__(self, group: "Group", places: range):
        self.state = group.states(places)  #: stacked, of another structure once it is changed
        self._group, self._places = group, places

    def end_episodes(self) -> None:
        """Truncate the running episodes, as a time-out would: the whole group's, all of which come to this instant."""
        self._group.end_episodes()

    def switch(self, change: Callable[[State, Array, Transitions], State]) -> None:
        """Replace each seed's state by `change(state, key, example)`."""
        self._replace(lambda state, key, _: change(state, key, self._group.example))

    def review(self, change: Callable[[State, Array, Experience], State]) -> None:
        """Replace each seed's state by `change(state, key, experience)`; a no-op before the first env step. This also
        skips reviews while `Trainer.restore` fast-forwards through the phases.
        """
        if self._group.progress.env_steps:
            self._replace(lambda state, key, place: change(state, key, jax.device_get(self._group.experience(place))))

    def _replace(self, change: Callable[[State, Array, int], State]) -> None:
        """Replace each seed's state by `change(state, key, place)`, one seed after another."""
        states = []
        for number, place in enumerate(self._places):
            state = jax.tree.map(lambda leaf, number=number: leaf[number], self.state)
            states.append(change(state, self._group.key(place, SWITCHES), place))
        self.state = jax.device_put(stack(states), self._group.device)


def stack(trees: Sequence[Any]) -> Any:
    """Return pytrees as one, with a leading axis over them."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
