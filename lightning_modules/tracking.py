"""Runs in trackers, through Lightning's loggers: W&B, TensorBoard, CSV. Nothing trains here.

The only file that imports wandb. Whoever publishes a run opens it, logs its rows one after the
other, sums it up and closes it; what a tracker raises comes out as it is. Longer than most: all
that is particular to trackers is in this file.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

TRACKERS = ("wandb", "tensorboard", "csv")
AXIS = "epoch"  # of every curve in W&B
# Letters that W&B takes: it answers 400 to a longer job type or name, its client refuses a tag.
LONGEST_JOB_TYPE, LONGEST_TAG, LONGEST_NAME = 64, 64, 128
_FILES = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # what the client writes elsewhere by itself


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """How a run is called in trackers."""

    identity: str  # the tracker's: of a study's run, letters and digits
    study: str
    arm: str
    name: str  # for people
    tags: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()  # names in rows of its curve, as far as they are known


@dataclass(frozen=True, kw_only=True)
class WandbPlace:
    """Where runs go in W&B; None: as the client's own settings have it."""

    project: str
    entity: str | None = None


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds to wait for W&B's server before a run is left for another time."""

    opening: float = 15.0
    closing: float = 30.0


class Tracker(Protocol):
    """A run that is open in a tracker."""

    sent: int  # rows of the curve that it has

    def log_hyperparams(self, values: Mapping[str, Any]) -> None:
        """Set the configuration; what was there under other names stays."""

    def log_metrics(self, row: Mapping[str, Any], step: int) -> None:
        """Add a row to the curve; `step` counts optimiser steps."""

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set final numbers and words; once, before the end."""

    def finalize(self, succeeded: bool) -> None:
        """End the run here, and wait until the tracker has all of it."""


def open_csv(run: TrackedRun, folder: Path) -> Tracker:
    """Return a new run of Lightning's CSVLogger: `metrics.csv` and `hparams.yaml`.

    What is in `folder` goes: a run is written whole.
    """
    from pytorch_lightning.loggers import CSVLogger

    shutil.rmtree(folder, ignore_errors=True)
    return _Local(CSVLogger(str(folder), name="", version=""))


def open_tensorboard(run: TrackedRun, folder: Path) -> Tracker:
    """Return a new run of Lightning's TensorBoardLogger. What is in `folder` goes.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """
    from pytorch_lightning.loggers import TensorBoardLogger

    shutil.rmtree(folder, ignore_errors=True)
    return _Board(TensorBoardLogger(str(folder), name="", version="", default_hp_metric=False))


def open_wandb(
    run: TrackedRun, folder: Path, place: WandbPlace, *, online: bool, patience: Patience
) -> Tracker:
    """Return a run of Lightning's WandbLogger; online it goes on where the server has it.

    Args:
        run: how it is called.
        folder: where the client keeps its files (`wandb/` in it), also while it is online.
        place: its project.
        online: whether it is sent to the server now.
        patience: with the server.

    Raises:
        Exception: whatever the client raises, as where the server does not answer in time.
    """
    wandb = _client(folder)
    from pytorch_lightning.loggers import WandbLogger

    logger = WandbLogger(
        project=place.project,
        entity=place.entity,
        name=run.name,
        id=run.identity,
        resume="allow",
        reinit="create_new",  # several at once
        group=run.study,
        job_type=run.arm,
        tags=list(run.tags),
        save_dir=str(folder),
        mode="online" if online else "offline",
        settings=_settings(wandb, patience),
    )
    return _Wandb(logger, run.curves)


def open_analysis(run: TrackedRun, folder: Path, place: WandbPlace, patience: Patience) -> Analysis:
    """Return a run for what was worked out of others; on the server, and gone on with there.

    Not Lightning's logger: it has no curve, and torch would take most of the time.

    Raises:
        Exception: as `open_wandb`.
    """
    wandb = _client(folder)
    made = wandb.init(
        project=place.project,
        entity=place.entity,
        name=run.name,
        id=run.identity,
        resume="allow",
        reinit="create_new",
        group=run.study,
        job_type=run.arm,
        tags=list(run.tags),
        dir=str(folder),
        mode="online",
        settings=_settings(wandb, patience),
    )
    return Analysis(made)


def _settings(wandb: Any, patience: Patience) -> Any:
    return wandb.Settings(
        console="off",
        x_disable_stats=True,
        # Of this process, which trains nothing: the program and packages would mislead.
        x_disable_meta=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        init_timeout=patience.opening,
        finish_timeout=patience.closing,
        finish_timeout_raises=True,
    )


def wandb_asked() -> tuple[str, str]:
    """Return `disabled` or `offline` where a variable of the client asks for it, and which.

    Both are empty where they leave it open. Loads no client.
    """
    mode, off = os.environ.get("WANDB_MODE", ""), os.environ.get("WANDB_DISABLED", "")
    if mode.lower() == "disabled":
        return "disabled", f"WANDB_MODE={mode}"
    if off.lower() in ("1", "true", "t", "yes", "y", "on"):
        return "disabled", f"WANDB_DISABLED={off}"
    if mode.lower() in ("offline", "dryrun"):
        return "offline", f"WANDB_MODE={mode}"
    return "", ""


def wandb_state() -> tuple[str, str]:
    """Return whether W&B is `online`, `offline` or `disabled` here, and why, in words.

    The client's variables decide; without them, whether it finds a key. Asks no server.
    """
    mode, why = wandb_asked()
    if mode:
        return mode, why
    if is_logged_in():
        return "online", "there is a key"
    return "offline", "nobody is logged in (`wandb login`, or WANDB_API_KEY)"


def is_logged_in() -> bool:
    """Return whether W&B's client has a key for its server. Asks no server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def leave_wandb() -> None:
    """End the client's own process, if there is one."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()


def is_uploaded(folder: Path) -> bool:
    """Return whether W&B's client has marked an offline folder as uploaded."""
    return any(folder.glob("*.wandb.synced"))


@dataclass
class _Local:
    """A run of CSVLogger, which writes its files at the end, and before that when it is told."""

    logger: Any
    sent: int = 0
    known: dict[str, Any] = field(default_factory=dict)  # the configuration

    def log_hyperparams(self, values: Mapping[str, Any]) -> None:
        self.known |= values

    def log_metrics(self, row: Mapping[str, Any], step: int) -> None:
        self.logger.log_metrics(_numbers(row), step=step)
        self.logger.save()
        self.sent += 1

    def summarize(self, values: Mapping[str, Any]) -> None:
        self.known |= values

    def finalize(self, succeeded: bool) -> None:
        self.logger.log_hyperparams(self.known)
        self.logger.finalize("success" if succeeded else "failed")


class _Board(_Local):
    """A run of TensorBoardLogger; the final numbers stand beside the configuration there."""

    def log_metrics(self, row: Mapping[str, Any], step: int) -> None:
        self.logger.log_metrics(_numbers(row), step=step)
        self.logger.experiment.flush()
        self.sent += 1

    def summarize(self, values: Mapping[str, Any]) -> None:
        words = {key: value for key, value in values.items() if not _is_number(value)}
        for key, value in words.items():
            self.logger.experiment.add_text(key, str(value))
        self.logger.log_hyperparams(self.known | words, _numbers(values))
        self.known = {}

    def finalize(self, succeeded: bool) -> None:
        with _quiet():
            self.logger.finalize("success" if succeeded else "failed")


class _Wandb:
    """A run of WandbLogger. Rows have no names of steps that the server could refuse."""

    def __init__(self, logger: Any, curves: Sequence[str]) -> None:
        self._logger = logger
        self._defined: set[str] = set()
        self._run = logger.experiment  # the client opens the run now, or fails
        self.sent = int(self._run.starting_step)  # of a run that is gone on with
        self._define([AXIS])
        self._define(curves)

    def _define(self, names: Sequence[str]) -> None:
        """Give curves their axis by their exact names: Lightning's `*` shadows every pattern."""
        for name in names:
            if name not in self._defined:
                self._defined.add(name)
                self._run.define_metric(name, step_metric=None if name == AXIS else AXIS)

    def log_hyperparams(self, values: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(values))

    def log_metrics(self, row: Mapping[str, Any], step: int) -> None:
        self._define(list(row))
        self._logger.log_metrics(dict(row), step=step)
        self.sent += 1

    def summarize(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def finalize(self, succeeded: bool) -> None:
        self._logger.finalize("success" if succeeded else "failed")
        self._run.finish(exit_code=int(not succeeded))


class Analysis:
    """A run for what was worked out of others, open on W&B's server."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.sent = int(run.starting_step)  # times that something was shown before
        self.entity, self.project = str(run.entity), str(run.project)  # as the server calls them
        self.address = str(run.url)

    def show(
        self,
        configuration: Mapping[str, Any],
        tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]],
        images: Mapping[str, Path],
        summary: Mapping[str, Any],
    ) -> None:
        """Set the configuration and summary, and add tables (columns, rows) and PNG files."""
        import wandb

        self._run.config.update(dict(configuration), allow_val_change=True)
        row: dict[str, Any] = {
            key: wandb.Table(columns=list(columns), data=[list(cells) for cells in rows])
            for key, (columns, rows) in tables.items()
        }
        self._run.log(row | {key: wandb.Image(str(path)) for key, path in images.items()})
        self._run.summary.update(dict(summary))

    def close(self) -> None:
        """Wait until the server has all of it."""
        self._run.finish()


def _client(folder: Path) -> Any:
    """Import wandb so that all that it writes stays in a folder, and it says nothing."""
    for variable in _FILES:
        os.environ[variable] = str(folder)
    os.environ.setdefault("WANDB_SILENT", "true")
    folder.mkdir(parents=True, exist_ok=True)
    import wandb

    return wandb


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if _is_number(value)}


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def folder_name(run: TrackedRun) -> str:
    """Return a name of a folder that tells a person which run it is, and is no other run's."""
    plain = re.sub(r"[^A-Za-z0-9.,=+()_-]+", "-", run.name).strip(".-")[:80]
    return f"{plain}-{run.identity[:8]}"
