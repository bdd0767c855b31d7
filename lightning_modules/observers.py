"""Lightning callbacks that watch a run: its curve, its pulse, its divergence."""

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
from lightning_modules.files import write_text

_AGREE_EVERY = 16  # batches after which the devices of a run ask each other


def agreed(trainer: pl.Trainer, batch_idx: int, wanted: bool) -> bool:
    """Return whether something is to be done now: with several devices, once one of them wants it.

    To ask costs a message to all; so they do only now and then, all at the same batches.
    """
    if trainer.world_size == 1:
        return wanted
    if batch_idx % _AGREE_EVERY:
        return False
    return trainer.strategy.reduce_boolean_decision(wanted, all=False)


class Diverged(Exception):
    """The training loss is not a finite number any more."""


class TimedOut(Exception):
    """The time that a call was given is over; its checkpoint stays."""


class TimeLimit(pl.Callback):
    """Stop a run before the step at which its time is over, with all of it saved."""

    def __init__(
        self, seconds: float, began: float, save: Callable[[pl.Trainer], None] | None
    ) -> None:
        self._seconds, self._end, self._save = seconds, began + seconds, save

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Raise `TimedOut` where it is late: on all devices before the same step."""
        accumulates = batch_idx % trainer.accumulate_grad_batches
        if accumulates or not agreed(trainer, batch_idx, time.perf_counter() >= self._end):
            return
        if self._save is not None:
            self._save(trainer)
        steps = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        raise TimedOut(
            f"its {self._seconds:g} s were over after {trainer.global_step} of {steps} steps"
        )


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
        self._rows: list[str] = []
        self._validated = False
        self.seconds, self.steps, self._earlier = 0.0, 0, 0.0

    @property
    def whole_seconds(self) -> float:
        """Return the seconds of this call and of those before it, up to their checkpoints."""
        return self._earlier + time.perf_counter() - self._call_began

    def state_dict(self) -> dict[str, Any]:
        """Return the curve and the times so far, for a checkpoint."""
        running = time.perf_counter() - self._began if self._began else 0.0
        return {
            "seconds": self.seconds + running,
            "steps": self.steps,
            "whole": self.whole_seconds,
            "rows": list(self._rows),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the curve and the times of a checkpoint."""
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]
        self._earlier, self._rows = state_dict["whole"], list(state_dict["rows"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the curve so far, without what was cut off; start the clock.

        An epoch that goes on in its middle does not start again for Lightning.
        """
        if trainer.is_global_zero:
            write_text(self._path, "".join(self._rows))
        self._began = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
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
        for name, value in sorted(trainer.callback_metrics.items()):
            if name.startswith("val/") and not self._validated:
                continue  # of an earlier epoch
            number = float(value)
            row[name] = number if math.isfinite(number) else None
        self._rows.append(json.dumps(row, allow_nan=False) + "\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(self._rows[-1])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the curve to the disk: until now the checkpoints had it.

        Whole, since who was only slow may have added to it before noticing that its run was lost.
        """
        if trainer.is_global_zero:
            write_text(self._path, "".join(self._rows))

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
