"""What is done to an agent's data whatever the family, as its authors' code does; a family's page may change it."""

from moorl_jax.settings.changes import Changes, prepares
from moorl_jax.tasks import Task

INSIDE = 1 - 1e-5  #: to which IQL's, RLPD's and FQL's code clips actions


def bc(_: Task) -> Changes:
    """Return BC's: observations are normalized."""
    return prepares("corl-team/CORL algorithms/offline/any_percent_bc.py", normalize_observations=True)


def bc_10(_: Task) -> Changes:
    """Return 10%-BC's: observations are normalized, by the episodes that are kept."""
    return prepares("corl-team/CORL algorithms/offline/any_percent_bc.py", normalize_observations=True)


def td3_bc(_: Task) -> Changes:
    """Return TD3+BC's: observations are normalized; CORL, which ran AntMaze and Adroit too, does so there."""
    return prepares("sfujim/TD3_BC utils.py; corl-team/CORL configs/offline/td3_bc/", normalize_observations=True)


def awac(_: Task) -> Changes:
    """Return AWAC's: observations are normalized."""
    return prepares("corl-team/CORL algorithms/offline/awac.py", normalize_observations=True)


def iql(_: Task) -> Changes:
    """Return IQL's: actions are clipped."""
    return prepares("ikostrikov/implicit_q_learning dataset_utils.py", action_limit=INSIDE)


def fql(_: Task) -> Changes:
    """Return FQL's: actions are clipped."""
    return prepares("seohongpark/fql utils/datasets.py, envs/", action_limit=INSIDE)


def ifql(_: Task) -> Changes:
    """Return IFQL's: actions are clipped."""
    return prepares("seohongpark/fql utils/datasets.py, envs/", action_limit=INSIDE)


def qc(_: Task) -> Changes:
    """Return QC's: actions are clipped."""
    return prepares("ColinQiyangLi/qc utils/datasets.py, envs/", action_limit=INSIDE)


def qc_fql(_: Task) -> Changes:
    """Return QC-FQL's: actions are clipped."""
    return prepares("ColinQiyangLi/qc utils/datasets.py, envs/", action_limit=INSIDE)


def cql(_: Task) -> Changes:
    """Return CQL's: actions are clipped."""
    return prepares("young-geng/JaxCQL conservative_sac_main.py", action_limit=0.999)


def cal_ql(_: Task) -> Changes:
    """Return Cal-QL's: actions are clipped."""
    return prepares("nakamotoo/Cal-QL scripts/*.sh", action_limit=0.99999)


def rlpd(_: Task) -> Changes:
    """Return RLPD's: actions are clipped."""
    return prepares("ikostrikov/rlpd", action_limit=INSIDE)


def moorl(_: Task) -> Changes:
    """Return MOORL's: actions are clipped."""
    return prepares("ours: as RLPD", action_limit=INSIDE)
