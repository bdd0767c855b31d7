"""What a job of SLURM runs, as `python -P -m ablations.launch.slurm_node ... FOLDER`.

submitit's batch script calls this in place of submitit's own entry, which would unpickle what lies
in the folder, and whose signals end a run without recording it. The words before the last are
submitit's, and are not read.

A job that is told to stop, as before its time is over or for a more urgent one, records its runs as
interrupted and goes back into the queue, to go on from its last checkpoint; not where a person
cancelled it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ablations.errors import RequestError
from ablations.launch import slurm_queue as queue
from ablations.launch.job import Job, Stopped, left_by, newest_step, perform
from ablations.launch.submissions import NotPrivate, read_job
from ablations.launch.watch import Watch
from ablations.ledger import Ledger
from lightning_modules.files import read_json, write_json
from recipes import RecipeError

STOP_SIGNAL = "USR2"  # before the limit of a job; not USR1, which NCCL may take
_FILES_SECONDS = 90.0  # until a shared file system shows what was just written
_MOST_IDLE = 20  # stops in a row without a checkpoint more: the jobs are too short
_MOST_STARTS = 1000  # of one job, whatever else


def main(arguments: list[str]) -> int:
    """Make the runs of this job and return its exit code."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    # Not SLURM_JOB_ID where there is an array: one of its jobs has the number of the whole.
    number = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    place = int(task or 0)
    starts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    folder = Path(arguments[-1])
    job: Job | None = None
    before = -1
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(getattr(signal, f"SIG{STOP_SIGNAL}"), _stop)
        job = _wait_for(folder, place)
        before = newest_step(job, Ledger(job.home))
        if job.execution.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(job.execution.threads)  # before torch reads it
        watch = Watch(job)
        try:
            ended = perform(job, watch.see)
        finally:
            watch.stop()
        for status, value, message in ended:
            print("ablate:", status, "" if value is None else value, message, flush=True)
    except (NotPrivate, OSError, RequestError, RecipeError) as error:
        print(f"ablate: {error}", file=sys.stderr, flush=True)
        return 2
    except (Stopped, KeyboardInterrupt):
        _ignore_signals()  # a second one must not end what follows
        if job is not None and _too_short(folder, place, job, before):
            return 1
        return 0 if starts < _MOST_STARTS and _go_back(number) else 1
    return 0


def _wait_for(folder: Path, place: int) -> Job:
    """Return the job, with its user's places of modules."""
    deadline = time.monotonic() + _FILES_SECONDS
    while True:
        try:
            job, places = read_job(folder, place)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
            continue
        sys.path += [one for one in places if one not in sys.path]
        return job


def _go_back(number: str) -> bool:
    """Put this job back into the queue if SLURM is not ending it; return whether all is well."""
    try:
        state = queue.state_of(number)
        if state != "RUNNING":  # it was cancelled, or put back, or its time is over
            print(f"ablate: told to stop; SLURM says {state or 'nothing'}", flush=True)
            return True
        print("ablate: told to stop; going back into the queue", flush=True)
        queue.requeue(number)
    except queue.QueueError as error:
        print(f"ablate: not put back into the queue: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _too_short(folder: Path, place: int, job: Job, before: int) -> bool:
    """Record the runs as failed where many jobs in a row came no checkpoint further."""
    path = folder / f"stops-{place}.json"
    if newest_step(job, Ledger(job.home)) > before:
        path.unlink(missing_ok=True)
        return False
    try:
        stops = int((read_json(path) or {"stops": 0})["stops"]) + 1
    except (ValueError, KeyError, TypeError):
        stops = 1
    write_json(path, {"stops": stops})
    if stops < _MOST_IDLE:
        return False
    message = (
        f"stopped {stops} times in a row before its next checkpoint: give its jobs more time"
        " (--slurm-time), or checkpoint more often (--checkpoint-every)"
    )
    for one in job.all:
        left_by(one, "failed", message)
    return True


def _stop(*_: object) -> None:
    _ignore_signals()
    raise Stopped


def _ignore_signals() -> None:
    for name in ("TERM", STOP_SIGNAL, "INT"):
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
