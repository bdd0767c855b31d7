"""Checkpoints of a training: when they are taken, what is in them and how they are written."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch

from lightning_modules.checkpoint_files import checkpoints
from lightning_modules.files import sync_folder
from lightning_modules.observers import agreed

_KEPT = 2  # the newest, and the one before in case that is damaged
# Of a run's time that may go into checkpoints, whatever was asked for: those of a large network
# take seconds each.
_SHARE = 0.01


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
        if trainer.global_step in (0, self._began, self._saved):
            return
        if batch_idx % trainer.accumulate_grad_batches:  # gradients are in no checkpoint
            return
        if agreed(trainer, batch_idx, time.monotonic() >= self._due):
            self._save(trainer, between_steps=True)

    def save_before_batch(self, trainer: pl.Trainer) -> None:
        """Save from another callback's `on_train_batch_start`: the training is to stop there."""
        if trainer.global_step not in (0, self._began, self._saved):
            self._save(trainer, between_steps=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time and there is more to train."""
        ended = trainer.current_epoch + 1
        due = time.monotonic() >= self._due or bool(self._epochs and ended % self._epochs == 0)
        if ended < (trainer.max_epochs or 0) and agreed(trainer, 0, due):
            self._save(trainer, between_steps=False)

    def _save(self, trainer: pl.Trainer, *, between_steps: bool) -> None:
        began = time.monotonic()
        state = trainer._checkpoint_connector.dump_checkpoint()
        if between_steps:
            _before_the_batch(state)
        if trainer.is_global_zero:
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
    aside = folder / f".{step}.ckpt.{uuid.uuid4().hex}"  # its name is known once it is written
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("xb") as file:
            hashed: Any = _Hashed(file)
            save_into(hashed, state)
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{step}.{hashed.digest()}.ckpt"
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for old in checkpoints(folder)[_KEPT:]:
        old.path.unlink(missing_ok=True)
    return path


def save_into(file: Any, state: Any) -> None:
    """Have torch write into an open file; what stops it on the way comes out as itself.

    An archive that is broken off cannot be ended either, and torch says only that ("unexpected
    pos"): a full disk could not be told from a fault of ours, nor Ctrl-C from either.
    """
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if error.__context__ is not None:
            raise error.__context__ from None
        raise


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
