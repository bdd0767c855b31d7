"""One run as a worker receives it, and how a worker carries it out and records it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class Stopped(BaseException):
    """The parent asked this worker to stop, or is gone."""


def perform(job: Job, tell: Callable[[Progress], None]) -> tuple[str, float | None, str]:
    """Train one run, record it in the ledger, and return its status, accuracy and message.

    Whatever goes wrong is an outcome of the run, recorded with its traceback in the log; only a
    stop comes through, after the run is recorded as interrupted. A run that another study on this
    home is making is waited for, not made twice.
    """
    ledger = Ledger(job.home)
    here = Progress(step=0, steps=1, epoch=0, epochs=0, top1=None, loss=None)
    with ledger.claim(job.run, lambda: tell(here)) as waited:
        known = ledger.outcome(Run(id=job.run, arm=job.arm, seed=job.seed))
        if known.status == "finished" or (waited and known.status in TERMINAL):
            return known.status, known.value, known.error
        return _train(job, ledger, tell)


def estimate(measure: Measure) -> float:
    """Return the seconds that one run of a recipe will take, from a few of its steps."""
    from lightning_modules.speed import seconds_per_run

    return seconds_per_run(measure.recipe, measure.execution)


def look(wanted: Observe) -> dict[str, Any]:
    """Return what the built objects of a recipe are and do."""
    from lightning_modules.probe import observe

    return observe(wanted.recipe, wanted.execution)


def _train(
    job: Job, ledger: Ledger, tell: Callable[[Progress], None]
) -> tuple[str, float | None, str]:
    import torch

    from lightning_modules.data import DataError
    from lightning_modules.files import write_json
    from lightning_modules.training import fit, write_environment

    folder = ledger.begin(job.run, job.recipe, job.seed, job.data)
    execution = dataclasses.replace(job.execution, on_progress=tell)
    with _log(folder / "log.txt"):
        try:
            write_environment(folder / "environment.json")
            write_json(
                folder / "certificate.json",
                {"schema_version": 1, "certificates": list(job.certificates)},
            )
            result = fit(job.recipe, job.seed, execution, folder)
        except (Stopped, KeyboardInterrupt):
            ledger.finish(job.run, "interrupted", None, "stopped; the same command goes on")
            raise
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            status, value, message = "out_of_memory", None, _first_line(error)
            print(traceback.format_exc(), flush=True)
        except Exception as error:
            mistake = isinstance(error, RecipeError | DataError)
            status, value, message = "failed", None, str(error) if mistake else _first_line(error)
            print(traceback.format_exc(), flush=True)
        else:
            about = {
                "data_fingerprint": job.execution.data_fingerprint,
                "results_version": RESULTS_VERSION,
            }
            ledger.finish(
                job.run, result.status, dataclasses.asdict(result) | about, result.message
            )
            return result.status, result.top1, result.message
    message = f"{message} ({folder / 'log.txt'})"
    ledger.finish(job.run, status, None, message)
    return status, value, message


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
