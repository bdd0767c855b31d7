"""`ablate doctor home`: what is not as it should be in a home, and what could be mended of it.

Whatever a living process holds is left alone: to mend a folder is to hold its lease. No finished
run is removed or changed; what is wrong with one is told. Without torch. Longer than most: each
kind of damage is a few lines, and they are read beside each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ablations.errors import RequestError
from ablations.leases import STALE_SECONDS, Claim, Holder, holder_of
from ablations.ledger import TERMINAL, Ledger, digest_of
from ablations.plans import Run
from lightning_modules.checkpoint_files import FOLDER, checkpoints

SCHEMA_VERSION = 1
_ASIDE = re.compile(r"\..+\.[0-9a-f]{32}")  # as `write_aside` and `leases` name what they write
_OLD_SECONDS = 3600.0  # after which nobody writes a file any more where no lease says so


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    place: str  # within the home
    what: str
    done: str  # what was done, or is to be done; what the user can do, where nothing can
    mended: bool


class _Check:
    """One look at a home; with `mend`, what can be mended is."""

    def __init__(self, ledger: Ledger, mend: bool, say: Callable[[str], None]) -> None:
        self._ledger, self._mend, self._say = ledger, mend, say
        self.found: list[Finding] = []
        self.looked: dict[str, int] = {}
        self._silent: dict[Path, Claim] = {}  # held elsewhere, without a sign of life for long

    def all(self) -> None:
        for part, look in (
            ("runs", self._run),
            ("trainings", self._training),
            ("studies", self._study),
        ):
            folders = [path for path in _sorted(self._ledger.home / part) if path.is_dir()]
            self.looked[part] = len(folders)
            for folder in folders:
                self._held(folder, look)
        self._wait_for_the_silent()
        self._cache()

    def _held(self, folder: Path, look: Callable[[Path], None]) -> None:
        """Look at a folder while nobody else is at work in it."""
        before = holder_of(folder)
        if not self._mend:
            if before is None or before.gone:
                self._stale(folder, before)
                look(folder)
            elif _silent(before):
                self._tell_silent(folder, before)
            return
        claim = self._silent.pop(folder, None) or Claim(folder)
        lease = claim.attempt()
        if lease is None:
            holder = holder_of(folder)
            if holder is not None and _silent(holder):
                self._silent[folder] = claim
            return
        try:
            self._stale(folder, before)
            look(folder)
        finally:
            lease.release()

    def _stale(self, folder: Path, holder: Holder | None) -> None:
        if holder is not None:
            host = holder.about.get("host", "?")
            self._note(
                holder.path,
                f"a lease whose holder is gone (process {holder.about.get('pid', '?')} of {host})",
                "removed",
            )

    def _wait_for_the_silent(self) -> None:
        """Watch leases of other machines as long as it takes to know that they are stale."""
        if not self._silent:
            return
        self._say(
            f"{len(self._silent)} leases of other machines have shown no sign of life for long:"
            f" watching them for {STALE_SECONDS:.0f} s ..."
        )
        looks = {"runs": self._run, "trainings": self._training, "studies": self._study}
        time.sleep(STALE_SECONDS)
        for folder in list(self._silent):
            self._held(folder, looks[folder.parent.name])
        for folder in self._silent:
            if (holder := holder_of(folder)) is not None:
                self._tell_silent(folder, holder)

    def _tell_silent(self, folder: Path, holder: Holder) -> None:
        self._note(
            holder.path,
            f"a lease of {holder.about.get('host', '?')} without a sign of life for long",
            "whoever wants the run next watches it and takes it over",
            mended=False,
        )

    # What may be wrong in a folder ------------------------------------------------------------

    def _run(self, folder: Path) -> None:
        self._leftovers(folder)
        run = folder.name
        try:
            self._ledger.run_folder(run)
            status = self._ledger.status(run)
        except RequestError as error:
            self._status_lost(folder, str(error))
            return
        if status == "missing":
            self._half_written(folder)
        elif status not in TERMINAL:
            self._not_ended(folder, status)
        elif status == "finished":
            self._finished(folder)
        if self._ledger.status(run) != "finished":
            self._checkpoints(folder / FOLDER)

    def _status_lost(self, folder: Path, words: str) -> None:
        path = folder / "status.json"
        with contextlib.suppress(RequestError):
            if result := self._ledger.result(folder.name):
                self._note(path, "is damaged", "written anew from the run's result")
                if self._mend:
                    path.unlink(missing_ok=True)
                    self._ledger.finish(
                        folder.name, result["status"], result, result.get("message", "")
                    )
                return
        self._note(path, "is damaged, and there is no result", "removed: the run is made anew")
        if self._mend:
            path.unlink(missing_ok=True)

    def _half_written(self, folder: Path) -> None:
        kept = [path for path in _sorted(folder) if not path.name.startswith("lease.")]
        if any(path.name in ("result.json", "predictions.npz", FOLDER) for path in kept):
            self._note(
                folder / "status.json",
                "is missing, though something of the run is there",
                "the run is made anew by the command of its study",
                mended=False,
            )
            return
        self._note(folder, "is half-written: a run that had not begun", "removed")
        if self._mend:
            _remove(folder)

    def _not_ended(self, folder: Path, status: str) -> None:
        run, path = folder.name, folder / "status.json"
        with contextlib.suppress(RequestError):
            if self._ledger.can_recover(run):
                self._note(path, f"says {status}, and the result is there", "recorded from it")
                if self._mend:
                    self._ledger.recover(run)
                return
        if status == "running":
            self._note(path, "says running, and nobody makes the run", "recorded as interrupted")
            if self._mend:
                self._ledger.finish(run, "interrupted", None, "its process is gone")

    def _finished(self, folder: Path) -> None:
        run, again = folder.name, "remove the folder yourself to have the run made again"
        try:
            self._ledger.outcome(Run(id=run, arm="", seed=0))
        except RequestError as error:
            self._note(folder / "result.json", _short(error, folder), again, mended=False)
        for name, known in self._ledger.files(run).items():
            path = folder / name
            try:
                if digest_of(path) != known:
                    self._note(path, "is not what the run wrote (SHA-256)", again, mended=False)
            except OSError as error:
                words = "is missing" if isinstance(error, FileNotFoundError) else f"{error}"
                self._note(path, words, again, mended=False)
        if (folder / FOLDER).exists():
            self._note(folder / FOLDER, "is of a run that finished", "removed")
            if self._mend:
                shutil.rmtree(folder / FOLDER)

    def _checkpoints(self, folder: Path) -> None:
        for one in checkpoints(folder):
            if not one.is_whole():
                self._note(one.path, "is damaged: not the hash of its name", "removed")
                if self._mend:
                    one.path.unlink(missing_ok=True)

    def _training(self, folder: Path) -> None:
        self._leftovers(folder)
        try:
            about = json.loads((folder / "training.json").read_text(encoding="utf-8"))
            ended = all(self._ledger.status(run) == "finished" for run in about["runs"])
        except (OSError, ValueError, KeyError, TypeError, RequestError):
            ended = False
        if ended and (folder / FOLDER).exists():
            self._note(folder / FOLDER, "is of runs that finished", "removed")
            if self._mend:
                shutil.rmtree(folder / FOLDER)
        self._checkpoints(folder / FOLDER)

    def _study(self, folder: Path) -> None:
        self._leftovers(folder)
        if not (folder / "plan.yaml").exists():
            kept = [path for path in _sorted(folder) if not path.name.startswith("lease.")]
            if not kept:
                self._note(folder, "is the empty folder of a study that was refused", "removed")
                if self._mend:
                    _remove(folder)
            return
        from ablations.frozen import thaw

        try:
            thaw(folder)
        except (RequestError, ValueError) as error:
            self._note(
                folder / "plan.yaml",
                _short(error, folder),
                "its runs are safe: plan the study again under another name",
                mended=False,
            )

    def _leftovers(self, folder: Path) -> None:
        """Remove what killed writers left; nobody else is at work here."""
        for path in [*_sorted(folder), *_sorted(folder / FOLDER)]:
            if _ASIDE.fullmatch(path.name) and _still(path, 60.0):
                self._note(path, "was left by a writer that was killed", "removed")
            elif path.name == ".lock":
                self._note(path, "was left by an earlier version", "removed")
            else:
                continue
            if self._mend:
                path.unlink(missing_ok=True)

    def _cache(self) -> None:
        """Remove what was left half-written, and memories that cannot be read: all are derived."""
        cache = self._ledger.cache
        for path in [*_sorted(self._ledger.home), *_tree(cache)]:
            if _ASIDE.fullmatch(path.name) and _still(path, _OLD_SECONDS):
                self._note(path, "was left by a writer that was killed", "removed")
            elif path.suffix == ".json" and cache in path.parents and not _is_json(path):
                self._note(path, "cannot be read", "removed: it is made again")
            else:
                continue
            if self._mend:
                path.unlink(missing_ok=True)

    def _note(self, path: Path, what: str, done: str, *, mended: bool = True) -> None:
        place = str(path.relative_to(self._ledger.home))
        self.found.append(Finding(place=place, what=what, done=done, mended=mended and self._mend))


def check_home(
    ledger: Ledger, *, mend: bool, form: str, say: Callable[[str], None]
) -> tuple[str, int]:
    """Return what is to be shown and the exit code: 0 where nothing is left to mend, else 1.

    Raises:
        RequestError: there is no such home.
    """
    if not (ledger.home / "runs").is_dir():
        raise RequestError(f"there is no home at {ledger.home}: give one with --home DIR")
    check = _Check(ledger, mend, say)
    check.all()
    left = sum(not one.mended for one in check.found)
    if form == "json":
        value = {
            "schema_version": SCHEMA_VERSION,
            "subject": "home",
            "home": str(ledger.home),
            "looked_at": check.looked,
            "findings": [asdict(one) for one in check.found],
        }
        return json.dumps(value, indent=2), int(left > 0)
    lines = [
        f"{one.place}: {one.what}"
        + (f"; {one.done}" if one.mended or mend else f"; without --check: {one.done}")
        for one in check.found
    ]
    counts = ", ".join(f"{count} {part}" for part, count in check.looked.items())
    verdict = f"{len(check.found)} findings, {len(check.found) - left} mended" if lines else "whole"
    return "\n".join([*lines, f"{ledger.home}: {counts}: {verdict}"]), int(left > 0)


def _remove(folder: Path) -> None:
    """Remove a folder that is held, with its lease; what somebody else puts there now stays."""
    shutil.rmtree(folder, ignore_errors=True)


def _silent(holder: Holder) -> bool:
    """Return whether another machine's lease has been silent for long, by the wall clock."""
    return not holder.gone and time.time() - holder.changed / 1e9 > STALE_SECONDS


def _still(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:
        return False


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _tree(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in sorted(names))


def _short(error: Exception, folder: Path) -> str:
    return str(error).replace(f"{folder}{os.sep}", "").split("; remove the folder")[0]
