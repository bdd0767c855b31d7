"""What a launcher is: something that carries out jobs and says what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ablations.launch.job import Ended, Job, Measure, Observe
from ablations.launch.pace import Pace
from lightning_modules.execution import Progress

if TYPE_CHECKING:
    from lightning_modules.footprint import Footprint

Task = Job | Measure | Observe | Pace


@dataclass(frozen=True, kw_only=True)
class Event:
    """What becomes of a task: `ready`, `started`, `progress`, a last word, as `ended`; `pulse`.

    `lost` is a run whose worker died and that is to be started again.
    """

    what: str
    slot: int
    job: Task | None = None
    progress: Progress | None = None
    status: str = ""
    value: Any = None  # seconds of a measure, an observation, the accuracy of a run
    message: str = ""
    used: Footprint | None = None  # by a measure, an observation or a pace


def ended_events(slot: int, job: Job, ended: Sequence[Ended]) -> list[Event]:
    """Return the last words of a job: one event for every run that it has made."""
    return [
        Event(what="ended", slot=slot, job=one, status=status, value=value, message=message)
        for one, (status, value, message) in zip(job.all, ended, strict=True)
    ]


class Launcher(Protocol):
    """Where jobs are carried out. Used as a context; leaving it stops what still runs.

    The slots of its events tell apart what runs at the same time: a job keeps its slot from
    `started` to `ended`, of which there is one for every run that the job makes.
    """

    def __enter__(self) -> Launcher: ...

    def __exit__(self, *details: object) -> None: ...

    def run(self, jobs: Sequence[Job], at_most: int | None = None) -> Iterator[Event]:
        """Carry out the jobs in order, as room comes free, and yield what happens.

        Yields an event with `what` "pulse" about once a second, so that a display can move.

        Args:
            jobs: what to do; a run that another process is making is waited for.
            at_most: this many at the same time; None: as many as there is room for.
        """
        ...
