"""Offline RL as a subroutine of online RL (arXiv 2512.00383): the recipe, and the algorithms it is named with."""

from moorl_jax.agents.cal_ql import CalQL
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.cql import CQL
from moorl_jax.agents.iql import IQL
from moorl_jax.agents.pex import PEX
from moorl_jax.agents.subroutine.parts import Candidate
from moorl_jax.agents.subroutine.recipe import PauseShare, Subroutine
from moorl_jax.config import static


class RecommendIQL(Subroutine):
    """An online learner, then IQL on its whole history at the end."""

    offline: Agent = IQL()


class RecommendCQL(Subroutine):
    """An online learner, then CQL on its whole history at the end."""

    offline: Agent = CQL()


class RecommendCalQL(Subroutine):
    """An online learner, then Cal-QL on its whole history at the end."""

    offline: Agent = CalQL()


class TuneIQL(Subroutine):
    """IQL on the history at the halfway point, then fine-tuned online."""

    offline: Agent = IQL()
    tunes: bool = static(True)
    pauses: tuple[PauseShare, ...] = static((0.5,))


class TunePEX(TuneIQL):
    """IQL on the history at the halfway point, then fine-tuned online with policy expansion."""

    offline: Agent = PEX()


class TuneCalQL(TuneIQL):
    """Cal-QL on the history at the halfway point, then fine-tuned online."""

    offline: Agent = CalQL()


__all__ = [
    "Candidate",
    "RecommendCQL",
    "RecommendCalQL",
    "RecommendIQL",
    "Subroutine",
    "TuneCalQL",
    "TuneIQL",
    "TunePEX",
]
