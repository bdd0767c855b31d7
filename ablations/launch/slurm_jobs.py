"""What is known here of the jobs that SLURM has of ours, and of those that are followed."""

from __future__ import annotations

from dataclasses import dataclass

from ablations.launch.job import Job
from ablations.launch.submissions import Submission
from ablations.leases import Claim, Lease


@dataclass
class Placed:
    """A job of ours, and where it is."""

    slot: int
    job: Job
    submission: Submission | None = None
    place: int = 0
    begun: bool = False  # by the queue or the ledger, since it was submitted
    running: bool = False  # as it was told
    start: str = ""  # when it began running, as SLURM says
    left: float | None = None  # of `time.monotonic`: since when it is not in the queue
    last: str = ""  # the state in which it left, which SLURM soon forgets
    losses: int = 0
    step: int = -1  # of the newest checkpoint when it was last lost
    returns: int = 0
    ended: bool = False

    @property
    def task(self) -> str:
        """Return SLURM's number of the job; empty: it is not submitted."""
        return "" if self.submission is None else self.submission.task(self.place)


@dataclass
class Follow:
    """A submission that is followed; leaving stops it only where this process holds it."""

    submission: Submission
    claim: Claim
    lease: Lease | None
    at_once: int = 0  # that it may run, as SLURM was told last
