"""All algorithms, and how to find one by name."""

import importlib.util
import sys
import traceback
from pathlib import Path
from zlib import crc32

from moorl_jax.agents.awac import AWAC
from moorl_jax.agents.bc import BC, BestBC
from moorl_jax.agents.cal_ql import CalQL
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.cql import CQL
from moorl_jax.agents.drq import DrQ, DrQBC
from moorl_jax.agents.edac import EDAC
from moorl_jax.agents.fql import FQL
from moorl_jax.agents.ifql import IFQL
from moorl_jax.agents.iql import IQL
from moorl_jax.agents.moorl import MOORL
from moorl_jax.agents.opt import OPT, OPTSPOT
from moorl_jax.agents.opt_iql import OPTIQL
from moorl_jax.agents.pex import PEX
from moorl_jax.agents.pixels import PixelBC, PixelCQL, PixelMOORL, PixelRLPD
from moorl_jax.agents.qc import QC, QCFQL
from moorl_jax.agents.rebrac import ReBRAC
from moorl_jax.agents.sac import RLPD, SAC
from moorl_jax.agents.sac_n import SACN
from moorl_jax.agents.spot import SPOT
from moorl_jax.agents.subroutine import (
    RecommendCalQL,
    RecommendCQL,
    RecommendIQL,
    Subroutine,
    TuneCalQL,
    TuneIQL,
    TunePEX,
)
from moorl_jax.agents.td3_bc import TD3BC
from moorl_jax.agents.wsrl import WSRL
from moorl_jax.config import static
from moorl_jax.errors import MoorlError, OwnAgentError, UnknownNameError, one_line

AGENTS: dict[str, type[Agent]] = {
    "bc": BC,
    "bc_10": BestBC,
    "td3_bc": TD3BC,
    "rebrac": ReBRAC,
    "spot": SPOT,
    "awac": AWAC,
    "iql": IQL,
    "ifql": IFQL,
    "fql": FQL,
    "qc": QC,
    "qc_fql": QCFQL,
    "pex": PEX,
    "cql": CQL,
    "cal_ql": CalQL,
    "sac_n": SACN,
    "edac": EDAC,
    "sac": SAC,
    "rlpd": RLPD,
    "wsrl": WSRL,
    "moorl": MOORL,
    "opt": OPT,
    "opt_spot": OPTSPOT,
    "opt_iql": OPTIQL,
    "drq": DrQ,
    "drq_bc": DrQBC,
    "pixel_bc": PixelBC,
    "pixel_cql": PixelCQL,
    "pixel_rlpd": PixelRLPD,
    "pixel_moorl": PixelMOORL,
    "recommend_iql": RecommendIQL,
    "recommend_cql": RecommendCQL,
    "recommend_cal_ql": RecommendCalQL,
    "tune_iql": TuneIQL,
    "tune_pex": TunePEX,
    "tune_cal_ql": TuneCalQL,
}

_OWN = "user_agent_"  # begins the names of the modules that users' files become


def find_agent(name: str) -> type[Agent]:
    """Return the agent's class: one of AGENTS, or `path/to/file.py:Class` for a user's own.

    Raises UnknownNameError with a suggestion, MoorlError when the file or the class in it is missing, or the name is
    not text that could be printed, or OwnAgentError when the file cannot be imported.
    """
    if ":" not in name:
        if name.endswith(".py"):
            raise MoorlError(f"agent '{name}': say which class of the file, {name}:CLASS")
        if name not in AGENTS:
            raise UnknownNameError("agent", name, AGENTS)
        return AGENTS[name]
    if not name.isprintable():  # tables and pictures are to hold it, once it is trained
        raise MoorlError(f"agent {name!a}: its name cannot be printed; where it is beyond ASCII, set PYTHONUTF8=1")
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise MoorlError(f"agent '{name}': there is no file {path}")
    # Two files may have one name; classes are told apart by their module's.
    spec = importlib.util.spec_from_file_location(f"{_OWN}{path.stem}_{crc32(bytes(path.resolve())):08x}", path)
    if spec is None or spec.loader is None:
        raise MoorlError(f"agent '{name}': {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        where, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (None, None)
        raise own_fault(error) or OwnAgentError(where or str(path), line or 1, _named(error)) from error
    agent = getattr(module, attribute, None)
    if not (isinstance(agent, type) and issubclass(agent, Agent)):
        raise MoorlError(f"agent '{name}': {path} has no Agent class named {attribute}")
    return agent


def own_fault(error: BaseException) -> OwnAgentError | None:
    """Return an error that names the line of the user's file in which `error` was raised; None if there is none."""
    lines = list(traceback.walk_tb(error.__traceback__))
    own = [number for number, (frame, _) in enumerate(lines) if frame.f_globals.get("__name__", "").startswith(_OWN)]
    if not own:
        return None
    frame, line = lines[own[-1]]
    trace = traceback.StackSummary.extract(iter(lines[own[0] :])).format() + traceback.format_exception_only(error)
    return OwnAgentError(frame.f_code.co_filename, line, _named(error), "".join(trace))


def _named(error: BaseException) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {one_line(error, 300)}"


__all__ = [
    "AGENTS",
    "AWAC",
    "BC",
    "CQL",
    "EDAC",
    "FQL",
    "IFQL",
    "IQL",
    "MOORL",
    "OPT",
    "OPTIQL",
    "OPTSPOT",
    "PEX",
    "QC",
    "QCFQL",
    "RLPD",
    "SAC",
    "SACN",
    "SPOT",
    "TD3BC",
    "WSRL",
    "Agent",
    "BestBC",
    "CalQL",
    "DrQ",
    "DrQBC",
    "PixelBC",
    "PixelCQL",
    "PixelMOORL",
    "PixelRLPD",
    "ReBRAC",
    "RecommendCQL",
    "RecommendCalQL",
    "RecommendIQL",
    "Subroutine",
    "TuneCalQL",
    "TuneIQL",
    "TunePEX",
    "find_agent",
    "own_fault",
    "static",
]
