"""How batches reach the network: in the order of an epoch, several prepared at once.

On small images most of a batch's cost is the number of kernels, not the pixels. Every random number
belongs to a position of the epoch, so consecutive batches are gathered, cropped and augmented
in one go and then handed out in slices: the same numbers, fewer kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data import DataError
from lightning_modules.opened import HOST
from lightning_modules.shares import share
from recipes import Schedule

if TYPE_CHECKING:
    from lightning_modules.image_data import ImageData

EVALUATION_BATCH = 256
# Training images that are augmented together, whatever the batch, and their bytes: the kernels of
# small batches cost more to call than to run.
_TOGETHER, _TOGETHER_BYTES = 512, 16 << 20


class Batch(NamedTuple):
    """Images on their way to the network: uint8 from the loader, float once prepared."""

    images: Tensor  # (N, 3, H, W)
    targets: Tensor  # (N,) class indices, or (N, classes) probabilities after a batch hook
    start: int  # position of the first image in the epoch
    train: bool
    augmented: bool = False  # cropped and augmented by the loader already, with its neighbours


class Loader:
    """One pass over a part: full batches in the epoch's order, or all images in theirs.

    Where a Trainer has several devices, each gets its share of every training batch, with the
    random numbers of its images' positions in the epoch, and a stretch of the evaluated images.
    """

    def __init__(self, data: ImageData, part: str) -> None:
        self._data, self._name = data, part
        self._part = data.part(part)
        self._train = part == "train"
        self.batch_size = data.recipe.data.batch_size if self._train else EVALUATION_BATCH
        trainer = data.trainer
        self._rank, self._devices = (
            (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        )
        if len(self._part) < self._devices:
            raise DataError(
                f"{part} has {len(self._part)} images, too few for {self._devices} devices"
            )

    def __len__(self) -> int:
        if self._train:
            return self._data.steps_per_epoch
        return -(-self.shares[self._rank] // self.batch_size)

    @property
    def shares(self) -> list[int]:
        """Return how many images of an evaluation each device has."""
        each = range(self._devices)
        return [len(share(len(self._part), rank, self._devices)) for rank in each]

    @property
    def together(self) -> int:
        """Return how many batches are augmented at once: one where each has its own magnitude."""
        leaves = self._data.recipe
        moving = isinstance(leaves.augment.randaug_magnitude, Schedule)
        if not self._train or moving or self._devices > 1:  # shares of batches are not neighbours
            return 1
        side = max(leaves.data.resolution, leaves.data.stored_size)
        images = min(_TOGETHER, _TOGETHER_BYTES // (3 * side * side))
        return max(images // self.batch_size, 1)

    def __iter__(self) -> Iterator[Batch]:
        # The place is asked for with the first batch: a resumed Trainer knows it no sooner.
        trainer = self._data.trainer
        if trainer is None or not self._train:
            yield from self.batches(0)
            return
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        yield from self.batches(trainer.current_epoch, done if done < len(self) else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the Trainer knows at which batch of which epoch it is."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing back; that it can be asked tells Lightning that any batch may be next."""

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, those prepared together on the device that trains.

        Args:
            epoch: whose order it is.
            first: batch to begin with, as if those before it had been yielded.
        """
        data, size = self._data, self.batch_size
        device = data.trainer.strategy.root_device if data.trainer else HOST
        order = np.arange(len(self._part))
        if self._train:
            order = self._part.order(data.seed, epoch)[: len(self) * size]
        if self._devices > 1:
            yield from self._shares(order, epoch, device, first)
            return
        ahead, begin = size * self.together, size * first
        starts = range(begin - begin % ahead, len(order), ahead)
        groups = self._groups(order, starts, epoch, ahead, device)
        images, since, magnitude = torch.empty(0), -1, None
        for start in range(begin, len(order), size):
            self._tell()
            if start % ahead == 0 or start == begin:
                group = next(groups)
                since = -1
            if ahead == size:
                yield group
                continue
            now, past = data.randaugment and data.randaugment.magnitude, start - group.start
            if since < 0 or now != magnitude:
                since, magnitude = start, now
                raw = group.images[past:].to(device, non_blocking=True)
                images = data.augmented(raw, epoch, start)
            part = images[start - since : start - since + size]
            yield Batch(part, group.targets[past : past + size], start, True, True)

    def _shares(
        self, order: np.ndarray, epoch: int, device: torch.device, first: int
    ) -> Iterator[Batch]:
        """Yield this device's share of every training batch, or its stretch of what is evaluated.

        `order[:stop]` makes a stretch end where the next device's begins.
        """
        if self._train:
            own = share(self.batch_size, self._rank, self._devices)
            begin = own.start + first * self.batch_size
            starts, size = range(begin, len(order), self.batch_size), len(own)
        else:
            own = share(len(order), self._rank, self._devices)
            starts, size = range(own.start, own.stop, self.batch_size), self.batch_size
            order = order[: own.stop]
        groups = self._groups(order, starts, epoch, size, device)
        for _ in starts:
            self._tell()
            yield next(groups)

    def _groups(
        self, order: np.ndarray, starts: range, epoch: int, size: int, device: torch.device
    ) -> Iterator[Batch]:
        """Read an epoch; what is decoded, or gathered for a GPU, is ready two ahead of the network.

        On a CPU a stored set is not: gathering would take the cores that the network has.
        """
        if not self._part.streams and device.type == "cpu":
            for start in starts:
                yield self.batch(order, start, epoch, size)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting: list[Future[Batch]] = []
            for start in starts:
                waiting.append(pool.submit(self.batch, order, start, epoch, size, device))
                if len(waiting) > 2:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

    def _tell(self) -> None:
        if self._train and self._data.on_request is not None:
            self._data.on_request()

    def batch(
        self,
        order: np.ndarray,
        start: int,
        epoch: int,
        size: int,
        device: torch.device = HOST,
    ) -> Batch:
        """Return up to `size` images from a place of the epoch's order on, on their way to one."""
        places = order[start : start + size]
        if self._part.streams:
            images = self._data.decoded(self._part, places, epoch, start, self._train)
        else:
            images = self._part.gather(places, device)
        return Batch(images, self._part.labels[torch.from_numpy(places)], start, self._train)
