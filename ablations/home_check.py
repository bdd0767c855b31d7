"""`ablate doctor home`: what is wrong in a home, and what was done about it. Loads no torch.

Never touches what somebody holds, never removes a finished run, never follows a link. Each folder
is looked at, and only where something is wrong taken by a lease, looked at again and mended.
Longer than most: when a folder may be touched is decided here alone, and read in one place.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ablations import leases
from ablations.cache_check import cache_findings
from ablations.errors import RequestError
from ablations.findings import YOUNG_SECONDS, Finding, folders, leftovers, now_there
from ablations.leases import Claim, Holder, Lease, holder_of, leases_of
from ablations.ledger import Ledger
from ablations.names import is_identity
from ablations.run_check import run_findings, training_findings
from ablations.study_check import study_findings

SCHEMA_VERSION = 1
_SAY_SECONDS = 10.0
_ROUNDS = 3  # at a folder: what is mended may show more, as the files of a run that did finish
_LOOK_SECONDS = 2.0  # between two looks at the lease of another machine


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder that is held while it is mended."""

    folder: Path
    find: Callable[[], Iterator[Finding]]


@dataclass(kw_only=True)
class Told:
    """What was found in a home so far, what became of it, and what was left alone."""

    home: Path
    looked_at: dict[str, int] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)  # folders that somebody is at work in
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: Finding, *, mended: bool, deed: str | None = None) -> None:
        """Note a finding, once."""
        row = {
            "place": str(found.path.relative_to(self.home)),
            "what": found.what,
            "done": found.deed if deed is None else deed,
            "mended": mended,
        }
        if row not in self.findings:
            self.findings.append(row)


def check_home(
    ledger: Ledger, *, mend: bool, form: str, say: Callable[[str], None]
) -> tuple[str, int]:
    """Return what is to be shown and the exit code: 0 where nothing is left to mend, else 1.

    Raises:
        RequestError: there is no such home.
    """
    told = examine(ledger, mend=mend, say=say)
    left = sum(not one["mended"] for one in told.findings)
    if form == "json":
        value = {
            "schema_version": SCHEMA_VERSION,
            "subject": "home",
            "home": str(told.home),
            "looked_at": told.looked_at,
            "busy": told.busy,
            "findings": told.findings,
        }
        return json.dumps(value, indent=2), int(left > 0)
    lines = [f"{one['place']}: {one['what']}; {one['done']}" for one in told.findings]
    counts = ", ".join(f"{count} {part}" for part, count in told.looked_at.items())
    verdict = f"{len(lines)} findings, {len(lines) - left} mended" if lines else "whole"
    if told.busy:
        verdict += f" (but {len(told.busy)} at work in, not looked at)"
    return "\n".join([*lines, f"{told.home}: {counts}: {verdict}"]), int(left > 0)


def examine(ledger: Ledger, *, mend: bool, say: Callable[[str], None]) -> Told:
    """Look at every folder of a home, and mend what can be mended if asked to.

    Raises:
        RequestError: there is no home.
    """
    if not (ledger.home / "runs").is_dir():
        raise RequestError(f"there is no home at {ledger.home}: give one with --home DIR")
    told = Told(home=ledger.home)
    now = now_there(ledger.home)
    places = _places(ledger, now - YOUNG_SECONDS)
    silent: list[tuple[Place, Claim]] = []  # held by other machines: only time tells
    last = time.monotonic()
    for number, place in enumerate(places):
        if time.monotonic() - last > _SAY_SECONDS:
            last = time.monotonic()
            say(f"looked at {number} of {len(places)} folders")
        kind = place.folder.parent.name
        told.looked_at[kind] = told.looked_at.get(kind, 0) + 1
        holder = holder_of(place.folder)
        if holder is None or holder.gone:
            _visit(place, told, mend)
        elif not holder.here and now - holder.changed / 1e9 > leases.STALE_SECONDS:
            silent.append((place, Claim(place.folder)))
        else:
            told.busy.append(str(place.folder.relative_to(told.home)))
    if mend:
        _wait(silent, told, say)
    else:
        for place, _ in silent:
            for path in leases_of(place.folder):
                found = _silent(
                    path, holder_of(place.folder), "watched, and removed if it stays so"
                )
                told.add(_without_check(found), mended=False)
    for found in _readable(ledger.home, partial(leftovers, ledger.home, now - YOUNG_SECONDS)):
        _mend(found, told, mend)  # of launchers too, as the marks that nodes look for
    told.looked_at["caches"] = 0
    look = partial(cache_findings, ledger.cache, now - YOUNG_SECONDS, told.looked_at)
    for found in _readable(ledger.cache, look):
        _mend(found, told, mend)
    if told.busy:
        say(f"somebody is at work in {len(told.busy)} folders, which were left alone")
    return told


def stale_leases(folder: Path) -> list[Finding]:
    """Find leases in a folder that nobody living holds, as far as this machine can tell."""
    holder = holder_of(folder)
    if holder is not None and not holder.gone:
        return []
    about = {} if holder is None else holder.about
    what = f"a lease whose holder is gone (process {about.get('pid')} of {about.get('host')})"
    return [Finding(path=path, what=what, deed="removed") for path in leases_of(folder)]


def _silent(path: Path, holder: Holder | None, deed: str) -> Finding:
    host = None if holder is None else holder.about.get("host")
    what = f"a lease of {host} without a sign of life for long"
    return Finding(path=path, what=what, deed=deed)


def _without_check(found: Finding) -> Finding:
    """Say of what can be mended that `--check` did not."""
    return replace(found, deed=f"without --check: {found.deed}")


def _places(ledger: Ledger, young: float) -> list[Place]:
    """Return every folder that is held as a whole: runs before the trainings that name them."""

    def of(part: str, find: Callable[[Ledger, str], Iterator[Finding]]) -> list[Place]:
        return [
            Place(folder=one, find=partial(find, ledger, one.name))
            for one in folders(ledger.home / part)
            if part == "studies" or is_identity(one.name)
        ]

    def of_study(ledger: Ledger, name: str) -> Iterator[Finding]:
        return study_findings(ledger.home / "studies" / name, young)

    runs, trainings = of("runs", run_findings), of("trainings", training_findings)
    return [*runs, *trainings, *of("studies", of_study)]


def _visit(place: Place, told: Told, mend: bool) -> None:
    """Look at a folder that nobody living holds, and mend it under a lease of this process."""
    stale = stale_leases(place.folder)
    found = [*stale, *_readable(place.folder, place.find)]
    if not found:
        return
    if not mend:
        if holder_of(place.folder) is None or stale:  # nobody came meanwhile
            for one in found:
                told.add(_without_check(one) if one.mend or one in stale else one, mended=False)
        return
    try:
        lease = Claim(place.folder).attempt()
    except FileNotFoundError:  # the folder was removed since
        return
    except OSError as error:
        told.add(_unwritable(place, error), mended=False)
        return
    if lease is None:
        told.busy.append(str(place.folder.relative_to(told.home)))
    else:
        _mend_held(place, lease, stale, told)


def _unwritable(place: Place, error: OSError) -> Finding:
    what = f"is not as it should be, and cannot be written: {error.strerror}"
    return Finding(path=place.folder, what=what, deed="run this as who owns it")


def _mend_held(place: Place, lease: Lease, stale: list[Finding], told: Told) -> None:
    try:
        for _ in range(_ROUNDS):
            found = _readable(place.folder, place.find)
            for one in found:
                _mend(one, told, True)
            if not any(one.mend for one in found) or any(one.path == place.folder for one in found):
                break
    finally:
        lease.release()
    for one in stale:
        told.add(one, mended=not one.path.exists())
    if any(one["place"] == str(place.folder.relative_to(told.home)) for one in told.findings):
        with contextlib.suppress(OSError):  # somebody has come since: it is not empty
            place.folder.rmdir()


def _wait(silent: list[tuple[Place, Claim]], told: Told, say: Callable[[str], None]) -> None:
    """Watch leases of other machines for as long as it takes to know, and mend what they left."""
    patience = leases.STALE_SECONDS
    if silent:
        say(
            f"{len(silent)} leases of other machines have shown no sign of life for long:"
            f" watching them for {patience:.0f} s ..."
        )
    end = time.monotonic() + patience + 2 * _LOOK_SECONDS
    while silent:
        late = time.monotonic() >= end
        left = []
        for place, claim in silent:
            holder, before = holder_of(place.folder), leases_of(place.folder)
            try:
                lease = claim.attempt()
            except OSError as error:
                told.add(_unwritable(place, error), mended=False)
                continue
            if lease is not None:
                stale = [_silent(path, holder, "removed") for path in before]
                _mend_held(place, lease, stale, told)
            elif late:
                told.busy.append(str(place.folder.relative_to(told.home)))
            else:
                left.append((place, claim))
        silent = left
        if silent:
            time.sleep(_LOOK_SECONDS)


def _mend(found: Finding, told: Told, mend: bool) -> None:
    if found.mend is None or not mend:
        told.add(_without_check(found) if found.mend else found, mended=False)
        return
    try:
        done = found.mend()
    except OSError as error:
        told.add(found, mended=False, deed=f"it cannot be changed: {error.strerror}")
        return
    if done is False:
        told.add(found, mended=False, deed="it is in use, and was left alone")
    else:
        told.add(found, mended=True)


def _readable(folder: Path, find: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return the findings of a place; what cannot be read there is one more."""
    found = []
    try:
        for one in find():
            found.append(one)
    except OSError as error:
        path = Path(error.filename) if error.filename else folder
        path = path if path.is_relative_to(folder) else folder
        found.append(Finding(path=path, what=f"cannot be read: {error.strerror}", deed="look why"))
    return found
