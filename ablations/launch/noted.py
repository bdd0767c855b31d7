"""`progress.json` in the folder of a running run: how far it is, for whoever looks (`status`)."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ablations.ledger import Ledger
from lightning_modules.execution import Progress
from lightning_modules.files import write_json

EVERY = 10.0  # seconds: a small file, not flushed to the disk, so far below 0.1 % of training


class Noted:
    """Tells how far a training is, and notes it now and then in the folders of its runs.

    `steps_timed` and `seconds_timed` begin after the first step of this process, which builds and
    compiles, or goes on from a checkpoint: they give the pace by which the rest can be foreseen.
    """

    def __init__(self, folders: Sequence[Path], tell: Callable[[Progress], None]) -> None:
        self._folders, self._tell = folders, tell
        self._first: tuple[int, float] | None = None
        self._due = 0.0

    def __call__(self, progress: Progress) -> None:
        """Tell, and note if it is time."""
        self._tell(progress)
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY
        self._first = self._first or (progress.step, now)
        row = {
            "schema_version": 1,
            "host": platform.node(),
            "pid": os.getpid(),
            "time": time.time(),
            "epoch": progress.epoch,
            "epochs": progress.epochs,
            "step": progress.step,
            "steps": progress.steps,
            "steps_timed": progress.step - self._first[0],
            "seconds_timed": now - self._first[1],
        }
        for folder in self._folders:
            with contextlib.suppress(OSError):  # a full disk is told by what matters more
                write_json(folder / "progress.json", row, durable=False)


def noted(ledger: Ledger, run: str) -> Progress | None:
    """Return how far the process that makes a run said that it is; None: it has not yet."""
    row = ledger.progress(run)
    try:
        return Progress(
            **{name: int(row[name]) for name in ("step", "steps", "epoch", "epochs")},
            top1=None,
            loss=None,
        )
    except (KeyError, TypeError, ValueError):  # none, or of another version
        return None
