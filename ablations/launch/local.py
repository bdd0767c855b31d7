"""Runs on this machine: one warm worker process per slot, taking run after run.

Workers are forked from a `server` that has imported torch once; they keep their imports and caches
between runs. A worker that dies is replaced, and its run recorded as failed. Longer than most: both
ends of one protocol, parent and worker, are here.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from ablations.errors import RequestError
from ablations.launch import server
from ablations.launch.job import Ended, Job, Measure, Observe, Stopped, estimate, look, perform
from ablations.launch.pace import Pace, keep_pace
from ablations.launch.pool import Event, Task
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Run
from lightning_modules.data.errors import DataError
from lightning_modules.execution import Progress
from lightning_modules.forking import cause_of_death as _cause
from recipes import RecipeError

if TYPE_CHECKING:
    from lightning_modules.footprint import Footprint

_ANSWERS: dict[type, str] = {Measure: "measured", Observe: "observed", Pace: "paced"}
_LAST_WORDS = ("ended", *_ANSWERS.values())  # after which a worker is free
_GRACE_SECONDS = 20.0  # for workers to record their run as interrupted


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Task | None = None
    ready: bool = False  # it has said so: what happens from now on is its job's doing


class LocalPool:
    """A fixed number of workers, used as a context; leaving it stops them.

    Where a run has several devices (`each`), its worker starts a process for each of them.
    """

    def __init__(
        self, slots: int, devices: Sequence[str], threads: int, *, track: bool, each: int = 1
    ) -> None:
        self._devices, self._threads, self._track = devices, threads, track
        self._each = each
        self._count = slots  # to begin with
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalPool:
        self._context = server.context(threads=self._threads, track=self._track)
        try:
            for slot in range(self._count):
                self._workers.append(self._start(slot))
        except BaseException:  # else this process would wait for those that are no daemons
            self.__exit__()
            raise
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

    @property
    def slots(self) -> int:
        """Return how many workers there are."""
        return len(self._workers)

    def resize(self, slots: int, threads: int) -> None:
        """Have so many workers, of so many threads, from the next tasks on. None is at work now."""
        self._threads = threads
        for worker in self._workers[slots:]:
            _send(worker.connection, None)
        for worker in self._workers[slots:]:
            worker.process.join()
            worker.connection.close()
        del self._workers[slots:]
        for slot in range(len(self._workers), slots):
            self._workers.append(self._start(slot))

    def run(self, jobs: Sequence[Task], at_most: int | None = None) -> Iterator[Event]:
        """Carry out the jobs in order, as slots come free, and yield what happens.

        Yields an event with `what` "pulse" about once a second, so that a display can move.

        Args:
            jobs: what to do.
            at_most: this many at the same time; None: as many as there are workers.
        """
        waiting = list(jobs)
        left = len(waiting)
        for slot in range(len(self._workers))[:at_most]:
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
            device = self._devices[slot % len(self._devices)]
            execution = dataclasses.replace(
                worker.job.execution, device=device, threads=self._threads
            )
            _send(worker.connection, dataclasses.replace(worker.job, execution=execution))
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
        what = _ANSWERS.get(type(job), "ended")
        return _told(what if job is not None else "ready", slot, job, ended)

    def _start(self, slot: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        alone = self._each == 1  # daemons may not start processes
        process = self._context.Process(target=_work, args=(theirs, not alone), daemon=alone)
        server.started(process)
        theirs.close()
        return _Worker(process=process, connection=ours)


def _told(what: str, slot: int, job: Task | None, ended: Sequence[Any]) -> list[Event]:
    """Return an event for every run of a job, or the one of another task."""
    each = job.all if isinstance(job, Job) else [job]
    return [
        Event(
            what=what,
            slot=slot,
            job=one,
            status=status,
            value=value,
            message=message,
            used=used[0] if used else None,
        )
        for one, (status, value, message, *used) in zip(each, ended, strict=True)
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


def _work(connection: Connection, conducts: bool) -> None:
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
    _send(connection, ("ready", None))

    def tell(progress: Progress) -> None:
        if not _send(connection, ("progress", progress)):
            raise Stopped  # nobody is left to report to

    works: dict[type, Callable[[Any], Any]] = {Measure: estimate, Observe: look, Pace: keep_pace}
    try:
        while True:
            job = connection.recv()
            if job is None:
                return
            if isinstance(job, Job):
                _send(connection, ("ended", perform(job, tell)))
            else:
                answer = _tried(works[type(job)], job, before)
                _send(connection, (_ANSWERS[type(job)], answer))
    except (EOFError, Stopped):
        return


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


def _send(connection: Connection, message: Any) -> bool:
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionError, OSError):
        return False
    return True
