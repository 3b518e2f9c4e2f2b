"""Giving a finished training a larger budget: it goes on from its last checkpoint, which its result keeps."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from moorl_jax.agents import Agent
from moorl_jax.engine.provenance import ABSENT, agent_fields, differences
from moorl_jax.engine.recipes import taken
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.training_loop import Plan
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Instant, Phase

LAST = "last"  #: the checkpoint in a result's directory


def plan_of(result: Path) -> Plan:
    """Return the plan of a finished training; raise MoorlError where it has not kept its last checkpoint."""
    return Plan(**_identity(result)["plan"])


def require_beginning(result: Path, agent: Agent, longer: Plan) -> None:
    """Raise MoorlError where a training of a longer plan does not begin with all that the result's has done.

    It does not where more updates would come before env steps that were taken, or where a schedule of the agent depends
    on the budget.
    """
    identity, now = _identity(result), json.loads(json.dumps(agent_fields(agent)))
    shorter = Plan(**identity["plan"])
    budgets = [(plan.updates, plan.env_steps) for plan in (shorter, longer)]
    words = [f"{updates:,} updates and {env_steps:,} env steps" for updates, env_steps in budgets]
    if budgets[0] == budgets[1] or any(more < less for less, more in zip(*budgets, strict=True)):
        raise MoorlError(f"{result} has {words[0]}: ask for more, in all, not for {words[1]}")
    recipes = [recipe(agent, *budget) for budget in budgets]
    if fault := _changed(identity["agent_config"], now) or unlike(*recipes):
        raise MoorlError(f"{result} cannot be extended: {fault}; or train it anew")


def _identity(result: Path) -> dict[str, Any]:
    try:
        identity: dict[str, Any] = json.loads((result / LAST / "identity.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MoorlError(
            f"{result} cannot be extended: it has no checkpoint '{LAST}', which `moorl-jax train` keeps of what it "
            "trains; train it anew"
        ) from error
    return identity


def _changed(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Say which field of an agent's config has changed, even if only because the budget did."""
    for name, was, is_now in differences(then, now):
        kept = "" if ABSENT in (was, is_now) else f", --set {name}={was} keeps it"
        return f"{name} was {was} and within this budget is {is_now}{kept}"
    return ""


def unlike(shorter: tuple[Phase, ...], longer: tuple[Phase, ...]) -> str:
    """Say how a recipe does not begin with the phases of a shorter one, the last of which may go on."""
    before, after = taken(shorter), taken(longer)
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        last = number == len(before) - 1
        if type(one) is not type(other):
            return f"its phase '{one.name}' would have been '{other.name}'"
        if other.length < one.length or (other.length > one.length and not last):
            return f"its phase '{one.name}' of {one.length:,} {one.unit} would have been of {other.length:,}"
        if not isinstance(one, Instant):
            fault = _changed(agent_fields(one.agent), agent_fields(other.agent))
            if fault or _rest(one) != _rest(other):
                return fault or f"its phase '{one.name}' would have been another"
            if last and one.acts and one.sampling and one.sampling.begins_with_experience:
                return f"{type(one.sampling).__name__}'s memory is as large as the whole budget"
    return ""


def _rest(phase: Any) -> dict[str, Any]:
    """Return what a phase is beside its agent and its length."""
    names = {field.name for field in dataclasses.fields(phase)} - {"agent", "updates", "env_steps"}
    return {name: getattr(phase, name) for name in names}
