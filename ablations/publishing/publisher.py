"""Brings runs of a study from the ledger into trackers: as they go on, and whole when they ended.

What a tracker does wrong ends in this process: it is noted and told, and no run knows of it. Nor
does what is wrong with one run stop the others: see `_fail`. Longer than most: what is done with a
run in every state of it and of its trackers is read in one place.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.frozen import thaw
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Plan, Run
from ablations.publishing import shown
from ablations.publishing.journal import BEGUN, NOWHERE, OFFLINE, ONLINE, WRITTEN, Entry, Journal
from ablations.publishing.targets import Target, folder_of
from ablations.stages import runs_so_far
from lightning_modules.tracking import (
    Patience,
    TrackedRun,
    Tracker,
    folder_name,
    is_uploaded,
    leave_wandb,
    open_csv,
    open_tensorboard,
    open_wandb,
)

_LOCAL = {"csv": open_csv, "tensorboard": open_tensorboard}


class _Unreadable(Exception):
    """What the ledger has of one run cannot be shown; no fault of a tracker."""


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell what goes wrong with the ledger from what trackers do wrong."""
    try:
        yield
    except Exception as error:
        raise _Unreadable(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a run could not be published, in the state in which that was tried."""

    status: str
    ended: float | None
    words: str
    is_of_tracker: bool

    def is_at(self, record: Mapping[str, Any]) -> bool:
        """Return whether a run is still in that state."""
        return (self.status, self.ended) == (str(record.get("status")), record.get("ended"))


class Publisher:
    """What publishes a study, by whoever holds its folder. To be closed.

    `online` says whether W&B's server is sent to; if it fails for two runs in a row, that ends for
    good (`trouble`), and what ends later goes into offline folders. With `uploads`, what lies in
    offline folders is sent too, what failed before is tried again, and no new folder is written.
    """

    def __init__(
        self,
        ledger: Ledger,
        study: str,
        targets: Sequence[Target],
        *,
        online: bool,
        uploads: bool = False,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[bool], None] = lambda _: None,
        patience: Patience | None = None,
    ) -> None:
        self._ledger, self._study, self._targets = ledger, study, tuple(targets)
        self.online, self._uploads = online, uploads
        self._stopped, self._progress = stopped, progress
        self._patience = patience or Patience()
        folder = folder_of(ledger, study)
        folder.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(folder)
        self._offline = ledger.home / "tracking" / "wandb"
        self._work = folder / "work"
        shutil.rmtree(self._work, ignore_errors=True)  # of one that was killed
        self._open: dict[tuple[Target, str], Tracker] = {}
        self._broken: set[Target] = set()
        self._in_a_row: dict[Target, set[str]] = {}  # runs that failed since one that did not
        self._failed: dict[tuple[Target, str], _Failure] = {}
        self._plan: Plan | None = None
        self._plan_of: tuple[int, int] | None = None
        self.trouble: dict[str, str] = {}  # by tracker, in words; the first of each
        self.reading = self._brought = 0.0  # seconds of a look at the ledger, and in trackers
        self.made: Counter[tuple[str, str]] = Counter()  # of runs, by tracker and how

    def look(self) -> None:
        """Publish what the ledger has and trackers have not; stop early where that is asked."""
        began, brought = time.monotonic(), self._brought
        try:
            self._look()
        finally:
            self.reading = time.monotonic() - began - (self._brought - brought)

    def _look(self) -> None:
        for run in self._runs():
            entries = [self._journal.entry(target, run.id) for target in self._targets]
            if all(one is not None and one.is_final for one in entries) and not self._uploads:
                continue
            record = self._ledger.record(run.id)
            for target in self._targets:
                if self._stopped():
                    return
                if target not in self._broken:
                    self._try(target, run, record)

    def left(self) -> int:
        """Return how many ended runs W&B's server lacks: those in offline folders too."""
        targets = [one for one in self._targets if one.tracker == "wandb"]
        return sum(
            self._journal.lacks(target, run.id, self._ledger.record(run.id))
            or getattr(self._journal.entry(target, run.id), "how", "") == OFFLINE
            for target in targets
            for run in self._runs()
        )

    def close(self, *, lost: bool = False) -> None:
        """Close what is open of runs that have not ended; whoever makes them goes on with them.

        If the hold on the folder is `lost`, another process goes on with all of it: nothing is
        written, and the client is to be left without a word.
        """
        if lost:
            self._open.clear()
            return
        for (target, run), tracker in self._open.items():
            with contextlib.suppress(Exception):  # it is left where it is
                record = self._ledger.record(run)
                if record.get("status") not in TERMINAL and target not in self._broken:
                    tracker.summarize({"outcome/status": "interrupted"})
                    tracker.finalize(False)
        self._open.clear()
        with contextlib.suppress(OSError):  # a full disk: they are tried again
            self._note_failures()
        shutil.rmtree(self._work, ignore_errors=True)

    def _note_failures(self) -> None:
        """Note which ended runs fail by themselves, so that no command begins with them again."""
        for (target, run), failure in self._failed.items():
            gone = target in self._broken or (target.place is not None and not self.online)
            if failure.status not in TERMINAL or (gone and failure.is_of_tracker):
                continue
            state = {"status": failure.status, "ended": failure.ended}
            entry = self._entry(target, run, state) or Entry(how=NOWHERE)
            self._journal.add(
                target,
                run,
                replace(entry, status=failure.status, ended=failure.ended, failed=failure.words),
            )

    def _runs(self) -> list[Run]:
        """Return the runs of the study as it is now planned, each identity once."""
        folder = self._ledger.study_folder(self._study)
        about = (folder / "plan.yaml").stat()
        if self._plan is None or self._plan_of != (about.st_mtime_ns, about.st_size):
            self._plan, _, _ = thaw(folder)
            self._plan_of = (about.st_mtime_ns, about.st_size)
        found: dict[str, Run] = {}
        for run in runs_so_far(self._plan, self._ledger).runs:
            found.setdefault(run.id, run)
        return list(found.values())

    def _try(self, target: Target, run: Run, record: Mapping[str, Any]) -> None:
        """Publish a run, or note why it cannot be; once for each state of it."""
        if not self._is_worth_a_try(target, run, record):
            return
        began = time.monotonic()
        try:
            if self._bring(target, run, record, live=target.place is None or self.online):
                self._in_a_row.pop(target, None)
            self._brought += time.monotonic() - began
        except Exception as error:
            self._fail(target, run, record, error)

    def _is_worth_a_try(self, target: Target, run: Run, record: Mapping[str, Any]) -> bool:
        failure, entry = self._failed.get((target, run.id)), self._journal.entry(target, run.id)
        if failure is not None and failure.is_at(record):
            return False
        noted = entry is not None and bool(entry.failed) and entry.is_at(record)
        return self._uploads or not noted

    def _fail(self, target: Target, run: Run, record: Mapping[str, Any], error: Exception) -> None:
        """Note that a run could not be published; give its target up where that is to blame.

        What is wrong in the ledger says nothing of the target. Of what is raised elsewhere, one
        run may be the cause, as of a refusal: two in a row mean that the target is gone.
        """
        of_tracker = not isinstance(error, _Unreadable)
        known = error if of_tracker or error.__cause__ is None else error.__cause__
        print(f"{target.tracker}: {run.arm} seed {run.seed}", flush=True)
        print("".join(traceback.format_exception(error)), flush=True)
        said = f"{type(known).__name__}: {str(known).splitlines()[0] if str(known) else ''}"
        words = said if of_tracker else f"{run.arm} seed {run.seed}: {said}"
        self.trouble.setdefault(target.tracker, words)
        self._open.pop((target, run.id), None)
        self._failed[target, run.id] = _Failure(
            status=str(record.get("status")),
            ended=record.get("ended"),
            words=words,
            is_of_tracker=of_tracker,
        )
        if not of_tracker:
            return
        row = self._in_a_row.setdefault(target, set())
        row.add(run.id)
        if target.place is None or not self.online or self._uploads:
            if len(row) > 1:
                self._broken.add(target)
            return
        self.online = len(row) < 2
        leave_wandb()  # which would go on trying, and lets no second open of a run be
        self._open = {key: one for key, one in self._open.items() if key[0] != target}
        try:
            self._bring(target, run, record, live=False)
        except Exception as again:
            self._fail_offline(target, again)

    def _fail_offline(self, target: Target, error: Exception) -> None:
        """Note that not even a folder could be written: it stays at the failure before."""
        print("".join(traceback.format_exception(error)), flush=True)
        if not isinstance(error, _Unreadable) and not self.online:
            self._broken.add(target)

    def _bring(self, target: Target, run: Run, record: Mapping[str, Any], *, live: bool) -> bool:
        """Publish what is new of a run; return whether anything was there to do.

        `live` says whether the target takes a run as it goes on: W&B's server, or local files.
        """
        entry, status = self._entry(target, run.id, record), record.get("status")
        if status == "running":
            if live and not self._uploads:
                rows = self._rows(run)
                _log_new(self._tracker(target, run, record), rows)
                return True
            return False
        offline = entry if entry is not None and entry.how == OFFLINE else None
        sent = offline is not None and is_uploaded(self._offline / offline.folder)
        if not self._journal.lacks(target, run.id, record):
            if offline is None or not self._uploads:
                return False
            if sent:  # by somebody's own `wandb sync`
                self._journal.add(target, run.id, replace(offline, how=ONLINE))
                return False
        attempt = 1 if entry is None else entry.attempt
        rows, values = self._rows(run), self._ending(run, record)  # before a run is opened for them
        if live:
            how, folder = ONLINE if target.tracker == "wandb" else WRITTEN, ""
            _complete(self._tracker(target, run, record), rows, values)
        elif entry is not None and entry.how in (BEGUN, ONLINE):
            return False  # the server has some of it: from a folder its rows would come twice
        else:
            how, folder = OFFLINE, self._write_offline(target, run, attempt, rows, values)
        self._open.pop((target, run.id), None)
        self._failed.pop((target, run.id), None)
        self._journal.add(
            target,
            run.id,
            Entry(
                how=how,
                status=str(status),
                ended=record.get("ended"),
                folder=folder,
                attempt=attempt,
            ),
        )
        if how == ONLINE:  # so that nobody uploads it a second time
            self._remove_offline(shown.identity_of(self._study, run.id, attempt))
        self.made[target.tracker, how] += 1
        self._progress(how == ONLINE)
        return True

    def _entry(self, target: Target, run: str, record: Mapping[str, Any]) -> Entry | None:
        """Return what is known of a run as it is now made, or was.

        The server keeps the curve of an attempt that has ended. So one that is made again after
        that is another run there; one that was interrupted has not ended, and is the same.
        """
        entry = self._journal.entry(target, run)
        if entry is None or target.place is None or not entry.status or entry.is_at(record):
            return entry
        if record.get("status") not in ("running", *TERMINAL):
            return entry
        there = entry.how == ONLINE or (
            entry.how == OFFLINE and is_uploaded(self._offline / entry.folder)
        )
        there |= entry.how == BEGUN and bool(entry.failed)
        number = entry.attempt + 1 if there else entry.attempt
        return Entry(how=NOWHERE, attempt=number)

    def _tracker(self, target: Target, run: Run, record: Mapping[str, Any]) -> Tracker:
        """Return the open run of a target, opened now if it is not."""
        if (target, run.id) not in self._open:
            assert self._plan is not None
            entry = self._entry(target, run.id, record)
            attempt = 1 if entry is None else entry.attempt
            about, configuration = self._about(run, attempt)
            if target.place is None:
                folder = self._ledger.home / "tracking" / target.tracker / self._study
                tracker = _LOCAL[target.tracker](about, folder / folder_name(about))
            else:
                tracker = open_wandb(
                    about, self._work, target.place, online=True, patience=self._patience
                )
                if entry is None or entry.how != ONLINE:
                    self._journal.add(target, run.id, Entry(how=BEGUN, attempt=attempt))
            tracker.log_hyperparams(configuration)
            self._open[target, run.id] = tracker
        return self._open[target, run.id]

    def _about(self, run: Run, attempt: int) -> tuple[TrackedRun, dict[str, Any]]:
        """Return how a run is called, and its configuration."""
        assert self._plan is not None
        with _reading():
            about = shown.tracked_run(self._plan, run, attempt)
            return about, shown.configuration(self._plan, run, self._ledger, attempt)

    def _rows(self, run: Run) -> list[dict[str, Any]]:
        with _reading():
            return shown.rows_of(run, self._ledger)

    def _ending(self, run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
        with _reading():
            return shown.ending(run, record, self._ledger)

    def _write_offline(
        self,
        target: Target,
        run: Run,
        attempt: int,
        rows: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
    ) -> str:
        """Write a run whole into a folder that can be uploaded, aside first; return its name."""
        assert target.place is not None
        aside = self._work / uuid.uuid4().hex
        about, configuration = self._about(run, attempt)
        tracker = open_wandb(about, aside, target.place, online=False, patience=self._patience)
        tracker.log_hyperparams(configuration)
        _complete(tracker, rows, values)
        [made] = (aside / "wandb").glob("offline-run-*")
        for name in ("tmp", "logs"):  # of the client, of no use to who reads or uploads it
            shutil.rmtree(made / name, ignore_errors=True)
        self._offline.mkdir(parents=True, exist_ok=True)
        self._remove_offline(about.identity)  # of an attempt before
        made.rename(self._offline / made.name)
        shutil.rmtree(aside, ignore_errors=True)
        return made.name

    def _remove_offline(self, identity: str) -> None:
        for old in self._offline.glob(f"offline-run-*-{identity}"):
            shutil.rmtree(old, ignore_errors=True)


def _log_new(tracker: Tracker, rows: Sequence[Mapping[str, Any]]) -> None:
    """Log the rows of a curve that a tracker has not: a row for every epoch, in order.

    A run that goes on from a checkpoint may have fewer than were logged, until it has them again.
    """
    for row in rows[tracker.sent :]:
        tracker.log_metrics(
            {name: value for name, value in row.items() if name != "step"}, row.get("step", 0)
        )


def _complete(
    tracker: Tracker, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
) -> None:
    _log_new(tracker, rows)
    tracker.summarize({name: value for name, value in values.items() if value is not None})
    tracker.finalize(values["outcome/status"] == "finished")
