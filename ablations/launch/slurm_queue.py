"""What SLURM says of jobs, and what it is told: squeue, scontrol and scancel.

Without a database daemon SLURM forgets a job minutes after its end, and `sacct` is not there: so
nothing here needs it. Commands are lists of words; none passes through a shell.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_PATIENCE_SECONDS = 60.0
_AT_ONCE = 200  # jobs that a command names
# States in which a job has not begun, or is on its way: all others are its end.
PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
UNDERWAY = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT"}
    | {"STOPPED", "RESV_DEL_HOLD"}
)


class QueueError(Exception):
    """SLURM did not answer, or refused."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What SLURM says of a job."""

    state: str
    reason: str
    start: str  # when it began last


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is known of a cluster."""

    name: str
    longest_array: int


def cluster() -> Cluster:
    """Return the cluster that commands here speak to.

    Raises:
        QueueError: it does not answer.
    """
    text = _said("scontrol", "show", "config")
    found = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", text, re.MULTILINE))
    longest = found.get("MaxArraySize", "")
    return Cluster(
        name=found.get("ClusterName", ""),
        longest_array=int(longest) if longest.isdecimal() and int(longest) else 1,
    )


def check(flags: Mapping[str, str]) -> None:
    """Let SLURM look whether it would take a job that asks for this; none is submitted.

    Raises:
        QueueError: it would not.
    """
    words = [f"--{name}={value}" for name, value in flags.items()]
    _said("sbatch", "--test-only", *words, "--wrap=true")


def look(names: Iterable[str]) -> dict[str, Seen]:
    """Return what SLURM says of this user's jobs of these names, by job, ended ones for a while.

    Raises:
        QueueError: it does not answer.
    """
    asked = sorted(set(names))
    found: dict[str, Seen] = {}
    for first in range(0, len(asked), _AT_ONCE):
        part = asked[first : first + _AT_ONCE]
        text = _said(
            "squeue",
            "--noheader",
            "--array",
            "--states=all",
            f"--user={os.geteuid()}",
            f"--name={','.join(part)}",
            "--format=%i|%T|%r|%S|%j",
        )
        for line in text.splitlines():
            number, state, reason, begin, name = (word.strip() for word in line.split("|", 4))
            if name in part:
                found[number] = Seen(state=state, reason=reason, start=begin)
    return found


def array_of(name: str) -> int | None:
    """Return the number of the jobs of a name; None: there are none.

    Raises:
        QueueError: SLURM does not answer.
    """
    numbers = {int(number.partition("_")[0]) for number in look([name])}
    return max(numbers, default=None)


def cancel(name: str, tasks: Sequence[str]) -> None:
    """Cancel jobs, if they are still of this name; without numbers all of this name.

    Raises:
        QueueError: SLURM does not answer.
    """
    for start in range(0, max(len(tasks), 1), _AT_ONCE):
        _said("scancel", f"--name={name}", *tasks[start : start + _AT_ONCE])


def throttle(array: int, at_once: int) -> None:
    """Let so many jobs of an array run at the same time.

    Raises:
        QueueError: SLURM does not answer, or the array has ended.
    """
    _said("scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={at_once}")


def state_of(task: str) -> str:
    """Return the state of a job; empty: it is not known.

    Raises:
        QueueError: SLURM does not answer.
    """
    found = re.search(r"\bJobState=(\w+)", _said("scontrol", "show", "job", task))
    return found[1] if found else ""


def requeue(task: str) -> None:
    """Put a job back into the queue; what it runs is ended.

    Raises:
        QueueError: SLURM does not answer, or this cluster does not do so.
    """
    _said("scontrol", "requeue", task)


def _said(*words: str) -> str:
    # A person's own habits, as SQUEUE_STATES, would change what is asked.
    habits = ("SQUEUE_", "SCANCEL_", "SCONTROL_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(habits)}
    try:
        done = subprocess.run(
            words,
            env=kept | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise QueueError(f"{words[0]} did not answer within {_PATIENCE_SECONDS:g} s") from None
    except OSError as error:
        raise QueueError(f"{words[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise QueueError(f"{words[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout
