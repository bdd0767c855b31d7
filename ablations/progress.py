"""What a person sees on stderr while runs are made: a line that moves, or plain lines."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from ablations.launch.job import Job

if TYPE_CHECKING:
    from ablations.launch.pool import Event

_PLAIN_SECONDS = 20.0  # between plain lines; the first comes with the first pulse


class Board:
    """Counts runs done, running and left, with the accuracies now known and the time left.

    Of a launcher that has as many `slots` as it finds room for, 0 stands for those now in use.
    """

    def __init__(
        self,
        total: int,
        done: int,
        slots: int,
        expected: dict[str, float],
        stream: TextIO = sys.stderr,
    ) -> None:
        self._stream, self._slots, self._total, self._done = stream, slots, total, done
        self._expected = dict(expected)  # seconds per run, by arm
        self._failed = 0
        self._running: dict[int, tuple[Job, float, float, float | None]] = {}
        self._taken: dict[str, list[float]] = {}
        self._waiting: list[str] = []
        self._last = 0.0
        self._live: Any = None
        if stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=stream), refresh_per_second=2, transient=True)

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*details)

    def expect(self, jobs: list[Job]) -> None:
        """Say which trainings are still to come."""
        self._waiting = [job.arm for job in jobs]

    def see(self, event: Event) -> None:
        """Take an event into account and show the state."""
        now = time.monotonic()
        if isinstance(event.job, Job):
            if event.what == "started":
                self._running[event.slot] = (event.job, now, 0.0, None)
                self._waiting.remove(event.job.arm)
            elif event.what == "progress" and event.progress is not None:
                _, began, _, top1 = self._running[event.slot]
                share = event.progress.step / max(event.progress.steps, 1)
                latest = event.progress.top1 if event.progress.top1 is not None else top1
                self._running[event.slot] = (event.job, began, share, latest)
            elif event.what == "lost":
                self._running.pop(event.slot)
                self._waiting.insert(0, event.job.arm)
                self._print(f"{event.job.arm} seed {event.job.seed}: {event.message}")
            elif event.what == "ended":
                self._done += 1
                self._failed += event.status != "finished"
                if event.slot in self._running:  # once for all runs of a training
                    paying, began, _, _ = self._running.pop(event.slot)
                    self._taken.setdefault(paying.arm, []).append(now - began)
                self._say_ended(event, event.job)
        self._show(now)

    def _say_ended(self, event: Event, job: Job) -> None:
        if event.status == "finished" and event.value is not None:
            words = f"{event.value:.2f} %"
        else:
            words = f"{event.status}: {event.message}"
        self._print(f"[{self._done}/{self._total}] {job.arm} seed {job.seed}: {words}")

    def _show(self, now: float) -> None:
        words = self._summary(now)
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(words))
        elif now - self._last >= _PLAIN_SECONDS:
            self._print(words)
        else:
            return
        self._last = now

    def _summary(self, now: float) -> str:
        running = sum(len(job.all) for job, *_ in self._running.values())
        left = self._total - self._done - running
        failed = f", {self._failed} failed" if self._failed else ""
        known = self._taken or self._expected or any(one[2] > 0.1 for one in self._running.values())
        time_left = f", about {duration(self._seconds_left(now))} to go" if known else ""
        lines = [
            f"{self._done} of {self._total} runs done{failed}, {running} running,"
            f" {left} left{time_left}"
        ]
        for job, began, share, top1 in self._running.values():
            accuracy = f", minival {top1:.1f} %" if top1 is not None else ""
            lines.append(
                f"  {job.arm} seed {job.seed}: {share:.0%}, {duration(now - began)}{accuracy}"
            )
        return "\n".join(lines)

    def _seconds_left(self, now: float) -> float:
        known = [sum(taken) / len(taken) for taken in self._taken.values()]
        usual = sum(known) / len(known) if known else 0.0
        if not known and self._expected:
            usual = sum(self._expected.values()) / len(self._expected)
        total, longest = sum(self._seconds_of(arm, usual) for arm in self._waiting), 0.0
        for job, began, share, _ in self._running.values():
            whole = (now - began) / share if share > 0.1 else self._seconds_of(job.arm, usual)
            rest = max(whole - (now - began), 0.0)
            total, longest = total + rest, max(longest, rest)
        return max(total / max(self._slots or len(self._running), 1), longest)

    def _seconds_of(self, arm: str, usual: float) -> float:
        taken = self._taken.get(arm)
        return sum(taken) / len(taken) if taken else self._expected.get(arm, usual)

    def _print(self, words: str) -> None:
        if self._live is not None:
            self._live.console.print(words, markup=False, highlight=False)
        else:
            print(words, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Return a time as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
