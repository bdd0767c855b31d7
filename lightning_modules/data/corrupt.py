"""Find the images of a set that cannot be decoded, and leave them out on request."""

from __future__ import annotations

from pathlib import Path

from lightning_modules.data.errors import CorruptImageError
from lightning_modules.data.fingerprint import files_fingerprint
from lightning_modules.data.items import FileItems, Items, Source
from lightning_modules.data.memory import recall, remember, stat_files
from lightning_modules.data.parallel import available_cores, ordered_map


def find_corrupt(items: Items) -> tuple[str, ...]:
    """Decode every image file and return the names of those that fail."""
    if not isinstance(items, FileItems):
        return ()
    fine = ordered_map(lambda i: _is_fine(items, i), len(items), available_cores())
    return tuple(name for name, good in zip(items.names, fine, strict=True) if not good)


def leave_out_corrupt(source: Source, memory: Path | None) -> Source:
    """Return the source without the images that cannot be decoded; they are in `skipped`.

    Raises where a class would be left without images.
    """
    if memory is None or not source.files:
        return source.without(_corrupt_names(source))
    stats = stat_files(source.folder, source.files)
    known = recall(memory, source.name, stats).get("corrupt")
    if isinstance(known, list):
        return source.without([str(name) for name in known])
    names = _corrupt_names(source)
    files_fingerprint(source.name, stats, memory)  # remembered first, so that a record is whole
    remember(memory, source.name, stats, {"corrupt": names})
    return source.without(names)


def _corrupt_names(source: Source) -> list[str]:
    return [*find_corrupt(source.train), *find_corrupt(source.validation)]


def _is_fine(items: FileItems, i: int) -> bool:
    try:
        items.read(i)
    except CorruptImageError:
        return False
    return True
