"""Lightning callbacks that watch a run: its curve, its pulse, its checkpoints, its divergence."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lightning_modules.execution import Progress
from lightning_modules.files import write_aside, write_text


class Diverged(Exception):
    """The training loss is not a finite number any more."""


class DivergenceStop(pl.Callback):
    """Stop a run whose epoch loss is not finite; looked at once per epoch, not per step."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `Diverged` where the mean loss of the epoch is NaN or infinite."""
        loss = _metric(trainer, "train/loss")
        if loss is not None and not math.isfinite(loss):
            raise Diverged(f"the training loss was {loss} in epoch {trainer.current_epoch + 1}")


class Curves(pl.Callback):
    """Append one line per epoch to `metrics.jsonl`, and time the epochs, earlier calls' too.

    `whole_seconds` are those since the run began, without the time in which it lay interrupted.
    """

    def __init__(self, path: Path, began: float) -> None:
        self._path, self._call_began = path, began
        self._began = 0.0
        self._resumed = self._validated = False
        self.seconds, self.steps, self._earlier = 0.0, 0, 0.0

    @property
    def whole_seconds(self) -> float:
        """Return the seconds of this call and of those before it, up to their checkpoints."""
        return self._earlier + time.perf_counter() - self._call_began

    def state_dict(self) -> dict[str, Any]:
        """Return the times so far, for a checkpoint."""
        return {"seconds": self.seconds, "steps": self.steps, "whole": self.whole_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the times of a checkpoint."""
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]
        self._earlier = state_dict["whole"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; forget what an interrupted call wrote of this epoch and later ones."""
        if not self._resumed:
            self._resumed = True
            if trainer.is_global_zero:
                self._keep_epochs(trainer.current_epoch)
        self._validated = False
        self._began = time.perf_counter()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: evaluation is not training."""
        self._validated = True
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's numbers; where there are several devices, one of them writes."""
        self._stop(trainer)
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not self._validated:
                continue  # of an earlier epoch
            number = float(value)
            row[name] = number if math.isfinite(number) else None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def _keep_epochs(self, epochs: int) -> None:
        if self._path.exists():
            rows = self._path.read_text(encoding="utf-8").splitlines()[:epochs]
            write_text(self._path, "".join(f"{row}\n" for row in rows))

    def _stop(self, trainer: pl.Trainer) -> None:
        if self._began:
            device = trainer.strategy.root_device
            if device.type == "cuda":  # it may be some steps behind; once an epoch, not per step
                torch.cuda.synchronize(device)
            self.seconds += time.perf_counter() - self._began
            self.steps += int(trainer.num_training_batches)
            self._began = 0.0


class Heartbeat(pl.Callback):
    """Tell how far a run is, at most once a second."""

    def __init__(self, tell: Callable[[Progress], None], epochs: int) -> None:
        self._tell, self._epochs, self._last = tell, epochs, 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell, if a second has passed."""
        now = time.monotonic()
        if now - self._last >= 1.0:
            self._last = now
            self._tell(
                Progress(
                    step=trainer.global_step,
                    steps=int(trainer.num_training_batches) * self._epochs,
                    epoch=trainer.current_epoch + 1,
                    epochs=self._epochs,
                    top1=_metric(trainer, "val/top1"),
                    loss=_metric(trainer, "train/loss"),
                )
            )


class Checkpoints(pl.Callback):
    """Save the whole training at ends of epochs, whole or not at all, not more often than asked."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds, self._last = path, seconds, time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time and there is more to train."""
        due = time.monotonic() - self._last >= self._seconds
        if (
            not due
            or not trainer.is_global_zero
            or trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        ):
            return
        with write_aside(self._path) as file:
            torch.save(trainer._checkpoint_connector.dump_checkpoint(), file)
        self._last = time.monotonic()


def curve_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a curve; none where a training ended before its first epoch did."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_own_curve(whole: Path, number: int, path: Path) -> None:
    """Write what one reading sees of a training's curve: `val/top1@1` is reading 1's `val/top1`."""
    lines = []
    for row in curve_rows(whole):
        own = {}
        for name, value in row.items():
            plain, _, of = name.partition("@")
            if not name.startswith("val/") or (of or "0") == str(number):
                own[plain] = value
        lines.append(json.dumps(own, allow_nan=False) + "\n")
    write_text(path, "".join(lines))


def _metric(trainer: pl.Trainer, name: str) -> float | None:
    value = trainer.callback_metrics.get(name)
    return None if value is None else float(value)
