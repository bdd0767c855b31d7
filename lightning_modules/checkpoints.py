"""Checkpoints of a training: written whole, known by their own hash, the one before kept.

A checkpoint is `<step>.<sha256>.ckpt`. Its name is given after its content is on the disk, so that
a file under such a name is either what was written, or shows that it is not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch

from lightning_modules.files import read_json, sync_folder, write_aside, write_json
from recipes import Recipe, fingerprint

FOLDER = "checkpoint"
SCHEMA = 2  # of what a checkpoint holds; another one begins anew
_NAME = re.compile(r"(\d+)\.([0-9a-f]{64})\.ckpt")
_KEPT = 2  # the newest, and the one before in case that is damaged
# Of a run's time that may go into checkpoints, whatever was asked for: those of a large network
# take seconds each.
_SHARE = 0.01

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file that says it is a checkpoint."""

    path: Path
    step: int
    sha256: str

    def is_whole(self) -> bool:
        """Return whether the file holds what was written; an unreadable one does not."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


class Checkpoints(pl.Callback):
    """Save the whole training between two steps and at ends of epochs, when it is time.

    After every `epochs` epochs it is time in any case.

    The state between two steps is that before the next batch: all that the step before has done,
    averages and schedules too, is in it.
    """

    def __init__(self, folder: Path, seconds: float, epochs: int | None = None) -> None:
        self._folder, self._seconds, self._epochs = folder, seconds, epochs
        self._due = time.monotonic() + seconds
        self._began = self._saved = -1  # steps at which this call began, and saved last

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where this call begins: what it began from need not be saved again."""
        self._began = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save what there is before this batch, if it is time."""
        if time.monotonic() < self._due or trainer.global_step in (0, self._began, self._saved):
            return
        if batch_idx % trainer.accumulate_grad_batches:  # gradients are in no checkpoint
            return
        self._save(trainer, between_steps=True)

    def save_before_batch(self, trainer: pl.Trainer) -> None:
        """Save from another callback's `on_train_batch_start`: the training is to stop there."""
        if trainer.global_step not in (0, self._began, self._saved):
            self._save(trainer, between_steps=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time and there is more to train."""
        ended = trainer.current_epoch + 1
        due = time.monotonic() >= self._due or (self._epochs and ended % self._epochs == 0)
        if due and ended < (trainer.max_epochs or 0):
            self._save(trainer, between_steps=False)

    def _save(self, trainer: pl.Trainer, *, between_steps: bool) -> None:
        began = time.monotonic()
        state = trainer._checkpoint_connector.dump_checkpoint()
        if between_steps:
            _before_the_batch(state)
        save(self._folder, trainer.global_step, state)
        self._saved, now = trainer.global_step, time.monotonic()
        if self._seconds > 0:  # else at every step
            self._due = now + max(self._seconds, (now - began) / _SHARE)


def _before_the_batch(state: dict[str, Any]) -> None:
    """Take back from Lightning's counters that a batch is ready which has not been trained on."""
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        progress[part]["ready"] = progress[part]["completed"]
    progress["is_last_batch"] = False


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint, then let go of all but the newest ones; return its path."""
    aside = folder / "new.ckpt"
    with write_aside(aside) as file:
        hashed: Any = _Hashed(file)
        torch.save(state, hashed)
    path = folder / f"{step}.{hashed.digest()}.ckpt"
    os.replace(aside, path)
    sync_folder(folder)
    for old in checkpoints(folder)[_KEPT:]:
        old.path.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the files of a folder that say they are checkpoints, newest first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            found.append(Checkpoint(path=path, step=int(match[1]), sha256=match[2]))
    return sorted(found, key=lambda one: (one.step, one.path.stat().st_mtime_ns), reverse=True)


def newest(folder: Path, recipes: Sequence[Recipe]) -> Path | None:
    """Return the newest checkpoint that is whole and was made for these readings, or None.

    Whatever else is in the folder is removed: nobody else is at work in it. Damage is logged.
    """
    about = {"schema_version": SCHEMA, "readings": [fingerprint(recipe) for recipe in recipes]}
    note = folder / "readings.json"
    try:
        same = read_json(note) == about
    except ValueError:
        same = False
    if not same:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(note, about)
        return None
    chosen: Path | None = None
    for one in checkpoints(folder):
        if one.is_whole():
            chosen = one.path
            break
        _log.warning(
            "the checkpoint of step %d is damaged (%s does not have the hash of its name): going on"
            " from the one before, or anew where there is none",
            one.step,
            one.path.name,
        )
        one.path.unlink(missing_ok=True)
    kept = {one.path for one in checkpoints(folder)} | {note}
    for path in folder.iterdir():
        if path not in kept:  # left by a process that was killed as it wrote
            path.unlink(missing_ok=True)
    return chosen


class _Hashed:
    """A file that hashes what is written into it, so that a checkpoint is passed over once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._hash = hashlib.sha256()
        self.write: Callable[[Any], int] = lambda data: self._write(file, data)
        self.flush = file.flush

    def _write(self, file: IO[bytes], data: Any) -> int:
        self._hash.update(data)
        return file.write(data)

    def digest(self) -> str:
        return self._hash.hexdigest()
