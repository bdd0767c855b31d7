from __future__ import annotations

import io
from pathlib import Path

import pytest

from ablations.launch.job import Job
from ablations.launch.pool import Event
from ablations.progress import Board, duration
from lightning_modules import Execution, Progress
from recipes import load


def job(arm: str, seed: int = 0) -> Job:
    return Job(
        run=f"{arm}{seed}",
        arm=arm,
        seed=seed,
        recipe=load("tiny"),
        data="digits",
        home=Path("home"),
        execution=Execution(),
    )


def half(top1: float | None) -> Progress:
    return Progress(step=50, steps=100, epoch=5, epochs=10, top1=top1, loss=1.0)


class Shown:
    """A board of six runs, one of them done before, with plain lines."""

    def __init__(self, expected: dict[str, float] | None = None) -> None:
        self.stream = io.StringIO()
        known = {"base": 100.0, "ls": 200.0} if expected is None else expected
        self.jobs = [job("base"), job("ls"), job("base", 1), job("ls", 1), job("base", 2)]
        self.board = Board(6, 1, 2, known, self.stream)
        self.board.expect(self.jobs)

    def see(self, what: str, number: int, slot: int = 0, **more: object) -> str:
        """Show one event and return the lines that it added."""
        before = len(self.stream.getvalue())
        with self.board:
            self.board.see(Event(what=what, slot=slot, job=self.jobs[number], **more))  # type: ignore[arg-type]
        return self.stream.getvalue()[before:]


def test_the_first_event_shows_counts_and_time_left() -> None:
    line = Shown().see("started", 0).splitlines()
    # 100 + (200 + 100 + 200 + 100) seconds in two slots
    assert line[0] == "1 of 6 runs done, 1 running, 4 left, about 6 min to go"
    assert line[1] == "  base seed 0: 0%, 0 s"


def test_an_end_is_one_line_with_its_accuracy() -> None:
    shown = Shown()
    shown.see("started", 0)
    line = shown.see("ended", 0, status="finished", value=91.234)
    assert line == "[2/6] base seed 0: 91.23 %\n"


def test_a_failure_is_one_line_with_its_reason_and_is_counted() -> None:
    shown = Shown()
    shown.see("started", 0)
    line = shown.see("ended", 0, status="failed", message="RuntimeError: boom (log.txt)")
    assert line == "[2/6] base seed 0: failed: RuntimeError: boom (log.txt)\n"
    shown.see("started", 1)
    assert "2 of 6 runs done, 1 failed, 1 running, 3 left" in shown.board._summary(0.0)


def test_plain_lines_do_not_flood() -> None:
    shown = Shown()
    shown.see("started", 0)
    assert shown.see("started", 1, slot=1) == ""
    for _ in range(100):
        assert shown.see("progress", 0, progress=half(50.0)) == ""
        shown.board.see(Event(what="pulse", slot=-1))
    assert len(shown.stream.getvalue().splitlines()) == 2


def test_a_running_run_tells_how_far_it_is_and_its_latest_accuracy() -> None:
    shown = Shown()
    shown.see("started", 0)
    began = shown.board._running[0][1]
    shown.see("progress", 0, progress=half(88.04))
    shown.see("progress", 0, progress=half(None))  # between evaluations
    assert "  base seed 0: 50%, 10 s, minival 88.0 %" in shown.board._summary(began + 10)


def test_time_left_follows_what_was_measured() -> None:
    shown = Shown(expected={})
    assert "to go" not in shown.see("started", 0)  # nothing is known yet
    began = shown.board._running[0][1]
    shown.see("progress", 0, progress=half(None))
    # Half of the run in 10 s: 10 s more, which no second slot can share; nothing known of others.
    assert shown.board._seconds_left(began + 10) == pytest.approx(10.0)


def test_what_was_measured_of_one_arm_stands_for_its_other_seeds() -> None:
    shown = Shown()
    shown.see("started", 0)
    shown.see("ended", 0, status="finished", value=90.0)  # at once, not in 100 s
    shown.see("started", 1)
    began = shown.board._running[0][1]
    # ls as expected twice, base as measured (0 s).
    assert shown.board._seconds_left(began) == pytest.approx((200 + 200) / 2, abs=1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (89.0, "89 s"), (90.0, "2 min"), (3600.0, "60 min"), (5400.0, "1.5 h")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
