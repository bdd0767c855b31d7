"""One run as a worker receives it, and how a worker carries it out and records it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.launch.noted import Noted
from ablations.leases import Lease, LeaseLost, hold_if_free
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Run
from lightning_modules.checkpoint_files import FOLDER, checkpoints
from lightning_modules.execution import RESULTS_VERSION, Execution, Progress
from lightning_modules.files import refuse_everybody
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

    def on(self, **execution: Any) -> Job:
        """Return this job, carried out so: what of its execution the training reads, changed."""
        return dataclasses.replace(self, execution=dataclasses.replace(self.execution, **execution))


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


# What a home may fail with that holds for nothing that is trained: full, read-only, gone.
_OF_THE_HOME = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)

Ended = tuple[str, float | None, str]  # of a run: its status, its accuracy, a message


class Stopped(BaseException):
    """The parent asked this worker to stop, or is gone."""


def perform(job: Job, tell: Callable[[Progress], None]) -> list[Ended]:
    """Train once, record every run that is read off the training, and say how each ended.

    Whatever goes wrong is an outcome of the runs, recorded with its traceback in the log; only a
    stop comes through, after they are recorded as interrupted. A run that another study on this
    home is making is waited for, not made twice; one that another process took over, because this
    one seemed gone, is left to it and waited for.

    Raises:
        OSError, RequestError: the home itself fails, as a full disk does; nothing is recorded, and
            the same command goes on from there.
    """
    refuse_everybody()  # a worker of a cluster does not have the command line's mask
    while True:
        try:
            return _perform(job, tell)
        except LeaseLost as lost:
            print(lost, file=sys.stderr, flush=True)


def _perform(job: Job, tell: Callable[[Progress], None]) -> list[Ended]:
    ledger = Ledger(job.home)
    here = Progress(step=0, steps=1, epoch=0, epochs=0, top1=None, loss=None)
    ended: dict[str, Ended] = {}
    leases: dict[str, Lease] = {}
    with contextlib.ExitStack() as stack:
        for one in sorted(job.all, key=lambda one: one.run):
            lease = stack.enter_context(ledger.claim(one.run, lambda: tell(here)))
            leases[one.run] = lease
            ledger.recover(one.run)
            known = ledger.outcome(Run(id=one.run, arm=one.arm, seed=one.seed))
            if known.status in TERMINAL:  # what is to be made again was forgotten before
                ended[one.run] = (known.status, known.value, known.error)
        left = [one for one in job.all if one.run not in ended]
        if len(left) > 1:
            whole = ledger.claim_training(job.training, lambda: tell(here))
            leases[job.training] = stack.enter_context(whole)
        if left:
            ended |= _train(job, left, ledger, leases, tell)
    return [ended[one.run] for one in job.all]


def left_by(job: Job, status: str, message: str) -> Ended:
    """Return how a run ended whose worker died, and record it where nobody has."""
    ledger = Ledger(job.home)
    with hold_if_free(ledger.run_folder(job.run)) as held:
        if held:  # else it died waiting for another process's run
            ledger.recover(job.run)
        known = ledger.outcome(Run(id=job.run, arm=job.arm, seed=job.seed))
        if known.status in TERMINAL:  # it died after its run had ended
            return known.status, known.value, known.error
        if held:
            ledger.finish(job.run, status, None, message)
    return status, None, message


def ends_of(job: Job, ledger: Ledger) -> list[Ended]:
    """Return how the runs of a job ended, as the ledger has it; empty while one has not."""
    known = [ledger.outcome(Run(id=one.run, arm=one.arm, seed=one.seed)) for one in job.all]
    if any(one.status not in TERMINAL for one in known):
        return []
    return [(one.status, one.value, one.error) for one in known]


def newest_step(job: Job, ledger: Ledger) -> int:
    """Return the step of the newest checkpoint of a job's training; -1: there is none."""
    folders = [ledger.run_folder(one.run) for one in job.all]
    folders += [ledger.training_folder(job.training)] if job.training else []
    steps = [-1]
    for folder in folders:
        with contextlib.suppress(OSError):  # one that goes as it is looked at
            steps += [one.step for one in checkpoints(folder / FOLDER)]
    return max(steps)


def module_places() -> list[str]:
    """Return where this process finds modules, a user's own among them, for one elsewhere."""
    return [os.path.abspath(path) for path in sys.path]


def estimate(measure: Measure) -> float:
    """Return the seconds that one run of a recipe will take, from a few of its steps."""
    from lightning_modules.speed import seconds_per_run

    return seconds_per_run(measure.recipe, measure.execution)


def look(wanted: Observe) -> dict[str, Any]:
    """Return what the built objects of a recipe are and do."""
    from lightning_modules.probe import observe

    return observe(wanted.recipe, wanted.execution)


def _train(
    job: Job,
    left: Sequence[Job],
    ledger: Ledger,
    leases: Mapping[str, Lease],
    tell: Callable[[Progress], None],
) -> dict[str, Ended]:
    """Train for the runs that are left, and record how each ended.

    Raises:
        LeaseLost: another process makes one of them now; nothing is recorded.
    """
    from lightning_modules.gang import MemberLost
    from lightning_modules.reading import Reading
    from lightning_modules.training import fit_together, forget_checkpoints

    folders = [_begin(one, ledger, job.training if len(left) > 1 else "") for one in left]
    alone = len(left) == 1
    folder = folders[0] if alone else ledger.training_folder(job.training)
    if not alone:
        _refer(left, folders, folder)
    noted = Noted(folders, tell)

    def told(progress: Progress) -> None:
        for lease in leases.values():
            lease.check()
        noted(progress)

    execution = dataclasses.replace(job.execution, on_progress=told)
    readings = [
        Reading(
            recipe=one.recipe,
            folder=own,
            keep=one.execution.keep,
        )
        for one, own in zip(left, folders, strict=True)
    ]
    ended: dict[str, Ended] = {}
    broken: tuple[str, str] | None = None
    with _log(folder / "log.txt"):
        try:
            try:
                results = fit_together(readings, job.seed, execution, folder)
            except MemberLost as lost:  # as a worker that dies: once more
                print(f"{lost}; going on from its last checkpoint", flush=True)
                results = fit_together(readings, job.seed, execution, folder)
        except (Stopped, KeyboardInterrupt):
            with contextlib.suppress(LeaseLost, OSError):  # it stops, recorded or not
                _confirm(leases)
                for one in left:
                    ledger.finish(one.run, "interrupted", None, "stopped; the same command goes on")
            raise
        except LeaseLost:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_HOME:
                raise  # no fault of the run's: it is not recorded, and goes on another time
            status, message = broken = _outcome(error)
            with contextlib.suppress(OSError):  # a full disk: the outcome says so too
                print(message if status == "timed_out" else traceback.format_exc(), flush=True)
        if broken is not None and broken[0] == "out_of_memory":  # out here, where it is let go of
            told(Progress(step=0, steps=1, epoch=0, epochs=0, top1=None, loss=None))
            broken = (broken[0], f"{broken[1]}; {_what_fits(job, execution)}")
    if broken is not None:
        status, message = broken[0], f"{broken[1]} ({folder / 'log.txt'})"
        _confirm(leases)
        for one in left:
            ledger.finish(one.run, status, None, message)
            ended[one.run] = (status, None, message)
        return ended
    about = {
        "data_fingerprint": job.execution.data_fingerprint,
        "results_version": RESULTS_VERSION,
    }
    whole = {
        one.run: dataclasses.asdict(result) | about
        for one, result in zip(left, results, strict=True)
    }
    _confirm(leases)
    if not alone:  # all of them in one file: whoever is killed below has lost nothing
        ledger.keep_results(job.training, whole)
    for one in left:
        result = whole[one.run]
        ledger.finish(one.run, result["status"], result, result["message"])
        ended[one.run] = (result["status"], result["top1"], result["message"])
    forget_checkpoints(folder)
    return ended


def _confirm(leases: Mapping[str, Lease]) -> None:
    for lease in leases.values():
        lease.confirm()


def _outcome(error: Exception) -> tuple[str, str]:
    """Return the status and the message of a run that ended in an error."""
    from lightning_modules.cost import is_out_of_memory
    from lightning_modules.data import DataError
    from lightning_modules.observers import TimedOut

    if isinstance(error, TimedOut):
        return "timed_out", f"{error}; --retry timed_out goes on from there"
    if is_out_of_memory(error):
        return "out_of_memory", _first_line(error)
    if isinstance(error, RecipeError | DataError):
        return "failed", str(error)
    return "failed", _first_line(error)


def _what_fits(job: Job, execution: Execution) -> str:
    """Return in words which batch fits into the memory that a run was too large for."""
    from lightning_modules.speed import fitting_batch

    asked = job.recipe.data.batch_size
    try:
        size, tried = fitting_batch(job.recipe, execution)
    except Exception as error:  # of a try that nobody asked for
        print(traceback.format_exc(), flush=True)
        return f"which batch fits could not be tried: {_first_line(error)}"
    if size is None:
        words = f"not even those of {tried[-1]} fit" if tried else "none can be halved"
        return f"of batches below {asked} images {words}"
    return (
        f"two steps with batches of {size} images instead of {asked} fit: data.batch_size={size} is"
        " another recipe, whose learning rate belongs to its batch"
    )


def _begin(job: Job, ledger: Ledger, training: str) -> Path:
    """Record that a run has started, with what it runs on and why its arm can be trusted."""
    from lightning_modules.files import write_json
    from lightning_modules.training import write_environment

    folder = ledger.begin(job.run, job.recipe, job.seed, job.data, training)
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
    if path.is_symlink():  # replaced, as any other file of a home is; never written through
        path.unlink()
    with open(path, "ab", buffering=0, opener=_no_link) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # a full disk: what is left is said outside
                    stream.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
