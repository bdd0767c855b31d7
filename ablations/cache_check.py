"""What can be wrong in the cache of a home. All of it is derived: what is damaged goes. No torch.

Only files under names that this program gives are looked at.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, MutableMapping
from functools import partial
from pathlib import Path

import numpy as np

from ablations.findings import Finding, files, folders, leftovers, remove, unreadable_json
from lightning_modules.data.cache import damage
from lightning_modules.data.room import SHARDS, remove_unused

_CACHE = re.compile(r".+\.v\d+\.(npy|json)")
_MEMORY = re.compile(r"(facts|speed|.+-[0-9a-f]{16})\.json|.+-[0-9a-f]{16}\.npz")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def cache_findings(
    folder: Path, young: float, counts: MutableMapping[str, int]
) -> Iterator[Finding]:
    """Find what is damaged or left over in a cache; count the decoded caches and shards."""
    observed = folders(folder / "observations")
    parts = [folder, folder / SHARDS, folder / "shard-index", *observed]
    for part in parts:
        yield from leftovers(part, young)
    for path in files(folder):
        if _CACHE.fullmatch(path.name):
            counts["caches"] += path.suffix == ".npy"
            yield from _decoded(path)
        elif _MEMORY.fullmatch(path.name):
            yield from _memory(path)
    for part in (folder / "shard-index", *observed):
        for path in files(part):
            if path.suffix in (".json", ".npz"):
                yield from _memory(path)
    for path in files(folder / SHARDS):
        if _DIGEST.fullmatch(path.name):
            counts["caches"] += 1
            yield from _shard(path)


def _memory(path: Path) -> Iterator[Finding]:
    words = unreadable_json(path) if path.suffix == ".json" else ""
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as held:
                for name in held.files:
                    held[name]
        except (ValueError, EOFError, zipfile.BadZipFile, KeyError):
            words = "is damaged (no readable arrays)"
    if words:
        deed = "removed; it is found out again when it is needed"
        yield Finding(path=path, what=words, deed=deed, mend=remove(path))


def _decoded(path: Path) -> Iterator[Finding]:
    """Look at decoded images and their description, whichever of the two files this is."""
    array = path.with_suffix(".npy")
    if path.suffix == ".json" and array.exists():
        return  # told at the array
    words = damage(array) if array.exists() else "describes decoded images that are not there"
    lock = array.with_suffix(".lock")
    if not words or _is_held(lock):  # they are being decoded
        return
    deed = "removed; decoded again when it is needed"
    mend = partial(_remove, array, lock) if array.exists() else remove(path)
    yield Finding(path=path, what=words, deed=deed, mend=mend)


def _shard(path: Path) -> Iterator[Finding]:
    if _is_whole(path):
        return
    what = "does not hold the shard whose SHA-256 is its name"
    deed = "removed; fetched again when it is needed"
    lock = path.parent.parent / "fetching" / f"{path.name[:32]}.lock"
    yield Finding(path=path, what=what, deed=deed, mend=partial(_remove, path, lock))


def _is_whole(shard: Path) -> bool:
    with shard.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.name


def _remove(path: Path, lock: Path) -> bool:
    """Remove a damaged file of the cache; return whether nobody made or used it meanwhile."""
    lock.parent.mkdir(exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.suffix == ".npy" and not damage(path):
            return True  # made anew since it was looked at
        return remove_unused(path)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def _is_held(path: Path) -> bool:
    """Return whether somebody builds what a lock is for."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
