"""A run's side of a Ray cluster: what a process of Ray's does on whichever node. Imports no ray."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ablations.launch.job import Ended, Job, perform
from ablations.launch.watch import Watch


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
    watch = Watch(job)
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
