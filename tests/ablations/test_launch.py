"""Real workers. The server they are forked from imports torch once for all tests of a process."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations import RequestError
from ablations.launch.job import Job, Measure
from ablations.launch.local import LocalPool
from ablations.launch.pool import Event
from ablations.ledger import Ledger
from lightning_modules import Execution
from lightning_modules.checkpoint_files import checkpoints
from recipes import Recipe, edit, hook, load

QUICK = edit(load("tiny"), {"optim.epochs": 1, "optim.warmup_epochs": 0})
LONG = edit(load("tiny"), {"optim.epochs": 2000, "optim.warmup_epochs": 0})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(tmp_path: Path, cache: Path) -> Callable[..., Job]:
    def job(run: str, recipe: Recipe = QUICK, **execution: object) -> Job:
        return Job(
            run=run,
            arm="base",
            seed=0,
            recipe=recipe,
            data="digits",
            home=tmp_path / "home",
            execution=Execution(cache=cache, device="cpu", **execution),  # type: ignore[arg-type]
        )

    return job


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    with LocalPool(2, ("cpu",), 1) as made:
        yield made


def ends(events: Iterator[Event]) -> dict[str, Event]:
    found = {}
    for event in events:
        if event.what == "ended":
            assert isinstance(event.job, Job)
            found[event.job.run] = event
    return found


def epochs(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def process_of(home: Path, run: str) -> int:
    """Wait until a run is being trained and return its worker."""
    path = home / "runs" / run / "status.json"
    deadline = time.monotonic() + 120
    while not path.exists() or not (path.parent / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(json.loads(path.read_text())["pid"])


def test_a_bad_run_is_an_outcome_and_the_others_go_on(
    make: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "boom_loss.py").write_text(
        textwrap.dedent(
            """
            def boom(logits, targets):
                print("said before it broke")
                raise RuntimeError("boom\\nand a second line")
            """
        )
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    boom = importlib.import_module("boom_loss").boom
    failing = edit(QUICK, {"custom.boom": hook("loss", boom)})
    diverging = edit(QUICK, {"optim.lr": 1e30})
    jobs = [make("bad", failing), make("nan", diverging), make("good"), make("good2")]
    with LocalPool(2, ("cpu",), 1) as pool:
        found = ends(pool.run(jobs))
    ledger = Ledger(tmp_path / "home")
    assert {run: event.status for run, event in found.items()} == {
        "bad": "failed",
        "nan": "diverged",
        "good": "finished",
        "good2": "finished",
    }
    assert {run: ledger.status(run) for run in found} == {
        run: event.status for run, event in found.items()
    }
    log = ledger.run_folder("bad") / "log.txt"
    assert found["bad"].message == f"RuntimeError: boom ({log})"
    assert "said before it broke" in log.read_text()
    assert "Traceback" in log.read_text()
    assert "boom_loss.py" in log.read_text()
    assert "training loss was" in found["nan"].message
    # The same recipe and seed, in two workers or one: the same number.
    assert found["good"].value == found["good2"].value


def test_a_run_whose_worker_dies_is_made_again_and_fails_only_with_the_next(
    pool: LocalPool, make: Callable[..., Job], tmp_path: Path
) -> None:
    home, found, lost = tmp_path / "home", {}, []
    victims: list[int] = []
    for event in pool.run([make("long", LONG), make("one"), make("two")]):
        if event.what == "ended":
            assert isinstance(event.job, Job)
            found[event.job.run] = event
        if event.what == "lost":
            lost.append(event.message)
        if len(found) == 2 and len(victims) < 2:  # the other one is alone at work now
            pid = process_of(home, "long")
            if pid not in victims:
                os.kill(pid, signal.SIGKILL)
                victims.append(pid)
    assert len(lost) == 1 and "going on from its last checkpoint" in lost[0]
    ledger = Ledger(home)
    assert found["long"].status == ledger.status("long") == "failed"
    assert "its worker died twice (killed, perhaps for want" in found["long"].message
    assert all(ledger.status(run) == "finished" for run in ("one", "two"))
    # Both slots still work, and who is killed once ends as who is not.
    once = pool.run([make("four"), make("five")])
    assert next(once).what == "started"
    os.kill(process_of(home, "four"), signal.SIGKILL)
    again = ends(once)
    assert {event.status for event in again.values()} == {"finished"}
    assert again["four"].value == again["five"].value


def test_a_worker_killed_after_its_run_ended_takes_nothing_back(
    pool: LocalPool, make: Callable[..., Job], tmp_path: Path
) -> None:
    events = pool.run([make("done")])
    assert next(events).what == "started"
    pid = process_of(tmp_path / "home", "done")
    ledger = Ledger(tmp_path / "home")
    while ledger.status("done") != "finished":  # what it says of that is not read yet
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    found = ends(events)
    assert found["done"].status == ledger.status("done") == "finished"
    assert found["done"].value is not None


def test_a_stop_leaves_interrupted_and_the_same_job_goes_on(
    make: Callable[..., Job], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "home")
    with LocalPool(1, ("cpu",), 1) as pool:
        slow = edit(QUICK, {"optim.epochs": 12, "data.train_fraction": 0.5})
        job = make("stopped", slow, checkpoint_seconds=0.0)
        assert next(pool.run([job])).what == "started"
        folder = ledger.run_folder("stopped")
        while not checkpoints(folder / "checkpoint") or not epochs(folder):
            assert ledger.status("stopped") in ("missing", "running")
            time.sleep(0.01)
    assert ledger.status("stopped") == "interrupted"
    before = epochs(ledger.run_folder("stopped"))
    assert before
    assert before[-1] < 12
    began = (ledger.run_folder("stopped") / "metrics.jsonl").read_text().splitlines()[0]
    with LocalPool(2, ("cpu",), 1) as pool:
        found = ends(pool.run([job, make("whole", slow)]))
    assert found["stopped"].status == "finished"
    assert found["stopped"].value == found["whole"].value  # as if it had not been stopped
    assert epochs(ledger.run_folder("stopped")) == list(range(1, 13))
    after = (ledger.run_folder("stopped") / "metrics.jsonl").read_text().splitlines()
    assert after[0] == began  # gone on with, not begun anew
    assert not (folder / "checkpoint").exists()


def test_two_studies_at_once_train_a_run_once(make: Callable[..., Job], tmp_path: Path) -> None:
    shared = edit(QUICK, {"optim.epochs": 10})
    with (
        LocalPool(1, ("cpu",), 1) as ours,
        LocalPool(1, ("cpu",), 1) as theirs,
    ):
        first, second = ours.run([make("both", shared)]), theirs.run([make("both", shared)])
        assert next(first).what == next(second).what == "started"  # both workers have it now
        found = [ends(first)["both"], ends(second)["both"]]
    assert [event.status for event in found] == ["finished", "finished"]
    assert found[0].value == found[1].value
    assert epochs(tmp_path / "home/runs/both") == list(range(1, 11))


def test_workers_end_with_the_pool(make: Callable[..., Job], tmp_path: Path) -> None:
    with LocalPool(2, ("cpu",), 1) as pool:
        pids = [worker.process.pid for worker in pool._workers]
        ends(pool.run([make("one")]))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_seconds_are_measured_and_nothing_is_trained(
    pool: LocalPool, make: Callable[..., Job], tmp_path: Path
) -> None:
    job = make("")
    broken = edit(QUICK, {"model.backbone": "resnet18", "data.dataset": "cifar10"})
    measures = [
        Measure(key="good", recipe=job.recipe, execution=job.execution),
        Measure(key="bad", recipe=broken, execution=job.execution),
    ]
    found = {
        event.job.key: event
        for event in pool.run(measures)
        if event.what == "measured" and isinstance(event.job, Measure)
    }
    assert found["good"].value is not None
    assert found["good"].value > 0
    assert found["bad"].status == "failed"
    assert found["bad"].value is None
    assert found["bad"].message
    assert not (tmp_path / "home/runs").exists()


def test_workers_that_cannot_start_fail_no_run(
    make: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in `python - < script`: there is no file that a worker could import.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "<stdin>"))
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with (
        pytest.raises(RequestError, match="could not start .*__main__"),
        LocalPool(1, ("cpu",), 1) as pool,
    ):
        ends(pool.run([make("never")]))
    assert Ledger(tmp_path / "home").status("never") == "missing"
