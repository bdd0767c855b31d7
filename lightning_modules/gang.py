"""One run on several devices: a process per device, and this one, which watches over them.

Lightning's DDPStrategy trains; who starts the processes, where they meet and what happens when one
of them fails is decided here. The caller's process takes no part in the training: so it is never
caught in an operation whose partner is gone, it can stop the others at any time, and nothing of
torch's process groups stays behind in a worker that goes on to other runs.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any

import torch

from lightning_modules.data import DataError, available_cores
from lightning_modules.execution import Execution, Progress, Result
from lightning_modules.forking import cause_of_death, fork_context
from lightning_modules.meeting import PATIENCE, Member
from lightning_modules.shares import check_divided
from recipes import RecipeError

_PRELOAD = ("lightning_modules.training",)
_LAST_WORDS = 3.0  # seconds in which the others may say what they have met, once one has failed
_LEAVING = 10.0  # seconds in which a member that has finished ends by itself
_NOT_STARTED = (
    "a process of this run could not start; what it said stands above. In a script of your own,"
    ' call fit() below `if __name__ == "__main__":`'
)


class MemberLost(RuntimeError):
    """One of the processes of a run died: the run can go on from its last checkpoint."""


# What makes a run in one of its processes: `training.train`.
Work = Callable[[Sequence[Any], int, Execution, Path, Member], list[Result]]


def conduct(
    work: Work,
    readings: Sequence[Any],
    seed: int,
    execution: Execution,
    folder: Path,
    patience: timedelta = PATIENCE,
) -> list[Result]:
    """Have `execution.devices` processes make a run together, and return what the first says.

    None of them waits longer than `patience` for another one.

    Raises:
        RecipeError: a batch cannot be divided over the devices, or they are not there.
        MemberLost: one of the processes died.
        BaseException: the first that was raised in any of them.
    """
    devices = execution.devices
    for reading in readings:
        check_divided(reading.recipe, devices)
    own = _own_executions(execution)
    context = fork_context(_PRELOAD)
    members: list[_Started] = []
    with tempfile.TemporaryDirectory(prefix="ablate-gang-") as meeting:
        try:
            for rank in range(devices):
                member = Member(
                    rank=rank,
                    devices=devices,
                    meeting=Path(meeting, "store"),
                    patience=patience,
                )
                members.append(_start(context, member, (work, readings, seed, own[rank], folder)))
            return _listen(members, execution.on_progress)
        finally:
            _end(members)


def prepare() -> None:
    """Let the server be started, and import, from which members are forked."""
    fork_context(_PRELOAD)


def _own_executions(execution: Execution) -> list[Execution]:
    """Return how each member carries out the run: on its own device, with its share of threads."""
    kind, _, first = execution.device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    count = execution.devices
    if kind not in ("cpu", "cuda"):
        raise RecipeError(f"devices = {count}: several devices are GPUs of NVIDIA or CPU processes")
    places = ["cpu"] * count
    if kind == "cuda":
        there, begin = torch.cuda.device_count(), int(first or 0)
        if begin + count > there:
            raise RecipeError(f"devices = {count}, from cuda:{begin} on: there are {there} GPUs")
        places = [f"cuda:{begin + rank}" for rank in range(count)]
    threads = max((execution.threads or available_cores()) // count, 1)
    return [
        dataclasses.replace(execution, device=place, threads=threads, on_progress=None)
        for place in places
    ]


@dataclass
class _Started:
    member: Member
    process: Any
    connection: Connection
    here: bool = False  # it has said so: what happens from now on is the run's doing
    ended: bool = False


def _start(context: Any, member: Member, task: tuple[Any, ...]) -> _Started:
    ours, theirs = context.Pipe()
    process = context.Process(target=_take_part, args=(theirs, member, task), daemon=True)
    try:
        process.start()
        theirs.close()
        for stream in (1, 2):  # this process's own output may be a run's log; the server's is not
            send_handle(ours, stream, process.pid)
    except (EOFError, ConnectionError):
        raise RuntimeError(_NOT_STARTED) from None
    return _Started(member=member, process=process, connection=ours)


def _listen(members: Sequence[_Started], tell: Callable[[Progress], None] | None) -> list[Result]:
    """Pass on what the members say, until all have finished or one has failed."""
    results: list[Result] = []
    faults: list[tuple[float, int, BaseException]] = []  # by the time at which they were met
    deadline: float | None = None
    while left := [one for one in members if not one.ended]:
        patience = None if deadline is None else deadline - time.monotonic()
        if patience is not None and patience <= 0:
            break
        ready = wait([one.connection for one in left], timeout=patience)
        for one in left:
            if one.connection not in ready:
                continue
            try:
                what, body = one.connection.recv()
            except (EOFError, ConnectionError):
                what, body = "died", None
            if what == "progress" and tell is not None:
                tell(body)
            one.here = True if what == "here" else one.here
            if what in ("progress", "here"):
                continue
            one.ended = True
            if what == "finished":
                results = results or body
            else:
                faults.append((0.0, one.member.rank, _death(one)) if what == "died" else body)
                deadline = deadline or time.monotonic() + _LAST_WORDS
    if faults:
        # A process that died could say nothing, and what the others met followed from it.
        raise min(faults, key=lambda fault: fault[:2])[2]
    return results


def _death(one: _Started) -> RuntimeError:
    one.process.join(_LEAVING)
    if not one.here:
        return RuntimeError(_NOT_STARTED)
    return MemberLost(
        f"process {one.member.rank + 1} of the {one.member.devices} of this run died"
        f" ({cause_of_death(one.process.exitcode)}); the others were stopped"
    )


def _end(members: Sequence[_Started]) -> None:
    """Leave no process behind: those that have finished end by themselves."""
    finished = bool(members) and all(one.ended for one in members)
    deadline = time.monotonic() + (_LEAVING if finished else 0.0)
    for one in members:
        one.process.join(max(deadline - time.monotonic(), 0.0))
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        one.connection.close()


def _take_part(connection: Connection, member: Member, task: tuple[Any, ...]) -> None:
    """Make a run as one of its processes, and say how that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (1, 2):
        handle = recv_handle(connection)
        os.dup2(handle, stream)
        os.close(handle)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    connection.send(("here", None))
    work, readings, seed, execution, folder = task
    if execution.device != "cpu":
        torch.cuda.set_device(execution.device)  # else what asks for no device takes the first
    if member.leads:
        execution = dataclasses.replace(
            execution, on_progress=lambda now: connection.send(("progress", now))
        )
    try:
        results = work(readings, seed, execution, folder, member)
    except BaseException as error:
        met = time.monotonic()  # the clock of all processes of a machine
        told = _portable(error)
        if not isinstance(error, RecipeError | DataError):  # of which the words are enough
            where = f"process {member.rank + 1} of {member.devices}"
            told.add_note(f"in {where}:\n{traceback.format_exc().rstrip()}")
        connection.send(("failed", (met, member.rank, told)))
        return
    connection.send(("finished", results))


def _die_with_parent() -> None:
    """End this process, wherever it is, when the one that watches over it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Return an exception that arrives in another process as the same, or says what it was."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
