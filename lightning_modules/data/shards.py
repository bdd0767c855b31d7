"""WebDataset shards (`wds:`): tar files of images with their labels, on disk or at web addresses.

Every shard is read once, whole, for its index (`shard_index`); after that an image is its bytes at
a place of its shard. Shards at web addresses are fetched as an epoch comes to them (`shelf`), so
that a set may be larger than the disk. Therefore an epoch takes `WINDOW` shards at a time, drawn
anew each epoch, and mixes the images of these: of a set of so few shards, all images.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.items import DataSpec, EncodedItems, Index, Source, labels_array
from lightning_modules.data.memory import combined
from lightning_modules.data.shard_index import ShardIndex, indexed
from lightning_modules.data.shard_names import FORM, shards_of, short
from lightning_modules.data.shelf import WINDOW, Shelf, is_address

_READERS = 8  # shards that are read for their index at once: a network waits


@dataclass(frozen=True, eq=False)
class ShardItems(EncodedItems):
    """Images as places in shards."""

    shard: NDArray[np.int32]  # of each image, a place in `shards`
    start: NDArray[np.int64]  # of its first byte there
    size: NDArray[np.int64]  # bytes
    sides: NDArray[np.int32]  # (N, 2): height and width by its header, or zeros
    shards: Shelf

    def content(self, i: int) -> bytes:
        """Return the bytes of image `i`."""
        return self.shards.read(int(self.shard[i]), int(self.start[i]), int(self.size[i]))

    def native_size(self) -> tuple[int, int] | None:
        """Return the `(height, width)` that all images have, or None where they differ."""
        known = self.sides[self.sides.all(axis=1)]
        if not len(known) or (known != known[0]).any():
            return None
        return int(known[0, 0]), int(known[0, 1])

    def take(self, index: Index) -> ShardItems:
        """Return the items at `index`, in that order."""
        return replace(
            super().take(index),
            shard=self.shard[index],
            start=self.start[index],
            size=self.size[index],
            sides=self.sides[index],
        )

    def windows(self, seed: int, epoch: int) -> Index | None:
        """Return in which window of an epoch each image comes; the epoch is expected."""
        from lightning_modules.streams import permutation

        turn = permutation(seed, "shards", epoch, len(self.shards.places))
        window = np.empty(len(turn), np.int64)
        window[turn] = np.arange(len(turn)) // WINDOW
        self.shards.expect([turn[k : k + WINDOW].tolist() for k in range(0, len(turn), WINDOW)])
        found: Index = window[self.shard]
        return found


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the common folder of the shards and their names; none where any is at an address."""
    train, validation = shards_of(str(spec.folder))
    every = train + validation
    if any(is_address(one) for one in every):
        return Path(), ()
    for path in every:
        if not os.path.isfile(path):
            raise DataError(f"the shard {path} is not there ({FORM}).")
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in every]))
    return folder, tuple(sorted(os.path.relpath(path, folder) for path in every))


def open_shards(spec: DataSpec, memory: Path | None) -> Source:
    """Open shards, reading those whose index is not remembered.

    Raises:
        DataError: a shard that cannot be had or read, or samples without image or label.
    """
    folder, files = list_files(spec)
    places = shards_of(str(spec.folder))
    with ThreadPoolExecutor(_READERS) as pool:
        parts = [
            list(pool.map(indexed, part, itertools.repeat(memory), itertools.repeat(name)))
            for name, part in zip(("train", "val"), places, strict=True)
        ]
    classes = _classes([index for part in parts for index in part], spec)
    train, validation = (
        _items(part, where, name, classes, memory)
        for part, where, name in zip(parts, places, ("train", "val"), strict=True)
    )
    if missing := sorted(set(range(len(classes))) - set(train.labels.tolist())):
        lacking = shortened([classes[k] for k in missing])
        raise DataError(f"the training shards of {spec.text} have no image of the class {lacking}.")
    if not files:
        _check_headers(train)
        _check_headers(validation)
    identity = combined(  # with the part: the same shards may be divided in another way
        sorted(
            (f"{name}/{shard}", index.length, index.digest)
            for name, where, part in zip(("train", "val"), places, parts, strict=True)
            for shard, index in zip(short(where), part, strict=True)
        )
    )
    return Source(spec.name, classes, train, validation, folder, files, identity=identity)


def _check_headers(items: ShardItems) -> None:
    """Raise where images have no readable header: all that is known without fetching them again."""
    bad = np.flatnonzero(~items.sides.all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(items)} images have no header that can be read:"
            f" {shortened([items.names[k] for k in bad[:6]])}. Mend the shards."
        )


def _classes(indices: Sequence[ShardIndex], spec: DataSpec) -> tuple[str, ...]:
    """Return the classes: numbers up to the largest, or the sorted names."""
    found = sorted({label for index in indices for label in index.labels})
    if len(found) < 2:
        raise DataError(f"{spec.text} has one class ({found[0]}); classification needs two.")
    if all(label.isdecimal() for label in found):
        largest, images = max(int(label) for label in found), sum(len(i.keys) for i in indices)
        if largest >= images:
            raise DataError(f"{spec.text} has a class {largest}, and {images} images in all.")
        return tuple(str(number) for number in range(largest + 1))
    if numbers := [label for label in found if label.isdecimal()]:
        names = [label for label in found if not label.isdecimal()]
        raise DataError(
            f"{spec.text} has numbers ({shortened(numbers)}) and names ({shortened(names)}) for"
            " classes: one or the other is needed."
        )
    return tuple(found)


def _items(
    indices: Sequence[ShardIndex],
    places: Sequence[str],
    part: str,
    classes: Sequence[str],
    memory: Path | None,
) -> ShardItems:
    number = {name: k for k, name in enumerate(classes)}
    names = [
        f"{part}/{shard}/{key}"
        for shard, index in zip(short(places), indices, strict=True)
        for key in index.keys
    ]
    order = sorted(range(len(names)), key=names.__getitem__)

    def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(arrays)[order]

    counts = [len(index.keys) for index in indices]
    labels = [number[label] for index in indices for label in index.labels]
    return ShardItems(
        tuple(names[k] for k in order),
        labels_array([labels[k] for k in order]),
        joined([np.full(count, k, np.int32) for k, count in enumerate(counts)]),
        joined([index.starts for index in indices]),
        joined([index.sizes for index in indices]),
        joined([index.sides for index in indices]),
        Shelf(places, [(index.length, index.digest) for index in indices], memory),
    )
