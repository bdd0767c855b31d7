"""What a data set is once it is opened: names, labels and a way to read each image."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.decode import Pixels, decode_image, image_size
from lightning_modules.data.errors import DataError

Labels = NDArray[np.int64]
Index = NDArray[np.int64]


def _key(name: str, told: str) -> str:
    """Return a set's name, with what else tells apart sets of the same files."""
    code = told.encode("utf-8", "surrogateescape")
    return f"{name}-{hashlib.sha256(code).hexdigest()[:16]}" if told else name


@dataclass(frozen=True)
class DataSpec:
    """The DATA word of the command line, taken apart."""

    name: str
    folder: Path | str | None = None  # None: it comes with the program; a text: no one folder

    @property
    def settled(self) -> Path | str | None:
        """Return the folder as it is from anywhere; a text is made so when it is read."""
        if not isinstance(self.folder, Path):
            return self.folder
        return self.folder.expanduser().absolute()

    @property
    def key(self) -> str:
        """Return under which name facts of the set are remembered, beside its files."""
        return _key(self.name, self.folder if isinstance(self.folder, str) else "")

    @property
    def text(self) -> str:
        """Return the word again, e.g. `cifar10:/data/cifar`."""
        return self.name if self.folder is None else f"{self.name}:{self.folder}"


@dataclass(frozen=True, eq=False)
class ArrayItems:
    """Images that are in memory already."""

    names: tuple[str, ...]  # sorted; they decide the partition, so they never change
    labels: Labels
    pixels: Pixels = field(repr=False)  # (N, height, width, 3)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> Pixels:
        """Return image `i` as `(height, width, 3)`."""
        image: Pixels = self.pixels[i]
        return image

    def windows(self, seed: int, epoch: int) -> Index | None:
        """Return None: an epoch mixes all images."""
        return None

    def native_size(self) -> tuple[int, int] | None:
        """Return the `(height, width)` that all images have."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    def take(self, index: Index) -> ArrayItems:
        """Return the items at `index`, in that order."""
        names = tuple(self.names[i] for i in index)
        return ArrayItems(names, self.labels[index], self.pixels[index])


@dataclass(frozen=True, eq=False)
class EncodedItems(ABC):
    """Images as the bytes of image files, read and decoded anew at each access."""

    names: tuple[str, ...]  # sorted
    labels: Labels

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def content(self, i: int) -> bytes:
        """Return the bytes of image file `i`."""

    def title(self, i: int) -> str:
        """Return what an error calls image `i`."""
        return self.names[i]

    def windows(self, seed: int, epoch: int) -> Index | None:
        """Return by image the window of an epoch in which it comes, or None: it mixes all."""
        return None

    def read(self, i: int) -> Pixels:
        """Return image `i` as `(height, width, 3)`; raise `CorruptImageError` where it is none."""
        return decode_image(self.content(i), self.title(i))

    def native_size(self) -> tuple[int, int] | None:
        """Return the `(height, width)` that all images have, or None where they differ.

        Reads headers up to the first difference. A file without a readable header has no vote:
        it is reported, with all others, when the images are decoded.
        """
        common: tuple[int, int] | None = None
        for i in range(len(self)):
            size = image_size(self.content(i))
            if size is not None and common is not None and size != common:
                return None
            common = common or size
        return common

    def take(self, index: Index) -> Self:
        """Return the items at `index`, in that order."""
        return replace(self, names=tuple(self.names[i] for i in index), labels=self.labels[index])


@dataclass(frozen=True, eq=False)
class FileItems(EncodedItems):
    """Images that are files: `folder / name`, with forward slashes in the name."""

    folder: Path

    def content(self, i: int) -> bytes:
        """Return the bytes of file `i`."""
        path = self.title(i)
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error

    def title(self, i: int) -> str:
        """Return the path of file `i`."""
        return f"{self.folder}/{self.names[i]}"


Items = ArrayItems | EncodedItems


@dataclass(frozen=True, eq=False)
class Source:
    """An opened data set; opening lists files and reads labels, it decodes no image file."""

    name: str
    classes: tuple[str, ...]  # label k is classes[k]
    train: Items
    validation: Items
    folder: Path  # what the names in `files` are relative to
    files: tuple[str, ...]  # sorted; every file whose content decides images or labels
    skipped: tuple[str, ...] = ()  # corrupt images that were left out on request
    identity: str = ""  # fingerprint of the set, where that of its files would not do
    roles: str = ""  # what decides parts and labels beside the files: part of the fingerprint

    @property
    def key(self) -> str:
        """Return under which name facts of the set are remembered, beside its files."""
        return _key(self.name, self.identity + self.roles)

    def without(self, names: Sequence[str]) -> Source:
        """Return the source with the images `names` left out and listed as skipped."""
        gone = frozenset(names)
        return replace(
            self,
            train=_without(self.train, gone, self.classes),
            validation=_without(self.validation, gone, self.classes),
            skipped=tuple(sorted({*self.skipped, *gone})),
        )


def labels_array(labels: Sequence[int]) -> Labels:
    """Return labels as a read-only array."""
    array = np.asarray(labels, dtype=np.int64)
    array.flags.writeable = False
    return array


def _without(items: Items, gone: frozenset[str], classes: tuple[str, ...]) -> Items:
    keep = np.array([i for i, name in enumerate(items.names) if name not in gone], dtype=np.int64)
    kept = items.take(keep)
    empty = np.setdiff1d(items.labels, kept.labels)
    if len(empty):
        raise DataError(
            f"class {classes[empty[0]]!r} has no image left once the corrupt ones are left out "
            f"(of {items.names[0].split('/')[0]}/). Replace the corrupt images."
        )
    return kept
