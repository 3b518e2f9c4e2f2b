"""The small language of training protocols: what an agent goes through, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Offline:
    """Updates on the dataset alone, no environment step."""

    updates: int


Phase = Offline
