"""A run's side of a Ray cluster: what a process of Ray's does on whichever node. Imports no ray."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ablations.launch.job import Ended, Job, perform
from ablations.ledger import TERMINAL, Ledger
from lightning_modules.execution import Progress

# Beyond a run's own time limit, which it keeps between two steps: what does not come to a next
# step by then is ended from outside.
OVERTIME_SECONDS = 60.0


class Blind(RuntimeError):
    """This node does not see the home that the study is kept in."""


def carry_out(job: Job, mark: Path, paths: Sequence[str]) -> list[Ended]:
    """Make the runs of a job, in a process that is kept for the next one.

    Args:
        job: what to make.
        mark: a file that is in the home as long as who gave the job lives.
        paths: where that one finds modules, the user's own among them.

    Raises:
        Blind: the file is not there, so nothing made here would reach the study.
    """
    if not sees(mark):
        raise Blind(f"{os.uname().nodename} does not see {mark.parent}")
    sys.path.extend(path for path in paths if path not in sys.path)
    # Ray cancels a task by SIGINT, which all processes of a cluster that a shell started in the
    # background ignore: its runs would go on until they are killed, recorded as running.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _settle()
    watch = _Watch(job)
    try:
        return perform(job, watch.see)
    finally:
        watch.stop()


def sees(mark: Path) -> bool:
    """Return whether a file is there, asking the file system and not what is remembered of it."""
    try:
        os.listdir(mark.parent)
    except FileNotFoundError:
        return False
    return mark.exists()


def is_able(mark: Path) -> bool:
    """Return whether this node sees the home; that it can train at all is tried on the way."""
    import lightning_modules.training  # noqa: F401

    return sees(mark)


@functools.cache
def _settle() -> None:
    """Do once what a local worker does as it starts; what it sets holds for torch, not yet here."""
    from lightning_modules.allocation import keep_freed_memory

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()


class _Watch:
    """Ends this process where a run hangs: long after its limit, without coming to a step."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._timer: threading.Timer | None = None
        self._start()

    def see(self, progress: Progress) -> None:
        if not progress.epochs:  # it waits for another process's run
            self._start()

    def stop(self) -> None:
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
        ledger, limit = Ledger(self._job.home), self._job.execution.time_limit or 0.0
        message = f"it did not end {OVERTIME_SECONDS:g} s after its limit of {limit:g} s"
        for one in self._job.all:
            ledger.recover(one.run)
            if ledger.status(one.run) not in TERMINAL:
                ledger.finish(one.run, "timed_out", None, message)
        os._exit(1)
