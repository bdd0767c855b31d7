"""One thing that is wrong in a home, and the leftovers that every folder may hold."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.files import read_json

_ASIDE = re.compile(r"\..+\.[0-9a-f]{32}")  # as `write_aside` and leases name what is not whole yet
YOUNG_SECONDS = 3600.0  # what is younger may still be written, where nothing says by whom


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong at a place, and what mends it."""

    path: Path
    what: str  # in words
    deed: str  # how it is mended, as "removed"; where it cannot be: what a person can do
    mend: Callable[[], bool | None] | None = None  # False: it could not, as it is in use


def remove(path: Path) -> Callable[[], None]:
    """Return what removes a file."""
    return lambda: path.unlink(missing_ok=True)


def leftovers(folder: Path, older_than: float | None = None) -> Iterator[Finding]:
    """Find files that were written aside by a process that ended before they were whole.

    Args:
        folder: looked at, but not below.
        older_than: a time of the file system, where others may be writing; None: nobody is.
    """
    for path in files(folder):
        if not _ASIDE.fullmatch(path.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # it has its name since
            if older_than is None or path.stat().st_mtime < older_than:
                what = "was left by a writer that was killed"
                yield Finding(path=path, what=what, deed="removed", mend=remove(path))


def earlier_lock(folder: Path) -> Iterator[Finding]:
    """Find the lock of an earlier version of this program; while one is at work, it is held."""
    path = folder / ".lock"
    if not path.is_file() or path.is_symlink():
        return

    def unlock() -> bool:
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            path.unlink(missing_ok=True)
            return True

    what = "was left by an earlier version"
    yield Finding(path=path, what=what, deed="removed", mend=unlock)


def unreadable_json(path: Path) -> str:
    """Return what is wrong with a file that should hold a JSON object; empty where nothing is.

    Raises:
        OSError: the file cannot be read, which says nothing about what it holds.
    """
    try:
        found = read_json(path)
    except ValueError:  # not JSON, or not text
        return "is damaged (it is not JSON)"
    return "" if found is None or isinstance(found, dict) else "is damaged (no JSON object)"


def files(folder: Path) -> list[Path]:
    """Return the files of a folder in the order of their names, links not among them."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder in the order of their names, links not among them."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def now_there(home: Path) -> float:
    """Return the time by the clock that the files of a home have.

    A shared file system's clock may not be this machine's; where nothing can be written, it is.
    """
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
