from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ablations import plan
from ablations.frozen import freeze
from ablations.launch.noted import Noted
from ablations.ledger import Ledger
from ablations.packing import Slots, remember
from ablations.plans import Run
from ablations.standing import standing_of
from ablations.standing_table import standing_table
from ablations.study import Prepared
from ablations.trainings import paid
from lightning_modules import Progress

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Three arms, two seeds: base, ls, and ls with se."""
    return plan("tiny", "ls,se", design="leave-one-out", seeds=2, home=tmp_path_factory.mktemp("h"))


@pytest.fixture
def ledger(prepared: Prepared, tmp_path: Path) -> Ledger:
    """A home in which the study is planned and nothing is made."""
    ledger = Ledger(tmp_path / "home")
    ledger.check_writable()
    freeze(prepared.plan, prepared.request, ledger.study_folder(prepared.plan.study))
    return ledger


@contextlib.contextmanager
def making(ledger: Ledger, prepared: Prepared, *runs: Run) -> Iterator[None]:
    """Be the process that makes these runs."""
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(ledger.claim(run.id, lambda: None))
            recipe = prepared.plan.layout.arm(run.arm).recipe
            ledger.begin(run.id, recipe, run.seed, prepared.plan.data)
        yield


def finish(ledger: Ledger, run: Run, seconds: float) -> None:
    ledger.finish(run.id, "finished", {"top1": 90.0, "seconds": seconds}, "")


def far(step: int) -> Progress:
    return Progress(step=step, steps=400, epoch=1 + step // 4, epochs=100, top1=None, loss=None)


def test_a_running_run_is_told_with_how_far_it_is_where_and_since_when(
    ledger: Ledger, prepared: Prepared, call: Call
) -> None:
    run = prepared.plan.runs[1]
    with making(ledger, prepared, run):
        told: list[Progress] = []
        noted = Noted([ledger.run_folder(run.id)], told.append)
        for step in (100, 101):  # the second comes too soon to be noted
            noted(far(step))
        assert told == [far(100), far(101)]
        said = call("status", prepared.plan.study, "--home", ledger.home)
        found = call("status", "--format", "json", "--home", ledger.home).json
    assert f"{len(prepared.plan.runs)} runs: 7 missing, 1 running" in said.out
    here = f"on {platform.node()}, process {os.getpid()}"
    assert f"    {run.arm}" in said.out and "  seed 0  epoch 26 of 100, 25%, since " in said.out
    assert here in said.out
    (study,) = found["studies"]
    (row,) = study["running"]
    assert (row["arm"], row["seed"], row["step"], row["steps"]) == (run.arm, run.seed, 100, 400)
    assert (row["host"], row["pid"]) == (platform.node(), os.getpid())
    assert abs(datetime.fromisoformat(row["started"]).timestamp() - datetime.now().timestamp()) < 60
    finish(ledger, run, 10.0)
    assert not (ledger.run_folder(run.id) / "progress.json").exists()


def test_the_end_is_foreseen_from_finished_runs_and_the_pace_of_the_running(
    ledger: Ledger, prepared: Prepared
) -> None:
    runs = prepared.plan.runs  # four arms, two seeds
    finish(ledger, runs[0], 100.0)
    finish(ledger, runs[1], 300.0)
    with making(ledger, prepared, *runs[2:4]):
        folder = ledger.run_folder(runs[2].id)
        Noted([folder], lambda _: None)(far(100))
        path = folder / "progress.json"
        seen = json.loads(path.read_text()) | {"steps_timed": 100, "seconds_timed": 50.0}
        path.write_text(json.dumps(seen))
        found = standing_of(ledger, prepared.plan.study)
    paced, other = (row["seconds_left"] for row in found["running"])
    assert paced == pytest.approx(300 * 0.5, abs=2)  # 300 steps of half a second
    assert other == pytest.approx(200, abs=2)  # as the mean of all, while none of its arm is done
    left = found["left"]
    assert (left["runs"], left["workers"]) == (6, 1)  # both are of one process
    assert left["worker_seconds"] == pytest.approx(100 + 300 + 2 * 200 + 200, abs=5)
    assert left["seconds"] == pytest.approx(left["worker_seconds"])
    ends = datetime.fromisoformat(left["ends"]) - datetime.now().astimezone()
    assert abs(ends - timedelta(seconds=left["seconds"])) < timedelta(seconds=60)
    assert "running on 1 worker; all ends in about 17 min, on " in standing_table(found)


def test_before_any_run_has_ended_what_was_measured_is_expected(
    ledger: Ledger, prepared: Prepared
) -> None:
    slots = Slots(count=2, devices=("cpu",), threads=1)
    arms = prepared.plan.layout.arms
    expected = paid(prepared.plan.layout, {arm.name: 60.0 for arm in arms})
    remember(prepared.plan.study, slots, {}, ledger, expected)
    found = standing_of(ledger, prepared.plan.study)
    assert found["left"]["worker_seconds"] == 60.0 * len(prepared.plan.runs)
    assert (found["left"]["seconds"], found["left"]["ends"]) == (None, None)  # by whom is not known
    assert "nothing is running; 8 left" in standing_table(found)


def test_how_far_a_process_was_that_is_gone_says_nothing_of_the_next(
    ledger: Ledger, prepared: Prepared
) -> None:
    run = prepared.plan.runs[0]
    with making(ledger, prepared, run):
        Noted([ledger.run_folder(run.id)], lambda _: None)(far(100))
        path = ledger.run_folder(run.id) / "progress.json"
        path.write_text(path.read_text().replace(str(os.getpid()), "1"))
        (row,) = standing_of(ledger, prepared.plan.study)["running"]
        assert (row["step"], row["seconds_left"]) == (None, None)
        path.write_text("{")
        assert standing_of(ledger, prepared.plan.study)["running"]
    (gone,) = (
        bad
        for arm in standing_of(ledger, prepared.plan.study)["arms"]
        for bad in arm["not_finished"]
    )
    assert gone == {"seed": 0, "status": "interrupted", "message": "its process is gone"}


def test_a_progress_that_cannot_be_noted_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[Progress] = []
    Noted([tmp_path / "file"], told.append)(far(1))
    assert told == [far(1)]


def test_arms_that_are_read_off_one_training_are_paid_once(tmp_path: Path) -> None:
    layout = plan("tiny", "ls,ema,se", seeds=1, home=tmp_path).plan.layout
    expected = {arm.name: 60.0 for arm in layout.arms}
    assert paid(layout, expected) == expected | {"ls,ema": 0.0}


def test_a_look_at_a_study_does_not_wait_for_numpy(ledger: Ledger, prepared: Prepared) -> None:
    program = (
        "import sys; from ablations.cli import main;"
        f" assert main(['status', {prepared.plan.study!r}, '--home', {str(ledger.home)!r}]) == 0;"
        " sys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(prepared.plan.study)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "csv"), "--format 'csv': choose table or json"),
        (("--watch",), "--watch shows a table on a terminal"),
        (("--watch", "--format", "json"), "--watch shows a table on a terminal"),
    ],
)
def test_what_status_cannot_do_is_told(
    ledger: Ledger, call: Call, words: tuple[str, ...], told: str
) -> None:
    said = call("status", *words, "--home", ledger.home)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
