"""Make several simulators of a task that are stepped together, by the fastest way that changes no bit."""

from moorl_jax.cores import usable_cores
from moorl_jax.tasks.environments import make_environment
from moorl_jax.tasks.robots import ROBOTS, Mazes
from moorl_jax.tasks.stepping import Environments, InTurn
from moorl_jax.tasks.task import Task
from moorl_jax.tasks.workers import InProcesses

MOST_PROCESSES = 16  #: each holds 100 MB, of the kitchen 200


def make_environments(task: Task, count: int, as_data: bool = False) -> Environments:
    """Make `count` simulators of the task, each as `make_environment` does, on the cores that this process may use.

    Raises what `make_environment` raises.
    """
    processes = min(count, usable_cores(), MOST_PROCESSES)
    robot = task.family == "locomotion"
    maze = task.family == "antmaze" and "minari" not in task.datasets
    if processes > 1 and not (robot or maze or task.make):  # a function need not exist in another process
        return InProcesses(task, count, as_data, processes)
    simulators = [make_environment(task, as_data) for _ in range(count)]
    if robot:
        return ROBOTS[task.subject](task, simulators)
    return Mazes(simulators) if maze else InTurn(simulators)
