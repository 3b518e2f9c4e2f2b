"""How much a sweep spends, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a cell may cost."""

    name: str
    updates: int  #: critic gradient steps per seed, offline
    seeds: int  #: unless the caller says otherwise
    evaluations: int  #: evenly spaced, the last one at the end


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("quick", updates=4_000, seeds=2, evaluations=8),
        Budget("short", updates=100_000, seeds=3, evaluations=20),
        Budget("paper", updates=1_000_000, seeds=4, evaluations=200),
    )
}
