"""How runs end that do not finish, and which are made again."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ablations.asked import retried, seconds_of
from ablations.errors import RequestError
from ablations.launch.job import Job, left_by, perform
from ablations.launch.worker import made
from ablations.leases import leases_of
from ablations.ledger import Ledger
from ablations.plans import FAILED, Run
from ablations.request import Request
from ablations.study import missing_runs, plan_study
from lightning_modules import Execution
from recipes import edit, hook, load
from tests.ablations.conftest import QUICK as QUICKLY
from tests.ablations.conftest import Said

QUICK = edit(load("tiny"), {"optim.epochs": 1, "optim.warmup_epochs": 0})
MODULE = """
    import time
    import torch

    later = [0.0]

    def too_large(images, targets, most):
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return images, targets

    def slow(images, targets, after, seen=[]):
        seen.append(1)
        if len(seen) == after:
            later[0] = 1000.0
        return images, targets
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "outcome_hooks.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("outcome_hooks", None)
    return importlib.import_module("outcome_hooks")


def job(home: Path, recipe: object, execution: Execution) -> Job:
    return Job(
        run="r",
        arm="base",
        seed=0,
        recipe=recipe,  # type: ignore[arg-type]
        data="digits",
        home=home,
        execution=execution,
    )


def test_want_of_memory_is_told_with_the_batch_that_fits(
    mine: ModuleType, tmp_path: Path, execution: Execution
) -> None:
    recipe = edit(QUICK, {"custom.large": hook("batch", mine.too_large, most=20)})
    assert recipe.data.batch_size == 32
    ((status, value, message),) = perform(job(tmp_path, recipe, execution), lambda _: None)
    assert (status, value) == ("out_of_memory", None)
    assert "CUDA out of memory" in message
    assert "two steps with batches of 16 images instead of 32 fit" in message
    assert Ledger(tmp_path).status("r") == "out_of_memory"


def test_where_no_batch_fits_that_is_told(
    mine: ModuleType, tmp_path: Path, execution: Execution
) -> None:
    recipe = edit(QUICK, {"custom.large": hook("batch", mine.too_large, most=0)})
    ((_, _, message),) = perform(job(tmp_path, recipe, execution), lambda _: None)
    assert "not even those of 2 fit" in message


def test_a_run_that_is_out_of_time_goes_on_when_it_is_made_again(
    mine: ModuleType, tmp_path: Path, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = edit(QUICK, {"custom.slow": hook("batch", mine.slow, after=5)})
    (whole,) = perform(job(tmp_path / "whole", recipe, execution), lambda _: None)
    seen = mine.slow.__defaults__[0]
    batches = len(seen)
    mine.later[0] = 0.0
    seen.clear()
    clock = time.perf_counter
    monkeypatch.setattr("time.perf_counter", lambda: clock() + mine.later[0])
    limited = dataclasses.replace(execution, time_limit=500.0)
    ((status, _, message),) = perform(job(tmp_path / "home", recipe, limited), lambda _: None)
    assert status == Ledger(tmp_path / "home").status("r") == "timed_out"
    assert "its 500 s were over after 4 of" in message
    assert [path.name[:2] for path in (tmp_path / "home/runs/r/checkpoint").glob("*.ckpt")] == [
        "4."
    ]
    mine.later[0] = 0.0
    Ledger(tmp_path / "home").forget("r")
    assert perform(job(tmp_path / "home", recipe, limited), lambda _: None) == [whole]
    assert len(seen) == 5 + batches - 4  # it went on, and did not begin again


def test_what_ended_badly_meanwhile_is_not_made_again(tmp_path: Path, execution: Execution) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin("r", QUICK, 0, "digits")
    ledger.finish("r", "diverged", None, "the loss was nan")
    ended = perform(job(tmp_path, QUICK, execution), lambda _: None)
    assert ended == [("diverged", None, "the loss was nan")]
    assert not (tmp_path / "runs/r/log.txt").exists()  # nothing was trained


def test_a_home_that_fails_is_told_and_nothing_recorded(
    tmp_path: Path, execution: Execution
) -> None:
    (tmp_path / "runs/r/recipe.yaml").mkdir(parents=True)
    ((status, _, message),) = made(job(tmp_path, QUICK, execution), lambda _: None)
    assert (status, Ledger(tmp_path).status("r")) == ("failed", "missing")
    assert "it could not be recorded: " in message
    assert "recipe.yaml" in message
    assert not leases_of(tmp_path / "runs/r")


def test_a_dead_worker_s_run_is_left_to_who_makes_it_now(
    tmp_path: Path, execution: Execution
) -> None:
    ledger, lost = Ledger(tmp_path), job(tmp_path, QUICK, execution)
    ledger.begin("r", QUICK, 0, "digits")
    with ledger.claim("r", lambda: None):
        assert left_by(lost, "failed", "it died twice") == ("failed", None, "it died twice")
        assert ledger.status("r") == "running"
    left_by(lost, "failed", "it died twice")
    assert ledger.status("r") == "failed"
    assert not leases_of(ledger.run_folder("r"))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (None, ()),
        ("all", FAILED),
        ("failed", ("failed",)),
        ("timed_out,out_of_memory", ("timed_out", "out_of_memory")),
        ("failed,all", FAILED),
    ],
)
def test_what_is_made_again(text: str | None, kinds: tuple[str, ...]) -> None:
    assert retried(text) == kinds


@pytest.mark.parametrize("text", ["", "finished", "interrupted", "fail", "failed,", "FAILED"])
def test_what_cannot_be_made_again_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="choose from all, failed, diverged, out_of_memory"):
        retried(text)


def test_only_what_is_named_is_made_again(tmp_path: Path) -> None:
    plan = plan_study(Request(base="tiny", add="ls", seeds=3), tmp_path).plan
    ledger = Ledger(tmp_path)
    ended = ("finished", "failed", "diverged", "out_of_memory", "timed_out", "interrupted")
    for run, status in zip(plan.runs, ended, strict=True):
        ledger.finish(run.id, status, None, "")

    def again(*kinds: str) -> list[str]:
        return [ledger.status(run.id) for run in missing_runs(plan, ledger, retry=kinds)]

    assert again() == ["interrupted"]
    assert again("timed_out") == ["timed_out", "interrupted"]
    assert again(*FAILED) == list(ended[1:])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("12h", 43200), ("2d", 172800)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of("--time-limit", text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1w", "h", "1:30", "9" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--time-limit .*give a time above 0, as 90s"):
        seconds_of("--time-limit", text)


def test_a_study_stops_at_its_first_failure_where_it_is_asked_to(
    call: Callable[..., Said], tmp_path: Path
) -> None:
    words = ("--base", "tiny", "--add", "ls,se", "--seeds", "2", "--set", "optim.lr=1e30")
    said = call(*words, *QUICKLY, "--slots", "1", "--fail-fast", "--home", tmp_path)
    assert said.code == 1
    # Whichever arm was timed to take longest comes first.
    assert re.search(r"--fail-fast: stopped as \S+ seed 0 ended diverged", said.err)
    ledger = Ledger(tmp_path)
    statuses = [ledger.status(path.name) for path in (tmp_path / "runs").iterdir()]
    assert statuses.count("diverged") == 1
    assert set(statuses) <= {"diverged", "interrupted", "running"}
    later = call(*words, *QUICKLY, "--slots", "1", "--home", tmp_path)
    assert later.code == 1  # goes on where it stopped, the failed one stays
    assert "1 runs done, 7 to train" in later.err


def test_a_run_killed_between_its_result_and_its_status_is_not_made_again(
    tmp_path: Path, execution: Execution
) -> None:
    first = job(tmp_path, QUICK, execution)
    (ended,) = perform(first, lambda _: None)
    ledger = Ledger(tmp_path)
    path = ledger.run_folder("r") / "status.json"
    path.write_text(path.read_text().replace("finished", "running"))
    kept = ledger.run_folder("r") / "predictions.npz"
    before = kept.stat().st_ino
    assert perform(first, lambda _: None) == [ended]
    assert ledger.status("r") == "finished"
    assert kept.stat().st_ino == before


def test_a_training_killed_while_its_results_are_recorded_is_not_made_again(
    tmp_path: Path, execution: Execution
) -> None:
    ledger = Ledger(tmp_path)
    for run in ("a", "b"):
        ledger.begin(run, QUICK, 0, "digits", "t")
    whole = {"status": "finished", "top1": 50.0, "message": ""}
    ledger.keep_results("t", {"a": whole, "b": whole | {"top1": 60.0}})
    ledger.finish("a", "finished", whole, "")
    for run, value in (("a", 50.0), ("b", 60.0)):
        ledger.recover(run)
        outcome = ledger.outcome(Run(id=run, arm="base", seed=0))
        assert (outcome.status, outcome.value) == ("finished", value)
