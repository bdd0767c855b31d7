"""Shards within reach: files where they are, those at web addresses fetched as they are needed.

Fetched shards lie in the cache of the home, which has a limit (`room`): those of the present and
the next window are held, older ones go when room is needed. What is fetched is held against its
index.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from lightning_modules.data.errors import DataError
from lightning_modules.data.room import SHARDS, Held, Open, locked, make_room, no_room
from lightning_modules.files import write_aside

AUTHORIZATION = "ABLATE_AUTHORIZATION"  # environment variable: sent as that header, kept nowhere
_SCHEMES = ("http", "https")
_TRIES, _PAUSE, _TIMEOUT = 5, 0.5, 60.0  # seconds; the pause doubles
WINDOW = 16  # shards whose images an epoch mixes; our choice
_AT_ONCE = 4  # shards that are fetched together
_OPEN = 64  # files that are open together: a process may have 1024, a set may have more shards
_PIECE = 1 << 20

T = TypeVar("T")


def is_address(place: str) -> bool:
    """Return whether a place is a web address, not a path."""
    return "://" in place


def check_address(place: str) -> None:
    """Raise where an address cannot be read, or holds what must not be written into a study.

    Raises:
        DataError: what is wrong with it; a secret is not repeated.
    """
    try:
        parts = urllib.parse.urlsplit(place)
        _ = parts.port  # looked at when it is asked for
    except ValueError:  # whose words may hold the secret
        raise DataError("wds: an address has a host or a port that cannot be.") from None
    if re.search(r"[^!-~]", place):
        raise DataError(
            f"wds: the address at {parts.hostname} holds spaces or letters beyond ASCII; write them"
            " as %20 and the like."
        )
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise DataError(f"wds: {parts.scheme}:// cannot be read; give http:// or https://.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise DataError(
            f"wds: the address at {parts.hostname} holds a name, a password or a query, which would"
            f" be written into the study. Leave it out; {AUTHORIZATION} in the environment is sent"
            " as the header Authorization."
        )


@contextlib.contextmanager
def opened(place: str) -> Iterator[_Stream]:
    """Open a shard as a stream, from its file or its address.

    Raises:
        DataError: it cannot be had.
    """
    if not is_address(place):
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(place, "rb"))
            except OSError as error:
                raise DataError(f"the shard {place} cannot be read: {error.strerror}.") from error
            yield _Stream(file, place)
        return
    request = urllib.request.Request(place)
    if secret := os.environ.get(AUTHORIZATION):  # not where a redirection leads
        request.add_unredirected_header("Authorization", secret)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        again = error.code in (408, 425, 429) or error.code >= 500
        raise _Failed(f"{place} was refused: {error.code} {error.reason}.", again) from None
    except (OSError, HTTPException) as error:
        raise _Failed(f"{place} cannot be fetched: {error}.") from None
    with response:
        yield _Stream(response, place)


def persistently(work: Callable[[], T]) -> T:
    """Return what some work with `opened` gives, begun again where a connection breaks off."""
    for attempt in range(_TRIES - 1):
        try:
            return work()
        except _Failed as error:
            if not error.again:
                raise
            time.sleep(_PAUSE * 2**attempt)
    return work()


class _Failed(DataError):
    """What a server or a connection did not give."""

    def __init__(self, text: str, again: bool = True) -> None:
        super().__init__(text)
        self.again = again  # whether another try may do better


class _Stream:
    """A stream whose errors say what was read."""

    def __init__(self, stream: Any, place: str) -> None:
        self._stream, self._place = stream, place

    def read(self, size: int) -> bytes:
        try:
            piece: bytes = self._stream.read(size)
        except (OSError, HTTPException) as error:
            raise _Failed(f"{self._place} broke off: {error}.", is_address(self._place)) from None
        if not piece and size and (left := getattr(self._stream, "length", None)):
            raise _Failed(f"{self._place} broke off {left} bytes before its end.")
        return piece


class Shelf:
    """The shards of a part. Reading is safe from several threads.

    Args:
        places: paths or addresses.
        known: of each, its bytes and SHA-256.
        memory: the cache of the home, for what is fetched; None where nothing is at an address.
    """

    def __init__(
        self, places: Sequence[str], known: Sequence[tuple[int, bytes]], memory: Path | None
    ) -> None:
        """Hold nothing yet."""
        self.places = tuple(places)
        self._known, self._memory = known, memory
        self._lock = threading.Lock()
        self._files: dict[int, Open] = {}
        self._readers: Counter[int] = Counter()
        self._coming: dict[int, Future[Held]] = {}
        count = len(places)
        self.expect([range(k, min(k + WINDOW, count)) for k in range(0, count, WINDOW)])
        self._pool: ThreadPoolExecutor | None = None

    def expect(self, windows: Sequence[Sequence[int]]) -> None:
        """Say in which groups the shards will be read from now on: an epoch begins."""
        with self._lock:
            self._windows, self._window = [list(each) for each in windows], -1
            self._of = {shard: k for k, each in enumerate(self._windows) for shard in each}

    def read(self, shard: int, start: int, size: int) -> bytes:
        """Return some bytes of a shard.

        Raises:
            DataError: it cannot be had, or is not what its index says.
        """
        place = self.places[shard]
        held = self._held(shard) if is_address(place) else self._file(shard)
        data = os.pread(held.handle, size, start)
        if len(data) != size:
            raise DataError(f"the shard {place} ends before byte {start + size}: it was changed.")
        return data

    def _file(self, shard: int) -> Open:
        with self._lock:
            if shard not in self._files:
                while len(self._files) >= _OPEN:  # closed when nobody reads it any more
                    del self._files[next(iter(self._files))]
                place = self.places[shard]
                try:
                    self._files[shard] = Open(Path(place))
                except OSError as error:
                    raise DataError(
                        f"the shard {place} cannot be read: {error.strerror}."
                    ) from None
            return self._files[shard]

    def _held(self, shard: int) -> Held:
        """Return a fetched shard; the first of a window lets the next window be fetched too.

        A shard of a window that has passed, as an evaluation reads them, is fetched alone.
        """
        with self._lock:
            self._window = max(self._window, self._of[shard])
            ahead = self._windows[self._window : self._window + 2]
            wanted = [shard, *(one for window in ahead for one in window)]
            self._readers[shard] += 1  # what another thread waits for is not given up
            for gone in self._coming.keys() - wanted - self._readers.keys():
                self._coming.pop(gone).cancel()
            self._pool = self._pool or ThreadPoolExecutor(_AT_ONCE)
            for one in wanted:
                if one not in self._coming:
                    self._coming[one] = self._pool.submit(self._fetched, one)
            coming = self._coming[shard]
        try:
            return coming.result()
        finally:
            with self._lock:
                self._readers[shard] -= 1
                self._readers += Counter()  # without those at 0

    def _fetched(self, shard: int) -> Held:
        """Return a shard that is on the disk, fetching it where it is not."""
        place, (size, digest) = self.places[shard], self._known[shard]
        assert self._memory is not None
        path = self._memory / SHARDS / digest.hex()
        with locked(self._memory / "fetching" / f"{digest.hex()[:32]}.lock"):
            for left_over in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
                left_over.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                held = Held(path)
                if held.size == size:
                    return held
            if not make_room(self._memory, size):
                raise no_room(f"the shard {place}", size, self._memory, "or use smaller shards.")
            persistently(lambda: _fetch(place, path, size, digest))
            return Held(path)


def _fetch(place: str, path: Path, size: int, digest: bytes) -> None:
    with opened(place) as stream, write_aside(path) as file:
        seen, count = hashlib.sha256(), 0
        while piece := stream.read(_PIECE):
            file.write(piece)
            seen.update(piece)
            count += len(piece)
        if count < size:
            raise _Failed(f"{place} broke off after {count} of {size} bytes.")
        if seen.digest() != digest:
            raise DataError(
                f"{place} is not what was indexed: it was changed. Give the changed set another"
                " home, or remove cache/shard-index in this one."
            )
