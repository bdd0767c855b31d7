"""The worker's end of a local pool: takes task after task and says how each ended."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ablations.errors import RequestError
from ablations.launch.job import (
    Ended,
    Job,
    Measure,
    Observe,
    Stopped,
    estimate,
    look,
    perform,
)
from ablations.launch.pace import Pace, keep_pace
from lightning_modules.data.errors import DataError
from lightning_modules.execution import Progress
from recipes import RecipeError

if TYPE_CHECKING:
    from lightning_modules.footprint import Footprint

ANSWERS: dict[type, str] = {Measure: "measured", Observe: "observed", Pace: "paced"}


def work(connection: Connection, conducts: bool) -> None:
    """Take jobs from the parent until it says stop or is gone.

    Args:
        connection: to the parent.
        conducts: whether it makes its runs by processes that it starts.
    """
    from lightning_modules.allocation import keep_freed_memory
    from lightning_modules.cost import resident_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    signal.signal(signal.SIGTERM, _stop)
    keep_freed_memory()
    gc.freeze()  # what was imported stays: collecting between runs need not look at it
    before = resident_memory()
    if conducts:
        from lightning_modules.gang import prepare

        prepare()
    send(connection, ("ready", None))

    def tell(progress: Progress) -> None:
        if not send(connection, ("progress", progress)):
            raise Stopped  # nobody is left to report to

    works: dict[type, Callable[[Any], Any]] = {Measure: estimate, Observe: look, Pace: keep_pace}
    try:
        while True:
            job = connection.recv()
            if job is None:
                return
            if isinstance(job, Job):
                send(connection, ("ended", made(job, tell)))
            else:
                answer = _tried(works[type(job)], job, before)
                send(connection, (ANSWERS[type(job)], answer))
    except (EOFError, Stopped):
        return


def made(job: Job, tell: Callable[[Progress], None]) -> list[Ended]:
    """Make the runs of a job; one that cannot be recorded ends so, and the worker lives on."""
    try:
        return perform(job, tell)
    except (OSError, RequestError) as error:
        return [("failed", None, f"it could not be recorded: {error}") for _ in job.all]


def _tried(
    work: Callable[[Any], Any], task: Any, before: int
) -> tuple[str, Any, str, Footprint | None]:
    """Return the outcome of a task that is not a run, and the memory that it took."""
    import torch

    from lightning_modules.cost import footprint, reset_peak_memory
    from lightning_modules.training import torch_device

    host = torch.device("cpu")
    device = host if isinstance(task, Observe) else torch_device(task.execution.device)
    for one in {host, device}:
        reset_peak_memory(one)
    try:
        return "finished", work(task), "", footprint(device, before)
    except (RecipeError, DataError) as error:
        return "failed", None, str(error), None
    except Exception as error:
        return "failed", None, f"{type(error).__name__}: {error}", None


def _stop(*_: object) -> None:
    raise Stopped


def send(connection: Connection, message: Any) -> bool:
    """Say something; return whether somebody is left to hear it."""
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionError, OSError):
        return False
    return True
