"""Which image is in which part: fixed by the image's name, or (a subset) by the run's seed.

The train / minival / validation partition must never change with seeds, order or folders,
so it ranks a hash of each name. The `train_fraction` subset is a treatment of the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from lightning_modules.data.errors import DataError
from lightning_modules.data.items import Index, Items, Labels
from recipes import Data


def training_parts(train: Items, data: Data, seed: int) -> tuple[Index, Index]:
    """Return the positions of the images a run trains on, and of minival, each sorted.

    Raises `DataError` where a class is left without an image, or less than a batch remains; both
    are the same for every seed.
    """
    rest, minival = split_train(train.names, train.labels, data.minival_fraction)
    kept = train_subset(train.labels, rest, data.train_fraction, seed)
    if len(kept) < data.batch_size:
        raise DataError(
            f"{len(kept)} training images do not fill one batch of {data.batch_size}: set"
            " data.batch_size lower or data.train_fraction higher"
        )
    return kept, minival


def split_train(
    names: Sequence[str], labels: Labels, minival_fraction: float
) -> tuple[Index, Index]:
    """Return the positions of train and of minival, each sorted.

    Every class gives `minival_fraction` of its images, to the nearest image, lowest hash first:
    so a larger fraction contains every smaller one, whatever the order of the names.
    """
    if not 0 <= minival_fraction < 1:
        raise DataError(
            f"minival_fraction is {minival_fraction:g}; give a number from 0 (off) to below 1."
        )
    held_out = stratified_part(names, labels, minival_fraction, purpose="minival")
    if minival_fraction > 0:
        _check_every_class(labels, held_out, f"minival_fraction {minival_fraction:g}")
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), held_out)
    _check_every_class(labels, train, f"what minival_fraction {minival_fraction:g} leaves")
    return train, held_out


def train_subset(labels: Labels, index: Index, fraction: float, seed: int) -> Index:
    """Return the sorted part of `index` that a run with this seed trains on.

    Every class keeps `fraction` of its images, to the nearest image. For one seed a larger
    fraction contains every smaller one; another seed draws another subset.
    """
    if not 0 < fraction <= 1:
        raise DataError(
            f"train_fraction is {fraction:g}; give a number above 0, up to 1 (all images)."
        )
    if fraction == 1:
        return np.sort(index)
    from lightning_modules.streams import permutation

    order = np.sort(index)[permutation(seed, "train_fraction", 0, len(index))]
    kept = np.sort(order[_lowest_of_each_class(labels[order], fraction)])
    _check_every_class(labels, kept, f"train_fraction {fraction:g}", among=index)
    return kept


def stratified_part(names: Sequence[str], labels: Labels, fraction: float, purpose: str) -> Index:
    """Return sorted positions of `fraction` of each class, chosen by a hash of purpose and name."""
    digests = b"".join(
        hashlib.blake2b(
            f"{purpose}\0{name}".encode(errors="surrogateescape"), digest_size=16
        ).digest()
        for name in names
    )
    high_low = np.frombuffer(digests, dtype=">u8").reshape(-1, 2)
    order = np.lexsort((high_low[:, 1], high_low[:, 0])).astype(np.int64)
    return np.sort(order[_lowest_of_each_class(labels[order], fraction)])


def _lowest_of_each_class(labels: Labels, fraction: float) -> Index:
    """Return positions of the first `fraction` of each class, to the nearest image."""
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    wanted = np.floor(fraction * counts + 0.5).astype(np.int64)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    chosen: Index = by_class[rank < np.repeat(wanted, counts)]
    return chosen


def _check_every_class(labels: Labels, part: Index, what: str, among: Index | None = None) -> None:
    everything = labels if among is None else labels[among]
    missing = np.setdiff1d(everything, labels[part])
    if len(missing):
        smallest = int(np.min(np.bincount(everything)[missing]))
        raise DataError(
            f"{what} has no image of {len(missing)} of {len(np.unique(everything))} classes (the "
            f"smallest has {smallest} in all). Choose a fraction that gives each class one or more."
        )
