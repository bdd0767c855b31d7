"""Decode once: all images of a part as one memory-mapped uint8 array, `(N, 3, size, size)`.

The array is a plain .npy file; a small JSON file beside it, written last, says what it holds.
Any number of processes may open the same cache: one builds, the others wait and reuse.
"""

from __future__ import annotations

import errno
import json
import re
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lightning_modules.data.crops import central_square
from lightning_modules.data.decode import Pixels
from lightning_modules.data.errors import CorruptImageError, DataError, corrupt_images
from lightning_modules.data.items import Items
from lightning_modules.data.parallel import ordered_map
from lightning_modules.data.room import Held, locked, make_room, no_room
from lightning_modules.files import write_aside

VERSION = 1  # bumped when the same images would be stored as other pixels

_BLOCK, _BLOCKS = 1 << 20, 64  # checked on opening: all of 64 MiB, a sample of more (about 30 ms)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_key(fingerprint: str, part: str, size: int) -> str:
    """Return the key of a cache: the same images at the same size, and nothing else."""
    return f"{fingerprint[:32]}-{part}-{size}"


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


def to_stderr(text: str) -> None:
    """Print a note for the user."""
    print(text, file=sys.stderr)


def open_cache(
    items: Items,
    size: int,
    folder: Path,
    key: str,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] = no_progress,
    note: Callable[[str], None] = to_stderr,
) -> Pixels:
    """Return all images, mapped from the cache file, which is built if it is not there.

    Raises `DataError` where images are corrupt (naming all of them) or the disk is full.

    Args:
        items: The part of a data set; image `i` of the array is `items.read(i)`.
        size: Height and width to store; see `central_square`.
        folder: Where caches live.
        key: From `cache_key`.
        threads: That decode.
        progress: Called with images done and images in all while building.
        note: Called with a line of text when the user would wonder what happens.
    """
    if size < 1:
        raise DataError(f"a cache of size {size} is impossible; give 1 or more pixels.")
    shape = (len(items), 3, size, size)
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', key)}.v{VERSION}.npy"
    found, _ = _open(path, key, shape)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), lambda: note(f"waiting for another run's {path}")):
        found, fault = _open(path, key, shape)
        if found is not None:
            return found
        if fault:
            note(f"the cache {path} {fault}: built again")
        _build(items, path, key, shape, threads, progress)
    found, fault = _open(path, key, shape)
    if found is None:
        raise DataError(f"the new cache {path} {fault or 'is gone'}. Check the disk it is on.")
    return found


def _open(path: Path, key: str, shape: tuple[int, ...]) -> tuple[Pixels | None, str]:
    """Return the mapped array, or None and what is wrong with it (nothing where it is absent)."""
    try:
        about = json.loads(path.with_suffix(".json").read_text("ascii"))
        expected = _about(path, key, shape)
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"has an unreadable description ({error})"
    if not isinstance(about, dict):
        return None, "has an unreadable description (not a JSON object)"
    wrong = [word for word in expected if about.get(word) != expected[word]]
    if wrong:
        return None, f"is damaged or not complete (its {', '.join(wrong)} is not as recorded)"
    try:
        held = Held(path)
        array: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        return None, f"cannot be read ({error})"
    if array.shape != shape or array.dtype != np.uint8:
        return None, f"holds {array.dtype}{array.shape}, expected uint8{shape}"
    weakref.finalize(array, lambda: held)  # which is held as long as the array, or a view, lives
    return array, ""


def damage(path: Path) -> str:
    """Return what is wrong with decoded images, by their own description; empty: nothing.

    It says nothing of caches of other versions. Unlike `open_cache`, this is no use of the cache.
    """
    if not path.name.endswith(f".v{VERSION}.npy"):
        return ""
    try:
        about = json.loads(path.with_suffix(".json").read_text("ascii"))
        expected = _about(path, about["key"], tuple(about["shape"]))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return "was not decoded to its end (it has no description)"
    except (ValueError, KeyError, TypeError):
        return "has an unreadable description, or is no array"
    wrong = [word for word in expected if about.get(word) != expected[word]]
    if wrong or list(array.shape) != about["shape"] or array.dtype != np.uint8:
        return f"is damaged (its {', '.join(wrong) or 'shape'} is not as recorded)"
    return ""


def _about(path: Path, key: str, shape: tuple[int, ...]) -> dict[str, object]:
    return {
        "schema_version": VERSION,
        "key": key,
        "shape": list(shape),
        "bytes": path.stat().st_size,
        "crc32": _sampled_crc32(path),
    }


def _sampled_crc32(path: Path) -> int:
    """Return the CRC-32 of evenly spaced blocks, the first and the last among them."""
    size = path.stat().st_size
    last = max(0, size - _BLOCK)
    crc = 0
    with path.open("rb") as file:
        for start in np.linspace(0, last, min(_BLOCKS, -(-size // _BLOCK)), dtype=np.int64):
            file.seek(int(start))
            crc = zlib.crc32(file.read(_BLOCK), crc)
    return crc


def _build(
    items: Items,
    path: Path,
    key: str,
    shape: tuple[int, ...],
    threads: int,
    progress: Callable[[int, int], None],
) -> None:
    for left_over in path.parent.glob(f".{path.name}.*"):  # of a run that was killed; we are alone
        left_over.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    needed = int(np.prod(shape))
    if not make_room(path.parent, needed):
        raise _disk_full(path, needed)
    corrupt: list[CorruptImageError] = []
    try:
        with write_aside(path) as file:
            np.lib.format.write_array_header_2_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for i, image in enumerate(_squares(items, shape[-1], threads)):
                if isinstance(image, CorruptImageError):
                    corrupt.append(image)
                elif not corrupt:
                    file.write(image.tobytes())
                if i % 64 == 63 or i + 1 == len(items):
                    progress(i + 1, len(items))
            if corrupt:
                raise corrupt_images(corrupt, len(items))
        with write_aside(path.with_suffix(".json")) as file:
            file.write(json.dumps(_about(path, key, shape)).encode("ascii"))
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(path, needed) from error
        raise


def _squares(items: Items, size: int, threads: int) -> Iterator[Pixels | CorruptImageError]:
    def square(i: int) -> Pixels | CorruptImageError:
        try:
            return central_square(items.read(i), size)
        except CorruptImageError as error:
            return error

    return ordered_map(square, len(items), threads)


def _disk_full(path: Path, needed: int) -> DataError:
    return no_room(
        f"the cache {path}",
        needed,
        path.parent,
        "or store smaller images (--set data.stored_size=N; 0 decodes at each access).",
    )
