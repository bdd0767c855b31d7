"""The identity of a data set: a hash over the names, sizes and contents of its files.

It does not change when the folder moves or times change; it does when any byte does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lightning_modules.data.errors import DataError
from lightning_modules.data.items import ArrayItems, DataSpec, Source
from lightning_modules.data.memory import (
    Stats,
    combined,
    encoded,
    recall,
    recall_hashes,
    remember,
    remember_hashes,
    stat_files,
)
from lightning_modules.data.parallel import available_cores, ordered_map
from lightning_modules.data.sources import DATA_FORMATS

_PIECE = 1 << 20  # bytes read at once


def data_fingerprint(source: Source, memory: Path | None) -> str:
    """Return the fingerprint of an opened set as 64 hexadecimal digits.

    Args:
        source: With its skipped images, if any, which are part of the identity.
        memory: The folder that remembers hashes; None reads every file.
    """
    if source.identity:
        return fingerprint_without(source.identity, source.skipped)
    if not source.files:
        return fingerprint_without(_hash_arrays(source), source.skipped)
    stats = stat_files(source.folder, source.files)
    whole = files_fingerprint(source.key, stats, memory)
    if source.roles:
        whole = hashlib.sha256(encoded(f"{whole}\n{source.roles}")).hexdigest()
    return fingerprint_without(whole, source.skipped)


def remembered_fingerprint(spec: DataSpec, memory: Path) -> str | None:
    """Return the fingerprint of a whole set if it is remembered; opens no file of the set."""
    folder, files = DATA_FORMATS[spec.name].list_files(spec)
    if not files:
        return None
    fingerprint = recall(memory, spec.name, stat_files(folder, files)).get("fingerprint")
    return fingerprint if isinstance(fingerprint, str) else None


def files_fingerprint(name: str, stats: Stats, memory: Path | None) -> str:
    """Return the fingerprint of files, from memory as far as they have not changed."""
    if memory is None:
        return _combine(stats, _hash_files(stats, {}))
    fingerprint = recall(memory, name, stats).get("fingerprint")
    if isinstance(fingerprint, str):
        return fingerprint
    digests = _hash_files(stats, recall_hashes(memory, name, stats))
    remember_hashes(memory, name, stats, digests)
    fingerprint = _combine(stats, digests)
    remember(memory, name, stats, {"fingerprint": fingerprint})
    return fingerprint


def fingerprint_without(fingerprint: str, skipped: tuple[str, ...]) -> str:
    """Return the fingerprint of a set from which images were left out."""
    if not skipped:
        return fingerprint
    return hashlib.sha256(encoded("\n".join([fingerprint, "skipped", *skipped]))).hexdigest()


def _combine(stats: Stats, digests: list[bytes]) -> str:
    return combined(zip(stats.files, stats.sizes.tolist(), digests, strict=True))


def _hash_files(stats: Stats, known: dict[int, bytes]) -> list[bytes]:
    root = str(stats.folder)
    threads = min(16, 2 * available_cores())  # reading from a disk or a network waits

    def digest(i: int) -> bytes:
        return known[i] if i in known else _hash_file(f"{root}/{stats.files[i]}")

    return list(ordered_map(digest, len(stats.files), threads))


def _hash_file(path: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.digest()


def _hash_arrays(source: Source) -> str:
    digest = hashlib.sha256()
    for items in (source.train, source.validation):
        assert isinstance(items, ArrayItems), "a source without files holds arrays"
        digest.update(encoded("\n".join(items.names)))
        digest.update(items.labels.tobytes())
        digest.update(items.pixels.tobytes())
    return digest.hexdigest()
