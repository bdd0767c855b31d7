"""How batches reach the network: in the order of an epoch, several prepared at once.

On small images most of a batch's cost is the number of kernels, not the pixels. Every random number
belongs to a position of the epoch, so consecutive batches are gathered, cropped and augmented
in one go and then handed out in slices: the same numbers, fewer kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_modules.streams import permutation
from recipes import Schedule

if TYPE_CHECKING:
    from lightning_modules.image_data import ImageData

EVALUATION_BATCH = 256
# Training images that are augmented together, whatever the batch: the kernels of small batches cost
# more to call than to run, and more than a few megabytes leave a core's caches.
_TOGETHER, _TOGETHER_BYTES = 512, 4 << 20


class Batch(NamedTuple):
    """Images on their way to the network: uint8 from the loader, float once prepared."""

    images: Tensor  # (N, 3, H, W)
    targets: Tensor  # (N,) class indices, or (N, classes) probabilities after a batch hook
    start: int  # position of the first image in the epoch
    train: bool
    augmented: bool = False  # cropped and augmented by the loader already, with its neighbours


class Loader:
    """One pass over a part: full batches in the epoch's order, or all images in theirs."""

    def __init__(self, data: ImageData, part: str) -> None:
        self._data, self._name = data, part
        self._part = data.part(part)
        self._train = part == "train"
        self.batch_size = data.recipe.data.batch_size if self._train else EVALUATION_BATCH

    def __len__(self) -> int:
        if self._train:
            return self._data.steps_per_epoch
        return -(-len(self._part) // self.batch_size)

    @property
    def together(self) -> int:
        """Return how many batches are augmented at once: one where each has its own magnitude."""
        leaves = self._data.recipe
        moving = isinstance(leaves.augment.randaug_magnitude, Schedule)
        if not self._train or self._part.streams or moving:
            return 1
        side = max(leaves.data.resolution, leaves.data.stored_size)
        images = min(_TOGETHER, _TOGETHER_BYTES // (3 * side * side))
        return max(images // self.batch_size, 1)

    def __iter__(self) -> Iterator[Batch]:
        trainer = self._data.trainer
        epoch = trainer.current_epoch if trainer is not None and self._train else 0
        order = np.arange(len(self._part))
        if self._train:
            order = permutation(self._data.seed, "order", epoch, len(self._part))
        starts = [step * self.batch_size for step in range(len(self))]
        batches = self._streamed if self._part.streams else self._stored
        yield from batches(order, starts, epoch)

    def _stored(self, order: np.ndarray, starts: list[int], epoch: int) -> Iterator[Batch]:
        size, together = self.batch_size, self.together
        if together > 1:
            yield from self._together(order, epoch, together * size)
            return
        for start in starts:
            self._tell()
            yield self.batch(order, start, epoch, size)

    def _together(self, order: np.ndarray, epoch: int, ahead: int) -> Iterator[Batch]:
        """Give the batches of an epoch, augmented several at once on the device that trains."""
        data, size = self._data, self.batch_size
        trainer = data.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        images, first, end, magnitude = torch.empty(0), 0, len(self) * size, None
        for start in range(0, end, size):
            self._tell()
            now = data.randaugment and data.randaugment.magnitude
            if start == 0 or start >= first + ahead or now != magnitude:
                first, magnitude = start, now
                raw = self.batch(order, start, epoch, min(ahead, end - start))
                images = data.augmented(raw.images.to(device), epoch, start)
            targets = self._part.labels[torch.from_numpy(order[start : start + size])]
            part = images[start - first : start - first + size]
            yield Batch(part, targets, start, True, True)

    def _streamed(self, order: np.ndarray, starts: list[int], epoch: int) -> Iterator[Batch]:
        """Decode two batches ahead while the network works on the one before."""
        size = self.batch_size
        with ThreadPoolExecutor(1) as pool:
            waiting: list[Future[Batch]] = [
                pool.submit(self.batch, order, start, epoch, size) for start in starts[:2]
            ]
            for step in range(len(starts)):
                self._tell()
                batch = waiting.pop(0).result()
                if step + 2 < len(starts):
                    waiting.append(pool.submit(self.batch, order, starts[step + 2], epoch, size))
                yield batch

    def _tell(self) -> None:
        if self._train and self._data.on_request is not None:
            self._data.on_request()

    def batch(self, order: np.ndarray, start: int, epoch: int, size: int) -> Batch:
        """Return up to `size` images from a place of the epoch's order on."""
        places = order[start : start + size]
        if self._part.streams:
            images = self._data.decoded(self._part, places, epoch, start, self._train)
        else:
            images = self._part.gather(places)
        return Batch(images, self._part.labels[torch.from_numpy(places)], start, self._train)
