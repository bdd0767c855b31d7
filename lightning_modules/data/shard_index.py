"""What is where in a tar file of samples: read once, whole, and remembered.

A sample is the members that share a name up to the first dot after its folders: an image, and
`.cls` (a number or a name) or `.json` (whose `label` or `cls` it is). Other members are passed
over; nothing is unpacked, and nothing is run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.decode import image_size
from lightning_modules.data.errors import DataError
from lightning_modules.data.folders import IMAGE_SUFFIXES
from lightning_modules.data.memory import stat_files
from lightning_modules.data.shelf import is_address, opened, persistently
from lightning_modules.files import write_aside

_VERSION = 1
_LABELS = (".cls", ".json")
_LARGEST_LABEL = 1 << 20  # bytes of a .json


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The images of a shard, in the order of the shard."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]  # as they stand there
    starts: NDArray[np.int64]  # of an image's bytes in the shard
    sizes: NDArray[np.int64]  # bytes
    sides: NDArray[np.int32]  # (N, 2): height and width by an image's header, or zeros
    length: int  # bytes of the shard
    digest: bytes  # SHA-256 of the shard


def indexed(place: str, memory: Path | None, part: str) -> ShardIndex:
    """Return the index of a shard, as remembered or by reading it.

    A file is read again where its size or time changed; what is at an address is held against its
    index when it is fetched.

    Args:
        place: a path, or an address.
        memory: the folder that remembers; None: read it.
        part: `train` or `val`, for errors.

    Raises:
        DataError: it cannot be had or read, or a sample lacks image or label.
    """
    kept, settled = None, False
    if memory is not None:
        kept, settled = _place_of(place, memory)
        if (known := _recalled(kept)) is not None:
            return known

    def read() -> ShardIndex:
        with opened(place) as stream:
            return read_index(stream, place)

    index = persistently(read)
    if not index.keys:
        raise DataError(f"{place} ({part}) holds no image with a label.")
    if kept is not None and settled:
        _remember(kept, index)
    return index


def is_remembered(place: str, memory: Path) -> bool:
    """Return whether the index of a shard can be had without reading the shard."""
    return _place_of(place, memory)[0].is_file()


def _place_of(place: str, memory: Path) -> tuple[Path, bool]:
    """Return where the index of a shard is remembered, and whether the shard is old enough."""
    state, settled = ("", True) if is_address(place) else _state(place)
    name = hashlib.sha256(f"{_VERSION}\n{place}\n{state}".encode(errors="surrogateescape"))
    return memory / "shard-index" / f"{name.hexdigest()[:32]}.npz", settled


def read_index(stream: Any, name: str) -> ShardIndex:
    """Read a tar file once, from a stream that cannot go back."""
    counted = _Counted(stream)
    images: dict[str, tuple[int, int, tuple[int, int]]] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Member) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, file = os.path.split(member.name)
                stem, _, suffix = file.partition(".")
                key, suffix = f"{folder}/{stem}" if folder else stem, f".{suffix.lower()}"
                if suffix in IMAGE_SUFFIXES:
                    if key in images:
                        raise DataError(f"{name} holds two images of the sample {key!r}.")
                    head = tar.extractfile(member)
                    assert head is not None  # it is a file
                    sides = image_size(head.read()) or (0, 0)
                    images[key] = (member.offset_data, member.size, sides)
                elif suffix in _LABELS and not (suffix == ".json" and key in labels):
                    if member.size > _LARGEST_LABEL:
                        raise DataError(f"{name}: {member.name} has {member.size} bytes: no label.")
                    text = tar.extractfile(member)
                    assert text is not None
                    label = _label(text.read(), suffix, f"{name}: {member.name}")
                    if label is not None:
                        labels[key] = label
        while counted.read(1 << 20):  # what follows the end of the archive is part of the file
            pass
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"the shard {name} is no whole tar file ({error}).") from None
    if counted.last.strip(b"\0"):  # cut between two members, it would only have fewer images
        raise DataError(f"the shard {name} is no whole tar file (its end is missing).")
    for key in images:
        if key not in labels:
            raise DataError(
                f"{name}: the sample {key!r} has no label; {key}.cls, or {key}.json with label or"
                " cls, is needed."
            )
    kept = list(images.values())
    return ShardIndex(
        tuple(images),
        tuple(labels[key] for key in images),
        np.array([start for start, _, _ in kept], np.int64),
        np.array([size for _, size, _ in kept], np.int64),
        np.array([sides for _, _, sides in kept], np.int32).reshape(-1, 2),
        counted.count,
        counted.digest.digest(),
    )


def _label(content: bytes, suffix: str, name: str) -> str | None:
    """Return a label as text, or None where a .json holds none."""
    try:
        if suffix == ".cls":
            text = content.decode("utf-8").strip()
        else:
            tree = json.loads(content)
            value = tree.get("label", tree.get("cls")) if isinstance(tree, dict) else None
            if value is None or isinstance(value, bool | float | list | dict):
                return None
            text = str(value)
        text.encode()  # half a character, as JSON may hold, is refused here
        text = str(int(text)) if text.isdecimal() else text
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no label ({error}).") from None
    if not text or "\n" in text or "\0" in text or text.startswith("-"):
        raise DataError(f"{name} holds {text[:40]!r}: a class's number from 0 on, or a name.")
    return text


class _Member(tarfile.TarInfo):
    """A header; one that is cut or damaged is an error, not the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf).strip(b"\0"):
                raise EOFError(error) from None
            raise  # zeros: the end


class _Counted(io.RawIOBase):
    """A stream that counts and hashes what is read of it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count, self.digest = 0, hashlib.sha256()
        self.last = b""  # two blocks: zeros at the end of an archive

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.count += len(piece)
        self.digest.update(piece)
        self.last = (self.last + piece)[-2 * tarfile.BLOCKSIZE :]
        return piece


def _state(path: str) -> tuple[str, bool]:
    """Return what changes with a file, and whether it is old enough for that to be trusted."""
    folder, name = os.path.split(path)
    stats = stat_files(Path(folder), (name,))
    return f"{stats.sizes[0]} {stats.times[0]}", bool(stats.settled().all())


def _remember(path: Path, index: ShardIndex) -> None:
    def packed(texts: Sequence[str]) -> NDArray[Any]:
        return np.frombuffer("\0".join(texts).encode(errors="surrogateescape"), np.uint8)

    buffer = io.BytesIO()
    np.savez(
        buffer,
        keys=packed(index.keys),
        labels=packed(index.labels),
        starts=index.starts,
        sizes=index.sizes,
        sides=index.sides,
        length=index.length,
        digest=np.frombuffer(index.digest, np.uint8),
    )
    with write_aside(path) as file:
        file.write(buffer.getbuffer())


def _recalled(path: Path) -> ShardIndex | None:
    def texts(array: NDArray[Any]) -> tuple[str, ...]:
        return tuple(array.tobytes().decode(errors="surrogateescape").split("\0"))

    try:
        with np.load(path, allow_pickle=False) as kept:
            return ShardIndex(
                texts(kept["keys"]),
                texts(kept["labels"]),
                kept["starts"],
                kept["sizes"],
                kept["sides"],
                int(kept["length"]),
                kept["digest"].tobytes(),
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # not there, or damaged: read again
