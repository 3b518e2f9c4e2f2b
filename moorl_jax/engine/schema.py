"""What the files of a result must hold for whoever reads it."""

import dataclasses
from typing import Any

from moorl_jax.engine.training_loop import Plan

NO_SOURCE = "none"  #: of the data, where an agent learned from its own experience alone

# Each part and its kind ([str]: any number, [str, ...]: at least one).
CONFIG = {
    "task": str,
    "agent": str,
    "agent_config": dict,
    "overrides": [str],
    "preparation": dict,
    "protocol": str,
    "source": str,
    "seeds": [int, ...],
    "plan": {field.name: int for field in dataclasses.fields(Plan)},
    "command": str,
}
PROVENANCE = {
    "source": str,
    "finished": str,
    "seconds": {"total": float | int},
    "versions": dict,
    "devices": [str, ...],
    "commit": str,
}
OF_OWN = {"own_task": dict, "agent_files": dict}  #: of users' own, which not all results have
OF_BACKEND = {"backend": dict}  #: which earlier results lack
OF_DATA = {"dataset_sha256": str, "dataset_mean_return": float | int, "transitions": int}


def check(config: Any, provenance: Any) -> None:
    """Raise ValueError where config.json or provenance.json, as they were read, lack what a result must hold."""
    _check("config.json", config, CONFIG)
    _check("provenance.json", provenance, PROVENANCE)
    _check("config.json", config, {part: kind for part, kind in OF_OWN.items() if part in config})
    if "backend" in provenance:
        _check("provenance.json", provenance, OF_BACKEND)
    if provenance["source"] != config["source"]:
        raise ValueError(f"its data is {config['source']} and {provenance['source']}")
    if config["source"] != NO_SOURCE:
        _check("provenance.json", provenance, OF_DATA)


def _check(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError where a part of a file is missing or not of its kind: a type, or what a list or dict holds."""
    if isinstance(kind, dict):
        _check(name, value, dict)
        for part, of in kind.items():
            _check(f"{name}: {part}", value.get(part), of)
    elif isinstance(kind, list):
        _check(name, value or None if ... in kind else value, list)
        for part in value:
            _check(f"each of {name}", part, kind[0])
    elif not isinstance(value, kind):
        raise ValueError(f"{name} is {'missing' if value is None else repr(value)[:40]}")
