"""What ends a run that hangs where nobody else can: beside it, in the process that makes it."""

from __future__ import annotations

import os
import threading

from ablations.launch.job import Job
from ablations.ledger import TERMINAL, Ledger
from lightning_modules.execution import Progress

# Beyond a run's own time limit, which it keeps between two steps: what does not come to a next
# step by then is ended.
OVERTIME_SECONDS = 60.0


def too_late(job: Job) -> str:
    """Return in words that a run did not keep its limit."""
    limit = job.execution.time_limit or 0.0
    return f"it did not end {OVERTIME_SECONDS:g} s after its limit of {limit:g} s"


class Watch:
    """Ends this process where a run hangs: long after its limit, without coming to a step."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._timer: threading.Timer | None = None
        self._start()

    def see(self, progress: Progress) -> None:
        """Begin anew where the run waits for another process's: that is not its own time."""
        if not progress.epochs:
            self._start()

    def stop(self) -> None:
        """Let the process live on: the run has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        self.stop()
        limit = self._job.execution.time_limit
        if limit is not None:
            self._timer = threading.Timer(limit + OVERTIME_SECONDS, self._end)
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        ledger = Ledger(self._job.home)
        for one in self._job.all:
            ledger.recover(one.run)
            if ledger.status(one.run) not in TERMINAL:
                ledger.finish(one.run, "timed_out", None, too_late(self._job))
        os._exit(1)
