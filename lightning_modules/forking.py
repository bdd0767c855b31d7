"""Processes that are forked from one server, which imports torch once. Loads no torch itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from typing import Any


def fork_context(preload: Sequence[str]) -> Any:
    """Return the context of multiprocessing that forks processes; start its server if none runs.

    The server lives as long as this process.

    Args:
        preload: modules that a server which is started now imports.
    """
    # Set before torch reads it: spinning threads of several processes on shared cores cost up to
    # five times a run (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(preload))
    # Ctrl-C reaches the whole group: the server must not die of it, traceback and all, in the
    # seconds in which it imports. It inherits the block; its children ignore the signal anyway.
    resource_tracker.ensure_running()  # first: it lifts the block where it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made


def cause_of_death(code: int | None) -> str:
    """Return in words why a process ended, from its exit code."""
    if code == -signal.SIGKILL:
        return "killed, perhaps for want of memory"
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
