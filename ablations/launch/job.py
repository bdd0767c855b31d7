"""One run as a worker receives it, and how a worker carries it out and records it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.launch.noted import Noted
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Run
from lightning_modules.execution import RESULTS_VERSION, Execution, Progress
from recipes import Recipe, RecipeError


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to make. Travels to the worker whole; nothing in it refers to the parent."""

    run: str
    arm: str
    seed: int
    recipe: Recipe
    data: str
    home: Path
    execution: Execution
    certificates: tuple[Mapping[str, Any], ...] = ()  # of its arm, as plain values
    training: str = ""  # identity of the training, where others are read off it
    also: tuple[Job, ...] = ()  # runs that are read off the same training

    @property
    def all(self) -> tuple[Job, ...]:
        """Return this job and those that are made by the same training."""
        return (self, *self.also)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A recipe whose seconds per run are to be estimated before anything is trained."""

    key: str
    recipe: Recipe
    execution: Execution


@dataclass(frozen=True, kw_only=True)
class Observe:
    """A recipe whose built objects are to be observed before anything is trained."""

    key: str
    arm: str
    recipe: Recipe
    execution: Execution


Ended = tuple[str, float | None, str]  # of a run: its status, its accuracy, a message


class Stopped(BaseException):
    """The parent asked this worker to stop, or is gone."""


def perform(job: Job, tell: Callable[[Progress], None]) -> list[Ended]:
    """Train once, record every run that is read off the training, and say how each ended.

    Whatever goes wrong is an outcome of the runs, recorded with its traceback in the log; only a
    stop comes through, after they are recorded as interrupted. A run that another study on this
    home is making is waited for, not made twice.
    """
    ledger = Ledger(job.home)
    here = Progress(step=0, steps=1, epoch=0, epochs=0, top1=None, loss=None)
    ended: dict[str, Ended] = {}
    with contextlib.ExitStack() as stack:
        for one in sorted(job.all, key=lambda one: one.run):
            waited = stack.enter_context(ledger.claim(one.run, lambda: tell(here)))
            known = ledger.outcome(Run(id=one.run, arm=one.arm, seed=one.seed))
            if known.status == "finished" or (waited and known.status in TERMINAL):
                ended[one.run] = (known.status, known.value, known.error)
        left = [one for one in job.all if one.run not in ended]
        if len(left) > 1:
            stack.enter_context(ledger.claim_training(job.training, lambda: tell(here)))
        if left:
            ended |= _train(job, left, ledger, tell)
    return [ended[one.run] for one in job.all]


def estimate(measure: Measure) -> float:
    """Return the seconds that one run of a recipe will take, from a few of its steps."""
    from lightning_modules.speed import seconds_per_run

    return seconds_per_run(measure.recipe, measure.execution)


def look(wanted: Observe) -> dict[str, Any]:
    """Return what the built objects of a recipe are and do."""
    from lightning_modules.probe import observe

    return observe(wanted.recipe, wanted.execution)


def _train(
    job: Job, left: Sequence[Job], ledger: Ledger, tell: Callable[[Progress], None]
) -> dict[str, Ended]:
    """Train for the runs that are left, and record how each ended."""
    import torch

    from lightning_modules.data import DataError
    from lightning_modules.reading import Reading
    from lightning_modules.training import fit_together

    folders = [_begin(one, ledger) for one in left]
    alone = len(left) == 1
    folder = folders[0] if alone else ledger.training_folder(job.training)
    if not alone:
        _refer(left, folders, folder)
    execution = dataclasses.replace(job.execution, on_progress=Noted(folders, tell))
    readings = [
        Reading(
            recipe=one.recipe,
            folder=own,
            keep=one.execution.keep,
            tracking=one.execution.tracking,
        )
        for one, own in zip(left, folders, strict=True)
    ]
    with _log(folder / "log.txt"):
        try:
            results = fit_together(readings, job.seed, execution, folder)
        except (Stopped, KeyboardInterrupt):
            for one in left:
                ledger.finish(one.run, "interrupted", None, "stopped; the same command goes on")
            raise
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            status, message = "out_of_memory", _first_line(error)
            print(traceback.format_exc(), flush=True)
        except Exception as error:
            mistake = isinstance(error, RecipeError | DataError)
            status, message = "failed", str(error) if mistake else _first_line(error)
            print(traceback.format_exc(), flush=True)
        else:
            about = {
                "data_fingerprint": job.execution.data_fingerprint,
                "results_version": RESULTS_VERSION,
            }
            ended: dict[str, Ended] = {}
            for one, result in zip(left, results, strict=True):
                whole = dataclasses.asdict(result) | about
                ledger.finish(one.run, result.status, whole, result.message)
                ended[one.run] = (result.status, result.top1, result.message)
            return ended
    message = f"{message} ({folder / 'log.txt'})"
    for one in left:
        ledger.finish(one.run, status, None, message)
    return {one.run: (status, None, message) for one in left}


def _begin(job: Job, ledger: Ledger) -> Path:
    """Record that a run has started, with what it runs on and why its arm can be trusted."""
    from lightning_modules.files import write_json
    from lightning_modules.training import write_environment

    folder = ledger.begin(job.run, job.recipe, job.seed, job.data)
    write_environment(folder / "environment.json")
    write_json(
        folder / "certificate.json",
        {"schema_version": 1, "certificates": list(job.certificates)},
    )
    return folder


def _refer(jobs: Sequence[Job], folders: Sequence[Path], training: Path) -> None:
    """Let the runs of one training and the training refer to each other."""
    from lightning_modules.files import write_json, write_text

    training.mkdir(parents=True, exist_ok=True)
    write_json(training / "training.json", {"schema_version": 1, "runs": [job.run for job in jobs]})
    for folder in folders:
        text = f"one training serves {len(jobs)} runs: its log is ../../trainings/{training.name}/"
        write_text(folder / "log.txt", f"{text}log.txt\n")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


@contextlib.contextmanager
def _log(path: Path) -> Iterator[None]:
    """Send everything that this process prints, native code included, to the run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved: list[Any] = [os.dup(1), os.dup(2)]
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
