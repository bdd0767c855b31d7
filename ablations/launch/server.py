"""The process that imports torch once: every worker is forked from it.

It starts when the first worker is wanted, before any thread or GPU context exists, and lives as
long as this process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ablations.errors import RequestError
from lightning_modules.forking import fork_context

_PRELOAD = [
    "lightning_modules.training",
    "lightning_modules.speed",
    "lightning_modules.probe",
    "ablations.launch.job",
]


def context(*, threads: int = 1) -> Any:
    """Return the context of multiprocessing that forks workers; start the server where none runs.

    Args:
        threads: of torch in a worker, until it is told another number.
    """
    # Set before the server starts, so before torch reads it.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return fork_context(_PRELOAD)


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


def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function says in a process of its own that has torch; this one needs none.

    Raises:
        RequestError: that process died.
        Exception: what the function raised.
    """
    made = context()
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
