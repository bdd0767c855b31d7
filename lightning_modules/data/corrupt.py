"""Find the images of a set that cannot be decoded, and leave them out on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from lightning_modules.data.errors import CorruptImageError, DataError, corrupt_images
from lightning_modules.data.fingerprint import data_fingerprint
from lightning_modules.data.items import EncodedItems, Items, Source
from lightning_modules.data.memory import recall, remember, stat_files
from lightning_modules.data.parallel import available_cores, ordered_map


def find_corrupt(items: Items) -> tuple[str, ...]:
    """Decode every image file and return the names of those that fail."""
    if not isinstance(items, EncodedItems):
        return ()
    faults = ordered_map(partial(_fault, items), len(items), available_cores())
    return tuple(name for name, fault in zip(items.names, faults, strict=True) if fault)


def check_decodable(
    source: Source, memory: Path | None, progress: Callable[[int, int], None]
) -> None:
    """Decode every image file once, where that is not remembered, and name those that fail.

    For sets that are never decoded as a whole: a corrupt image is told before the training, not
    in the middle of it.

    Raises:
        DataError: names the corrupt images.
    """
    if source.identity and not source.files:
        return  # at addresses: their headers were read; all would be fetched once more
    checked = {"checked": [*source.skipped]}
    known: Mapping[str, object] = {}
    stats = None
    if source.files and memory is not None:
        stats = stat_files(source.folder, source.files)
        known = recall(memory, source.key, stats)
    if known.get("checked") == checked["checked"]:
        return
    total = len(source.train) + len(source.validation)
    wrong: list[CorruptImageError] = []
    done = 0
    for items in (source.train, source.validation):
        for error in ordered_map(partial(_fault, items), len(items), available_cores()):
            wrong += [error] if error is not None else []
            done += 1
            if done % 64 == 0:
                progress(done, total)
    if wrong:
        raise corrupt_images(wrong, total)
    if stats is not None and memory is not None:
        data_fingerprint(source, memory)  # remembered first, so a record is whole
        remember(memory, source.key, stats, checked)


def leave_out_corrupt(source: Source, memory: Path | None) -> Source:
    """Return the source without the images that cannot be decoded; they are in `skipped`.

    Raises where a class would be left without images.
    """
    if source.identity and not source.files:
        raise DataError("--skip-corrupt reads every image: give shards on a disk, or mend them.")
    if memory is None or not source.files:
        return source.without(_corrupt_names(source))
    stats = stat_files(source.folder, source.files)
    known = recall(memory, source.key, stats).get("corrupt")
    if isinstance(known, list):
        return source.without([str(name) for name in known])
    names = _corrupt_names(source)
    data_fingerprint(source, memory)  # remembered first, so that a record is whole
    remember(memory, source.key, stats, {"corrupt": names})
    return source.without(names)


def _corrupt_names(source: Source) -> list[str]:
    return [*find_corrupt(source.train), *find_corrupt(source.validation)]


def _fault(items: Items, i: int) -> CorruptImageError | None:
    try:
        items.read(i)
    except CorruptImageError as error:
        return error
    return None
