"""How long training waits for its images, on the clock that bounds it. Nothing is synchronised."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch


class Waiting(pl.Callback):
    """Add up the time from asking for a batch to its step: loading, transfer, augmentation.

    On a GPU the processor runs ahead, and its clock would call waiting for the device waiting for
    images. There, events in the device's own stream are read, once they have passed: an image that
    came while the device was still busy cost nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._asked: Any = None  # a time, or an event of the device
        self._ahead: deque[tuple[Any, Any]] = deque()  # events that the device may not have reached

    @property
    def seconds(self) -> float | None:
        """Return the seconds so far, earlier calls' too; None: no clock of the device is known."""
        if self._device.type not in ("cpu", "cuda"):
            return None
        if self._ahead:
            self._ahead[-1][1].synchronize()
        self._add_what_has_passed()
        return self._seconds

    def ask(self) -> None:
        """Note that the loop asks for its next batch."""
        self._asked = self._now()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that the batch is there."""
        if self._asked is None:  # another loader than ours, which does not say when it is asked
            return
        if self._device.type == "cuda":
            self._ahead.append((self._asked, self._now()))
            self._add_what_has_passed()
        else:
            self._seconds += self._now() - self._asked
        self._asked = None

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        return {"seconds": self.seconds or 0.0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the seconds of a checkpoint."""
        self._seconds = state_dict["seconds"]

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _add_what_has_passed(self) -> None:
        while self._ahead and self._ahead[0][1].query():
            asked, there = self._ahead.popleft()
            self._seconds += asked.elapsed_time(there) / 1000  # events count milliseconds
