"""Runs on this machine: one warm worker process per slot, taking run after run.

Workers are forked from a server that has imported torch once, before any thread or GPU context
exists; they keep their imports and caches between runs. A worker that dies is replaced, and its
run recorded as failed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from ablations.errors import RequestError
from ablations.launch.job import Ended, Job, Measure, Observe, Stopped, estimate, look, perform
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Run
from lightning_modules.data.errors import DataError
from lightning_modules.execution import Progress
from recipes import RecipeError

_PRELOAD = [
    "lightning_modules.training",
    "lightning_modules.speed",
    "lightning_modules.probe",
    "ablations.launch.job",
]
_LAST_WORDS = ("ended", "measured", "observed")  # after which a worker is free
_GRACE_SECONDS = 20.0  # for workers to record their run as interrupted


Task = Job | Measure | Observe


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a worker says: `ready`, `started`, `progress`, `measured`, `observed` or `ended`."""

    what: str
    slot: int
    job: Task | None = None
    progress: Progress | None = None
    status: str = ""
    value: Any = None  # seconds of a measure, an observation, the accuracy of a run
    message: str = ""


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Task | None = None
    ready: bool = False  # it has said so: what happens from now on is its job's doing


class LocalPool:
    """A fixed number of workers, used as a context; leaving it stops them."""

    def __init__(self, slots: int, devices: Sequence[str], threads: int, *, track: bool) -> None:
        self._devices, self._threads = devices, threads
        # Set before the server starts, so before torch reads them: spinning threads of several
        # workers on shared cores cost up to five times a run (measured).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD + (["wandb"] if track else []))
        self._slots = slots
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalPool:
        # Ctrl-C reaches the whole group: the server must not die of it, traceback and all, in the
        # seconds in which it imports. It inherits the block; its workers ignore the signal anyway.
        resource_tracker.ensure_running()  # first: it lifts the block where it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for slot in range(self._slots):
            self._workers.append(self._start(slot))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.job is not None and worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGTERM)
            else:
                _send(worker.connection, None)
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0.1))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()

    def run(self, jobs: Sequence[Task]) -> Iterator[Event]:
        """Carry out the jobs in order, as slots come free, and yield what happens.

        Yields an event with `what` "pulse" about once a second, so that a display can move.
        """
        waiting = list(jobs)
        left = len(waiting)
        for slot in range(len(self._workers)):
            yield from self._hand_out(slot, waiting)
        while left:
            ready = wait([worker.connection for worker in self._workers], timeout=1.0)
            if not ready:
                yield Event(what="pulse", slot=-1)
            for slot, worker in enumerate(self._workers):
                if worker.connection not in ready:
                    continue
                events = self._receive(slot)
                yield from events
                if events[-1].what in _LAST_WORDS:
                    left -= 1
                    yield from self._hand_out(slot, waiting)

    def _hand_out(self, slot: int, waiting: list[Task]) -> Iterator[Event]:
        worker = self._workers[slot]
        if waiting and worker.job is None:
            worker.job = waiting.pop(0)
            _send(worker.connection, worker.job)
            yield Event(what="started", slot=slot, job=worker.job)

    def _receive(self, slot: int) -> list[Event]:
        """Return what a worker says: one event, or one for every run that it has made."""
        worker = self._workers[slot]
        job = worker.job
        try:
            what, body = worker.connection.recv()
        except (EOFError, ConnectionError, OSError):
            return self._replace(slot)
        if what == "progress":
            return [Event(what=what, slot=slot, job=job, progress=body)]
        if what in _LAST_WORDS:
            worker.job = None
            return _told(what, slot, job, body if isinstance(job, Job) else [body])
        worker.ready = True
        return [Event(what=what, slot=slot)]

    def _replace(self, slot: int) -> list[Event]:
        worker = self._workers[slot]
        worker.process.join()
        code = worker.process.exitcode
        worker.connection.close()
        if not worker.ready:
            raise RequestError(
                f"a worker process could not start ({_cause(code)}); what it said stands above."
                " From Python, keep the script in a file, and call run() below"
                ' `if __name__ == "__main__":`'
            )
        message = f"its worker died ({_cause(code)})"
        job = worker.job
        ended: list[Any] = [("failed", None, message)]
        if isinstance(job, Job):
            ended = [_left_by(one, message) for one in job.all]
        self._workers[slot] = self._start(slot)
        what = {Measure: "measured", Observe: "observed"}.get(type(job), "ended")
        return _told(what if job is not None else "ready", slot, job, ended)

    def _start(self, slot: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        device = self._devices[slot % len(self._devices)]
        process = self._context.Process(
            target=_work, args=(theirs, device, self._threads), daemon=True
        )
        try:
            process.start()
        except (EOFError, ConnectionError):
            raise RequestError(
                "the process that starts the workers died while it imported torch; what it said"
                " stands above"
            ) from None
        theirs.close()
        return _Worker(process=process, connection=ours)


def _told(what: str, slot: int, job: Task | None, ended: Sequence[Any]) -> list[Event]:
    """Return an event for every run of a job, or the one of another task."""
    each = job.all if isinstance(job, Job) else [job]
    return [
        Event(what=what, slot=slot, job=one, status=status, value=value, message=message)
        for one, (status, value, message) in zip(each, ended, strict=True)
    ]


def _left_by(job: Job, message: str) -> Ended:
    """Return how a run ended whose worker died, and record it where nobody has."""
    ledger = Ledger(job.home)
    known = ledger.outcome(Run(id=job.run, arm=job.arm, seed=job.seed))
    if known.status in TERMINAL:  # it died after its run had ended
        return known.status, known.value, known.error
    if not ledger.is_held(job.run):  # else it died waiting for another process's run
        ledger.finish(job.run, "failed", None, message)
    return "failed", None, message


def _work(connection: Connection, device: str, threads: int) -> None:
    """Take jobs from the parent until it says stop or is gone."""
    import dataclasses

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    signal.signal(signal.SIGTERM, _stop)
    gc.freeze()  # what was imported stays: collecting between runs need not look at it
    _send(connection, ("ready", None))

    def tell(progress: Progress) -> None:
        if not _send(connection, ("progress", progress)):
            raise Stopped  # nobody is left to report to

    try:
        while True:
            job = connection.recv()
            if job is None:
                return
            execution = dataclasses.replace(job.execution, device=device, threads=threads)
            ready = dataclasses.replace(job, execution=execution)
            if isinstance(ready, Measure):
                _send(connection, ("measured", _tried(estimate, ready)))
            elif isinstance(ready, Observe):
                _send(connection, ("observed", _tried(look, ready)))
            else:
                _send(connection, ("ended", perform(ready, tell)))
    except (EOFError, Stopped):
        return


def _tried(work: Callable[[Any], Any], task: Task) -> tuple[str, Any, str]:
    try:
        return "finished", work(task), ""
    except (RecipeError, DataError) as error:
        return "failed", None, str(error)
    except Exception as error:
        return "failed", None, f"{type(error).__name__}: {error}"


def _stop(*_: object) -> None:
    raise Stopped


def _send(connection: Connection, message: Any) -> bool:
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionError, OSError):
        return False
    return True


def _cause(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "killed, perhaps for want of memory"
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
