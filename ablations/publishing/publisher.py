"""Brings runs of a study from the ledger into trackers: as they go on, and whole when they ended.

What a tracker does wrong ends in this process: it is noted and told, and no run knows of it.
"""

from __future__ import annotations

import contextlib
import shutil
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.frozen import thaw
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Plan, Run
from ablations.publishing import shown
from ablations.publishing.journal import BEGUN, OFFLINE, ONLINE, WRITTEN, Entry, Journal
from ablations.publishing.targets import Target, folder_of
from ablations.stages import runs_so_far
from lightning_modules.tracking import (
    Patience,
    Tracker,
    folder_name,
    is_uploaded,
    leave_wandb,
    open_csv,
    open_tensorboard,
    open_wandb,
)

_LOCAL = {"csv": open_csv, "tensorboard": open_tensorboard}


class Publisher:
    """What publishes a study, by whoever holds its folder. To be closed.

    `online` says whether W&B's server is sent to; a failure of it ends that for good (`trouble`),
    and what ends later goes into offline folders. With `uploads`, what lies in offline folders is
    sent too, and nothing is written into new ones.
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
        self._plan: Plan | None = None
        self._plan_of: tuple[int, int] | None = None
        self.trouble: dict[str, str] = {}  # by tracker, in words; the first of each
        self.made: Counter[tuple[str, str]] = Counter()  # of runs, by tracker and how

    def look(self) -> None:
        """Publish what the ledger has and trackers have not; stop early where that is asked."""
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

    def close(self) -> None:
        """Close what is open of runs that have not ended; whoever makes them goes on with them."""
        for (target, run), tracker in self._open.items():
            with contextlib.suppress(Exception):  # it is left where it is
                record = self._ledger.record(run)
                if record.get("status") not in TERMINAL and target not in self._broken:
                    tracker.summarize({"outcome/status": "interrupted"})
                    tracker.finalize(False)
        self._open.clear()
        shutil.rmtree(self._work, ignore_errors=True)

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
        """Publish a run, or note why it cannot be."""
        try:
            self._bring(target, run, record)
        except Exception as error:
            print(f"{target.tracker}: {run.arm} seed {run.seed}", flush=True)
            print(traceback.format_exc(), flush=True)
            words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.trouble.setdefault(target.tracker, words)
            self._open.pop((target, run.id), None)
            if target.tracker == "wandb" and self.online and not self._uploads:
                self.online = False
                leave_wandb()  # which would go on trying, and lets no second open of a run be
                self._open = {key: one for key, one in self._open.items() if key[0] != target}
                self._try(target, run, record)
            else:
                self._broken.add(target)

    def _bring(self, target: Target, run: Run, record: Mapping[str, Any]) -> None:
        entry, status = self._journal.entry(target, run.id), record.get("status")
        live = target.tracker != "wandb" or self.online
        if status == "running":
            if live and not self._uploads:
                self._log_new(self._tracker(target, run), run)
            return
        offline = entry if entry is not None and entry.how == OFFLINE else None
        sent = offline is not None and is_uploaded(self._offline / offline.folder)
        if not self._journal.lacks(target, run.id, record):
            if offline is None or not self._uploads:
                return
            if sent:  # by somebody's own `wandb sync`
                self._journal.add(target, run.id, replace(offline, how=ONLINE))
                return
        if live:
            how, folder = ONLINE if target.tracker == "wandb" else WRITTEN, ""
            self._complete(self._tracker(target, run), run, record)
        elif sent or (entry is not None and entry.how in (BEGUN, ONLINE)):
            return  # the server has some of it: from a folder its rows would come twice
        else:
            how, folder = OFFLINE, self._write_offline(target, run, record)
        self._open.pop((target, run.id), None)
        ended = Entry(how=how, status=str(status), ended=record.get("ended"), folder=folder)
        self._journal.add(target, run.id, ended)
        if how == ONLINE:  # so that nobody uploads it a second time
            self._remove_offline(shown.identity_of(self._study, run.id))
        self.made[target.tracker, how] += 1
        self._progress(how == ONLINE)

    def _tracker(self, target: Target, run: Run) -> Tracker:
        """Return the open run of a target, opened now if it is not."""
        if (target, run.id) not in self._open:
            assert self._plan is not None
            about = shown.tracked_run(self._plan, run)
            if target.place is None:
                folder = self._ledger.home / "tracking" / target.tracker / self._study
                tracker = _LOCAL[target.tracker](about, folder / folder_name(about))
            else:
                tracker = open_wandb(
                    about, self._work, target.place, online=True, patience=self._patience
                )
                entry = self._journal.entry(target, run.id)
                if entry is None or entry.how != ONLINE:
                    self._journal.add(target, run.id, Entry(how=BEGUN))
            tracker.log_hyperparams(shown.configuration(self._plan, run, self._ledger))
            self._open[target, run.id] = tracker
        return self._open[target, run.id]

    def _log_new(self, tracker: Tracker, run: Run) -> None:
        """Log the rows of a curve that a tracker has not: a row for every epoch, in order.

        A run that goes on from a checkpoint may have fewer than were logged, until it has them
        again.
        """
        for row in shown.rows_of(run, self._ledger)[tracker.sent :]:
            step = int(row.pop("step", 0))
            tracker.log_metrics(row, step)

    def _complete(self, tracker: Tracker, run: Run, record: Mapping[str, Any]) -> None:
        self._log_new(tracker, run)
        values = shown.ending(run, record, self._ledger)
        tracker.summarize({name: value for name, value in values.items() if value is not None})
        tracker.finalize(record.get("status") == "finished")

    def _write_offline(self, target: Target, run: Run, record: Mapping[str, Any]) -> str:
        """Write a run whole into a folder that can be uploaded, aside first; return its name."""
        assert self._plan is not None and target.place is not None
        aside = self._work / uuid.uuid4().hex
        about = shown.tracked_run(self._plan, run)
        tracker = open_wandb(about, aside, target.place, online=False, patience=self._patience)
        tracker.log_hyperparams(shown.configuration(self._plan, run, self._ledger))
        self._complete(tracker, run, record)
        [made] = (aside / "wandb").glob("offline-run-*")
        shutil.rmtree(made / "tmp", ignore_errors=True)
        self._offline.mkdir(parents=True, exist_ok=True)
        self._remove_offline(about.identity)  # of an attempt before
        made.rename(self._offline / made.name)
        shutil.rmtree(aside, ignore_errors=True)
        return made.name

    def _remove_offline(self, identity: str) -> None:
        for old in self._offline.glob(f"offline-run-*-{identity}"):
            shutil.rmtree(old, ignore_errors=True)
