"""The process that imports torch once: every worker is forked from it.

It starts when the first worker is wanted, before any thread or GPU context exists, and lives as
long as this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from ablations.errors import RequestError

_PRELOAD = [
    "lightning_modules.training",
    "lightning_modules.speed",
    "lightning_modules.probe",
    "ablations.launch.job",
]


def context(*, threads: int = 1, track: bool = False) -> Any:
    """Return the context of multiprocessing that forks workers; start the server where none runs.

    Args:
        threads: of torch in a worker, until it is told another number.
        track: whether runs are shown in W&B, whose client is then imported too.
    """
    # Set before the server starts, so before torch reads them: spinning threads of several
    # workers on shared cores cost up to five times a run (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(_PRELOAD + (["wandb"] if track else []))
    # Ctrl-C reaches the whole group: the server must not die of it, traceback and all, in the
    # seconds in which it imports. It inherits the block; its workers ignore the signal anyway.
    resource_tracker.ensure_running()  # first: it lifts the block where it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made


def started(process: Any) -> Any:
    """Start a process of the context and return it.

    Raises:
        RequestError: the server died.
    """
    try:
        process.start()
    except (EOFError, ConnectionError):
        raise RequestError(
            "the process that starts the workers died while it imported torch; what it said"
            " stands above"
        ) from None
    return process


def ask(function: Callable[..., Any], *arguments: Any, track: bool = False) -> Any:
    """Return what a function says in a process of its own that has torch; this one needs none.

    Raises:
        RequestError: that process died.
        Exception: what the function raised.
    """
    made = context(track=track)
    ours, theirs = made.Pipe(duplex=False)
    process = started(made.Process(target=_answer, args=(theirs, function, arguments), daemon=True))
    theirs.close()
    try:
        answer, error = ours.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise RequestError(
            f"a worker process ended (exit code {process.exitcode}); what it said stands above"
        ) from None
    process.join()
    if error is not None:
        raise error
    return answer


def _answer(
    connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the workers do: the parent decides
    try:
        answer, error = function(*arguments), None
    except Exception as raised:
        answer, error = None, raised
    connection.send((answer, error))
