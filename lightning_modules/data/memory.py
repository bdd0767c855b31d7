"""What is remembered about a data folder, so that a second look costs file stats only.

One JSON file per data set and folder holds the answers, valid as long as the `state` (paths, sizes
and modification times of all files) is the same. Beside it, the hash of each file is kept, so
that one changed file does not cost a second reading of all the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.errors import DataError
from lightning_modules.files import write_aside

SCHEMA_VERSION = 1

# A file changed twice within one tick of the file system's clock looks unchanged. 2 s is the
# coarsest tick in use (FAT); what is younger is not remembered.
_TICK_NS = 2_000_000_000


@dataclass(frozen=True, eq=False)
class Stats:
    """Sizes and times of the files of a set, in the order of their sorted names."""

    folder: Path
    files: tuple[str, ...]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]  # st_mtime_ns

    @property
    def state(self) -> str:
        """Return a digest that changes when a file is added, removed, resized or rewritten."""
        digest = hashlib.sha256()
        digest.update(encoded("\0".join(self.files)))
        digest.update(self.sizes.tobytes())
        digest.update(self.times.tobytes())
        return digest.hexdigest()

    def settled(self) -> NDArray[np.bool_]:
        """Return which files are old enough for their time to be trusted."""
        settled: NDArray[np.bool_] = np.abs(time.time_ns() - self.times) > _TICK_NS
        return settled


def stat_files(folder: Path, files: tuple[str, ...]) -> Stats:
    """Return size and time of each file, without opening it."""
    root = str(folder)
    sizes, times = np.empty(len(files), np.int64), np.empty(len(files), np.int64)
    for i, name in enumerate(files):
        try:
            stat = os.stat(f"{root}/{name}")
        except OSError as error:
            raise DataError(f"{root}/{name} cannot be read: {error.strerror}.") from error
        sizes[i], times[i] = stat.st_size, stat.st_mtime_ns
    return Stats(folder, files, sizes, times)


def recall(memory: Path, name: str, stats: Stats) -> dict[str, Any]:
    """Return what is remembered of a set in this state; empty where nothing is."""
    try:
        record = json.loads(_record_path(memory, name, stats.folder).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        return {}
    return record if record.get("state") == stats.state else {}


def remember(memory: Path, name: str, stats: Stats, facts: Mapping[str, Any]) -> None:
    """Add facts to what is remembered of a set in this state, unless a file is too young."""
    if not stats.settled().all():
        return
    record = {
        **recall(memory, name, stats),
        "schema_version": SCHEMA_VERSION,
        "data": name,
        "folder": str(stats.folder),
        "state": stats.state,
        **facts,
    }
    content = json.dumps(record, indent=1).encode("ascii")
    with write_aside(_record_path(memory, name, stats.folder)) as file:
        file.write(content)


def recall_hashes(memory: Path, name: str, stats: Stats) -> dict[int, bytes]:
    """Return the remembered SHA-256 of the files that have not changed, by position."""
    try:
        with np.load(_hashes_path(memory, name, stats.folder), allow_pickle=False) as stored:
            files = stored["files"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            keys = zip(files, stored["sizes"].tolist(), stored["times"].tolist(), strict=True)
            digests = stored["digests"].tobytes()
            known = {key: digests[32 * k : 32 * k + 32] for k, key in enumerate(keys)}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return {}
    now = zip(stats.files, stats.sizes.tolist(), stats.times.tolist(), strict=True)
    return {i: known[key] for i, key in enumerate(now) if len(known.get(key, b"")) == 32}


def remember_hashes(memory: Path, name: str, stats: Stats, digests: list[bytes]) -> None:
    """Keep the SHA-256 of every file that is old enough."""
    settled = stats.settled()
    keep = np.flatnonzero(settled).tolist()
    files = "\0".join(stats.files[i] for i in keep)
    buffer = BytesIO()
    np.savez(
        buffer,
        files=np.frombuffer(encoded(files), np.uint8),
        sizes=stats.sizes[settled],
        times=stats.times[settled],
        digests=np.frombuffer(b"".join(digests[i] for i in keep), np.uint8),
    )
    with write_aside(_hashes_path(memory, name, stats.folder)) as file:
        file.write(buffer.getbuffer())


def combined(lines: Iterable[tuple[str, int, bytes]]) -> str:
    """Return the hash of a set of files: of their relative names, sizes and content hashes."""
    whole = hashlib.sha256()
    for name, size, digest in lines:
        whole.update(encoded(f"{name}\t{size}\t{digest.hex()}\n"))
    return whole.hexdigest()


def encoded(text: str) -> bytes:
    """Return text, which may be a file name in any encoding, as bytes."""
    return text.encode("utf-8", "surrogateescape")


def _record_path(memory: Path, name: str, folder: Path) -> Path:
    where = hashlib.sha256(encoded(str(folder))).hexdigest()[:16]
    return memory / f"{name}-{where}.json"


def _hashes_path(memory: Path, name: str, folder: Path) -> Path:
    return _record_path(memory, name, folder).with_suffix(".npz")
