"""Opened data: source, decoded images and split, kept for the next run of the same process.

Only the last set is kept. It is taken again when its files' names, sizes and times are what they
were, which is what the memory of fingerprints trusts too (`data.memory`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data import (
    DataSpec,
    Items,
    Source,
    cache_key,
    data_fingerprint,
    open_cache,
    open_source,
    training_parts,
)
from lightning_modules.data.memory import stat_files
from lightning_modules.data.sources import DATA_FORMATS
from lightning_modules.streams import permutation
from recipes import Data

HOST = torch.device("cpu")
_RESIDENT = 2 << 30  # bytes of images that a GPU keeps at most, and an eighth of what it has free
_SPLITS = 8  # partitions of one set that are held: a seed of its own each where a subset is drawn


class Part:
    """One part of a data set: labels, and uint8 images by index.

    Stored images stay in the mapped file, which all processes share: a copy of their own would be
    no faster to gather from.
    """

    def __init__(
        self,
        items: Items,
        index: np.ndarray,
        stored: np.ndarray | None,
        resident: Callable[[torch.device], Tensor | None] = lambda device: None,
    ) -> None:
        self.items, self.index, self._resident = items, index, resident
        self.labels = torch.from_numpy(np.ascontiguousarray(items.labels[index]))
        self._stored = None if stored is None else np.asarray(stored)

    def __len__(self) -> int:
        return len(self.index)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the places of this part in the order of an epoch."""
        order = permutation(seed, "order", epoch, len(self))
        windows = self.items.windows(seed, epoch)
        if windows is None:
            return order
        ordered: np.ndarray = order[np.argsort(windows[self.index[order]], kind="stable")]
        return ordered

    @property
    def streams(self) -> bool:
        """Whether images are decoded at every access."""
        return self._stored is None

    def gather(self, places: np.ndarray, device: torch.device = HOST) -> Tensor:
        """Return the stored images at places of this part, as a copy.

        For a GPU they are gathered there, where the set is kept there too; else they are in memory
        that it can fetch by itself.
        """
        assert self._stored is not None
        index = self.index[places]
        if device.type != "cuda":
            return torch.from_numpy(self._stored[index])
        kept = self._resident(device)
        if kept is None:
            return torch.from_numpy(self._stored[index]).pin_memory()
        return kept.index_select(0, torch.from_numpy(index).to(device))


@dataclass(eq=False)
class Opened:
    """A data set as it was when it was opened."""

    source: Source
    fingerprint: str  # "" where nobody needs it
    stored: dict[str, np.ndarray | None]
    _splits: dict[Any, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _residents: dict[tuple[str, torch.device], Tensor | None] = field(default_factory=dict)

    def parts(self, data: Data, seed: int) -> dict[str, Part]:
        """Return train, minival and validation for the leaves of a recipe and a run's seed.

        Raises:
            DataError: a class without an image, or less than a batch.
        """
        source = self.source
        drawn = None if data.train_fraction == 1 else seed
        key = (data.minival_fraction, data.train_fraction, data.batch_size, drawn)
        if key not in self._splits:
            while len(self._splits) >= _SPLITS:
                del self._splits[next(iter(self._splits))]
            self._splits[key] = training_parts(source.train, data, seed)
        train, minival = self._splits[key]
        everything = np.arange(len(source.validation))

        def part(name: str, items: Items, index: np.ndarray) -> Part:
            return Part(items, index, self.stored[name], functools.partial(self._resident, name))

        return {
            "train": part("train", source.train, train),
            "minival": part("train", source.train, minival),
            "validation": part("validation", source.validation, everything),
        }

    def _resident(self, name: str, device: torch.device) -> Tensor | None:
        """Return the stored images on a GPU, for all runs of this process, where they are few."""
        key, stored = (name, device), self.stored[name]
        if key not in self._residents:
            free = torch.cuda.mem_get_info(device)[0]
            self._residents[key] = None if stored is None else resident(stored, device, free)
        return self._residents[key]


def resident(stored: np.ndarray, device: torch.device, free: int) -> Tensor | None:
    """Return images on a device, or None where they take too much of its `free` bytes."""
    if stored.nbytes > min(_RESIDENT, free // 8):
        return None
    return torch.from_numpy(np.array(stored)).to(device)


_last: tuple[Any, Opened] | None = None


def open_data(
    spec: DataSpec,
    data: Data,
    cache: Path,
    *,
    threads: int,
    skip_corrupt: bool,
    identify: bool,
    share: bool,
) -> Opened:
    """Open a data set and decode it once, or return the one that this process opened last.

    Args:
        spec: names the set.
        data: the leaves of the recipe; `stored_size` is read.
        cache: folder of decoded images.
        threads: that decode.
        skip_corrupt: leave out images that cannot be decoded.
        identify: whether the fingerprint is needed where nothing is stored.
        share: whether this set may be kept; not one from a temporary cache.

    Raises:
        DataError: what is wrong with the data set.
    """
    global _last
    key = _key(spec, cache, skip_corrupt, data.stored_size, identify) if share else None
    if key is not None and _last is not None and _last[0] == key:
        return _last[1]
    _last = None  # before the next set is in memory too
    source = open_source(spec, skip_corrupt=skip_corrupt, memory=cache)
    fingerprint = ""
    if data.stored_size or identify:
        fingerprint = data_fingerprint(source, cache)
    stored: dict[str, np.ndarray | None] = {"train": None, "validation": None}
    if data.stored_size:
        for name, items in (("train", source.train), ("validation", source.validation)):
            place = cache_key(fingerprint, name, data.stored_size)
            stored[name] = open_cache(items, data.stored_size, cache, place, threads=threads)
    opened = Opened(source, fingerprint, stored)
    # Files that changed while they were read would have another key now.
    if key is not None and key == _key(spec, cache, skip_corrupt, data.stored_size, identify):
        _last = (key, opened)
    return opened


def _key(spec: DataSpec, cache: Path, *others: Any) -> Any:
    """Return what tells one opened set from another; None where files are too new to tell."""
    folder, files = DATA_FORMATS[spec.name].list_files(spec)
    if not files:
        return None
    stats = stat_files(folder, files)
    if not stats.settled().all():
        return None
    return (spec, cache.resolve(), *others, folder, stats.state)
