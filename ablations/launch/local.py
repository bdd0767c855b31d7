"""Runs on this machine: one warm worker process per slot, taking run after run.

Workers are forked from a `server` that has imported torch once; they keep their imports and caches
between runs. A worker that dies is replaced and its run made again, once: from its last checkpoint,
by whoever is free. Dies the next one too, the run is recorded as failed. Longer than most: all that
can become of a worker is read in one place.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.launch import server
from ablations.launch.job import Job, left_by
from ablations.launch.pool import Event, Task, ended_events
from ablations.launch.watch import OVERTIME_SECONDS, too_late
from ablations.launch.worker import ANSWERS, send, work
from lightning_modules.forking import cause_of_death as _cause

_LAST_WORDS = ("ended", *ANSWERS.values())  # after which a worker is free
_GRACE_SECONDS = 20.0  # for workers to record their run as interrupted
_ATTEMPTS = 2  # of a run whose worker dies


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Task | None = None
    ready: bool = False  # it has said so: what happens from now on is its job's doing
    deadline: float = float("inf")  # of `time.monotonic`; its job must have ended by then
    late: bool = False  # it was stopped for that
    kills: int = 0  # processes that the system had killed for want of memory as its job began


class LocalPool:
    """A fixed number of workers, used as a context; leaving it stops them.

    Where a run has several devices (`each`), its worker starts a process for each of them.
    """

    def __init__(self, slots: int, devices: Sequence[str], threads: int, *, each: int = 1) -> None:
        self._devices, self._threads = devices, threads
        self._each = each
        self._count = slots  # to begin with
        self._workers: list[_Worker] = []
        self._waiting: list[Task] = []
        self._deaths: Counter[str] = Counter()  # of workers, by the run that they were making

    def __enter__(self) -> LocalPool:
        self._context = server.context(threads=self._threads)
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
                send(worker.connection, None)
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
            send(worker.connection, None)
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
        self._waiting = list(jobs)
        left = len(self._waiting)
        for slot in range(len(self._workers))[:at_most]:
            yield from self._hand_out(slot)
        while left:
            self._stop_late_ones()
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
                if events[-1].what in (*_LAST_WORDS, "lost"):
                    yield from self._hand_out(slot)

    def _hand_out(self, slot: int) -> Iterator[Event]:
        worker = self._workers[slot]
        if self._waiting and worker.job is None:
            worker.job = self._waiting.pop(0)
            device = self._devices[slot % len(self._devices)]
            execution = dataclasses.replace(
                worker.job.execution, device=device, threads=self._threads
            )
            worker.kills = _killed_for_memory()
            self._give_time(worker)
            send(worker.connection, dataclasses.replace(worker.job, execution=execution))
            yield Event(what="started", slot=slot, job=worker.job)

    def _give_time(self, worker: _Worker) -> None:
        limit = worker.job.execution.time_limit if isinstance(worker.job, Job) else None
        if limit is not None:
            worker.deadline = time.monotonic() + limit + OVERTIME_SECONDS

    def _stop_late_ones(self) -> None:
        for worker in self._workers:
            if worker.job is not None and time.monotonic() > worker.deadline:
                worker.late, worker.deadline = True, float("inf")
                worker.process.kill()

    def _receive(self, slot: int) -> list[Event]:
        """Return what a worker says: one event, or one for every run that it has made."""
        worker = self._workers[slot]
        job = worker.job
        try:
            what, body = worker.connection.recv()
        except (EOFError, ConnectionError, OSError):
            return self._replace(slot)
        if what == "progress":
            if not body.epochs:  # it waits for another process's run
                self._give_time(worker)
            return [Event(what=what, slot=slot, job=job, progress=body)]
        if what in _LAST_WORDS:
            worker.job, worker.deadline = None, float("inf")
            if isinstance(job, Job):
                return ended_events(slot, job, body)
            return [_told(what, slot, job, body)]
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
        self._workers[slot] = self._start(slot)
        job = worker.job
        if not isinstance(job, Job):
            what = "ready" if job is None else ANSWERS[type(job)]
            return [_told(what, slot, job, ("failed", None, f"its worker died ({_cause(code)})"))]
        self._deaths[job.run] += 1
        if self._deaths[job.run] < _ATTEMPTS and not worker.late:
            self._waiting.insert(0, job)
            message = f"its worker died ({_cause(code)}); going on from its last checkpoint"
            return [Event(what="lost", slot=slot, job=job, message=message)]
        status, message = "failed", f"its worker died twice ({_cause(code)})"
        if worker.late:
            status, message = "timed_out", too_late(job)
        elif code == -signal.SIGKILL and _killed_for_memory() > worker.kills:
            status, message = "out_of_memory", "the system killed its worker for want of memory"
        return ended_events(slot, job, [left_by(one, status, message) for one in job.all])

    def _start(self, slot: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        alone = self._each == 1  # daemons may not start processes
        process = self._context.Process(target=work, args=(theirs, not alone), daemon=alone)
        server.started(process)
        theirs.close()
        return _Worker(process=process, connection=ours)


def _told(what: str, slot: int, task: Task | None, answer: Sequence[Any]) -> Event:
    """Return the last word of a task that is not a run."""
    status, value, message, *used = answer
    return Event(
        what=what,
        slot=slot,
        job=task,
        status=status,
        value=value,
        message=message,
        used=used[0] if used else None,
    )


def _killed_for_memory() -> int:
    """Return how many processes this system has killed for want of memory; 0: it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
