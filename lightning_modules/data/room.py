"""How much the home's cache may hold: what was used least recently goes, what is in use stays.

Before a decoded cache is built or a shard fetched, others are removed, the least recently used
first, until a tenth of the disk stays free, and all of them fit `ABLATE_CACHE_GIB` where that is
set. The time of a file is when it was last opened. Who uses a file holds a shared lock on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_modules.data.errors import DataError

LIMIT = "ABLATE_CACHE_GIB"  # environment variable
SHARDS = "shards"  # folder of fetched shards, beside the decoded caches
_SPARE = 0.1  # share of the disk that is left free
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Open:
    """An open file, closed with this object."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)

    @property
    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self.handle).st_size


class Held(Open):
    """A file of the cache that is not removed while this object lives; its time says it is used."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with contextlib.suppress(OSError):  # no locks there: a removed file stays readable
            fcntl.flock(self.handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):  # somebody else's file: its time stays
            os.utime(path)


def make_room(folder: Path, needed: int) -> bool:
    """Remove what nobody uses until `needed` more bytes fit; return whether they do.

    Args:
        folder: of the caches.
        needed: bytes that will be written.

    Raises:
        DataError: the limit in the environment is no number.
    """
    limit = cache_limit()
    with locked(folder / "room.lock"):
        while True:
            held = _removable(folder)
            used = sum(size for _, size, _ in held)
            disk = shutil.disk_usage(folder)
            fits = limit is None or used + needed <= limit
            if fits and disk.free - needed >= _SPARE * disk.total:
                return True
            if not any(remove_unused(path) for _, _, path in sorted(held)):
                return fits and disk.free >= needed


def cache_limit() -> int | None:
    """Return the bytes that `ABLATE_CACHE_GIB` allows, or None where it is not set."""
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 < limit < float("inf"):
        raise DataError(f"{LIMIT} = {text!r}: give a number of GiB above 0, as 50.")
    return int(limit * 2**30)


def no_room(what: str, needed: int, folder: Path, advice: str) -> DataError:
    """Return the error for what does not fit; `advice` says what else can be done."""
    limit = cache_limit()
    free = shutil.disk_usage(folder).free
    allowed = f"; {LIMIT} allows {limit / 2**20:.0f} MiB in all" if limit is not None else ""
    return DataError(
        f"{what} needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB can be written there"
        f"{allowed}. Free some space, choose another --home, {advice}"
    )


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock between processes and threads; the system releases it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link, which somebody else who writes into the home may have put there.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # A file system without locks: two builders write the same bytes, each aside.
            if error.errno not in _NO_LOCKS:
                raise
        yield


def remove_unused(path: Path) -> bool:
    """Remove a file and its description, unless it is in use; return whether it went."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.with_suffix(".json").unlink(missing_ok=True)  # first: without it there is no cache
        path.unlink(missing_ok=True)
    except OSError:  # in use, not ours, or no locks there to tell
        return False
    finally:
        os.close(handle)
    return True


def _removable(folder: Path) -> list[tuple[int, int, Path]]:
    """Return last use, size and path of each decoded cache and fetched shard."""
    found = []
    for path in (*folder.glob("*.v*.npy"), *(folder / SHARDS).glob("[!.]*")):
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            stat = path.stat()
            found.append((stat.st_mtime_ns, stat.st_size, path))
    return found
