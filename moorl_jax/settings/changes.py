"""What a page says: values, each with its name and its source."""

from typing import Any, NamedTuple


class Change(NamedTuple):
    """Another value than the one in force before."""

    name: str  #: of a field, as `--set` has it: `backbone.alpha`; of the data's preparation `preparation.action_limit`
    value: Any
    source: str  #: a paper, or files of a repository; "ours" where no author says


Changes = tuple[Change, ...]


def sets(source: str, **values: Any) -> Changes:
    """Return changes of an agent's fields, all of one source."""
    return tuple(Change(name, value, source) for name, value in values.items())


def prepares(source: str, **values: Any) -> Changes:
    """Return changes of the preparation of an agent's data, all of one source."""
    return within("preparation", sets(source, **values))


def within(part: str, changes: Changes) -> Changes:
    """Return the changes as those of a part, such as an agent's backbone."""
    return tuple(change._replace(name=f"{part}.{change.name}") for change in changes)
