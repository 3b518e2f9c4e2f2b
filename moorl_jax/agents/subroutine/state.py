"""What a subroutine learns, as one pytree."""

from dataclasses import field

from flax import struct

from moorl_jax.agents.contract import State
from moorl_jax.nets import Learner
from moorl_jax.types import Array, Params


class FittedState(struct.PyTreeNode):
    """A candidate's value as it is fitted."""

    critic: Learner
    target_critic: Params


class SubroutineState(struct.PyTreeNode):
    """The learner's, the offline algorithm's and the candidates' states; what a phase does not need yet is empty."""

    learner: State = None  #: the online learner; None once a candidate is tuned in its place
    offline: State = None  #: the offline algorithm in training
    candidates: dict[str, State] = field(default_factory=dict)  #: those of a pause so far, by name
    scores: dict[str, Array] = field(default_factory=dict)  #: (), each candidate's score by name; NaN if it diverged
    fitted: FittedState | None = None
    choice: Array | None = None  #: (), which candidate was chosen, by its place in the order of preference
    tuned: State = None  #: the chosen candidate, being fine-tuned online
    reward_scale: Array | None = None  #: (), of the offline algorithm's rewards
