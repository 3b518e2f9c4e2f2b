"""Trackers: what else logs a training while it runs, each seed as a run of its own, with its config."""

import importlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moorl_jax.errors import NotAvailableError, UnknownNameError
from moorl_jax.progress import Report

RUN = "seed-{}"  #: a seed's name in a log


class Tracker(ABC):
    """Logs a training's reports. Begun again at a later step, it goes on with the same log."""

    package: str  #: that it needs, and the extra's name that installs it
    extra: str

    @abstractmethod
    def __init__(self, place: Path, name: str, seeds: tuple[int, ...], config: dict[str, Any], step: int):
        """Begin to log the training `name` of the config in the directory `place`, from after a step on."""

    @abstractmethod
    def log(self, report: Report) -> None:
        """Log each seed's numbers: losses, returns, rates."""

    @abstractmethod
    def close(self) -> None:
        """Write what is not written yet."""

    @classmethod
    def library(cls) -> Any:
        """Return its package; raise NotAvailableError where it is not installed."""
        try:
            return importlib.import_module(cls.package)
        except ModuleNotFoundError as error:
            raise NotAvailableError(
                f"--track {cls.extra} needs {cls.package}: pip install 'moorl_jax[{cls.extra}]' ({error})"
            ) from error


class TensorBoard(Tracker):
    """Event files in `place/seed-N`; tensorboardX writes them, without TensorFlow or PyTorch."""

    package, extra = "tensorboardX", "tensorboard"

    def __init__(self, place: Path, name: str, seeds: tuple[int, ...], config: dict[str, Any], step: int):
        # TensorBoard then shows nothing that is logged there beyond this step: by the training before it was killed,
        # or by one that this replaces, to which its config belongs, too.
        beyond = step + 1 if step else 0
        self._writers = {
            seed: self.library().SummaryWriter(
                str(place / RUN.format(seed)), purge_step=beyond, filename_suffix=f".{step:010}"
            )
            for seed in seeds
        }
        for seed, writer in self._writers.items():
            writer.add_text("config", f"```json\n{json.dumps(config | {'seed': seed}, indent=1)}\n```", step)

    def log(self, report: Report) -> None:
        """Write each number as a scalar at the report's step."""
        for seed, numbers in _numbers(report):
            for name, value in numbers.items():
                self._writers[seed].add_scalar(name, value, report.step)
            self._writers[seed].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases(Tracker):
    """Runs of a group in W&B's project `moorl_jax`, or WANDB_PROJECT; with WANDB_MODE=offline without any server.

    A training that is resumed goes on with the runs whose ids it wrote to `place`.
    """

    package = extra = "wandb"

    def __init__(self, place: Path, name: str, seeds: tuple[int, ...], config: dict[str, Any], step: int):
        place.mkdir(parents=True, exist_ok=True)
        library = self.library()
        self._runs = {}
        for seed in seeds:
            known = place / f"{RUN.format(seed)}.id"
            if not (step and known.exists()):
                known.write_text(secrets.token_hex(8), encoding="utf-8")
            self._runs[seed] = library.init(
                project=library.Settings().project or "moorl_jax",
                group=name,
                name=f"{name} {RUN.format(seed)}",
                config=config | {"seed": seed},
                dir=str(place),
                id=known.read_text(encoding="utf-8"),
                resume="allow",
                reinit="create_new",
            )

    def log(self, report: Report) -> None:
        """Log each seed's numbers at the report's step; W&B passes over steps that it has already."""
        for seed, numbers in _numbers(report):
            self._runs[seed].log(numbers, step=report.step, commit=True)

    def close(self) -> None:
        """Finish the runs."""
        for run in self._runs.values():
            run.finish()


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def find(name: str) -> type[Tracker]:
    """Return the tracker of that name.

    Raises UnknownNameError for another name, NotAvailableError where its package is not installed.
    """
    if name not in TRACKERS:
        raise UnknownNameError("tracker", name, TRACKERS)
    TRACKERS[name].library()
    return TRACKERS[name]


def _numbers(report: Report) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each seed with its numbers in a report."""
    for row in report.rows.drop(columns="phase").to_dict("records"):
        yield int(row.pop("seed")), {str(name): float(value) for name, value in row.items()} | {"rate": report.rate}
