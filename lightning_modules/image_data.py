"""`ImageData`: the images of a recipe as a LightningDataModule.

Images are decoded once per cache (or streamed, where `data.stored_size` is 0), gathered by batch as
uint8, and cropped, augmented and normalised as whole batches on the device. Every random number
is a function of (seed, stream, epoch, position in the epoch). The file is long because the whole
way of a batch, from its order to the network, can be read in one place.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_modules.augment import (
    RANDOM_BOXES,
    SHIFT_WIDTH,
    RandAugment,
    box_width,
    center_boxes,
    random_shift_boxes,
    resize_boxes,
    shift,
)
from lightning_modules.custom import hooks_of
from lightning_modules.data import (
    DataError,
    DataSpec,
    Items,
    cache_key,
    data_fingerprint,
    open_cache,
    open_source,
    read_crop,
    training_parts,
)
from lightning_modules.streams import draws, permutation, redrawn, seed_torch, stream_seed
from recipes import Recipe, Schedule, at

# Per-channel statistics of ImageNet, as in tensorflow/tpu's resnet_preprocessing (times 255).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EVALUATION_BATCH = 256
_IN_MEMORY = 1 << 30  # bytes of decoded images that are held in memory rather than mapped
# Training images that are augmented together, whatever the batch: the kernels of small batches cost
# more to call than to run. Measured on one core, docs/speed.md; larger ones leave the caches.
_TOGETHER, _TOGETHER_BYTES = 512, 4 << 20


class Batch(NamedTuple):
    """Images on their way to the network: uint8 from the loader, float once prepared."""

    images: Tensor  # (N, 3, H, W)
    targets: Tensor  # (N,) class indices, or (N, classes) probabilities after a batch hook
    start: int  # position of the first image in the epoch
    train: bool
    augmented: bool = False  # cropped and augmented by the loader already, with its neighbours


class _Part:
    """One part of a data set: labels, and uint8 images by index."""

    def __init__(self, items: Items, index: np.ndarray, stored: np.ndarray | None) -> None:
        self.items, self.index = items, index
        self.labels = torch.from_numpy(np.ascontiguousarray(items.labels[index]))
        self._stored = stored
        self._tensor: Tensor | None = None
        if stored is not None and stored[:1].nbytes * len(index) <= _IN_MEMORY:
            self._tensor = torch.from_numpy(np.ascontiguousarray(stored[index]))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def streams(self) -> bool:
        return self._stored is None

    def gather(self, places: np.ndarray) -> Tensor:
        if self._tensor is not None:
            return self._tensor[torch.from_numpy(places)]
        assert self._stored is not None
        return torch.from_numpy(np.ascontiguousarray(self._stored[self.index[places]]))


class ImageData(pl.LightningDataModule):
    """The training, minival and validation images of a recipe, for any Lightning Trainer.

    Args:
        recipe: its `data`, `augment` and `evaluate` leaves are read.
        folder: of the data set; None for `digits`.
        seed: of the run: order, crops, augmentation and the training subset.
        cache: folder of decoded images; None takes a temporary one.
        threads: that decode.
        skip_corrupt: leave out images that cannot be decoded.
        expected: fingerprint that the data must have; None takes them as they are.
        on_request: called whenever a training batch is asked for.

    Raises:
        DataError: what is wrong with the data set, when it is opened.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        folder: Path | None = None,
        seed: int = 0,
        cache: Path | None = None,
        threads: int = 1,
        skip_corrupt: bool = False,
        expected: str | None = None,
        on_request: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.seed = recipe, redrawn(seed, recipe.optim.redraw)
        self._spec = DataSpec(recipe.data.dataset, folder)
        self._cache, self._threads, self._skip_corrupt = cache, threads, skip_corrupt
        self._expected, self.on_request = expected, on_request
        self._parts: dict[str, _Part] = {}
        self._batch_hooks = hooks_of(recipe, "batch")
        self.classes = 0
        augment = recipe.augment
        self.randaugment = None
        if augment.randaug_layers:
            self.randaugment = RandAugment(
                augment.randaug_layers,
                augment.randaug_space,
                pixel_scale=augment.randaug_pixel_scale,
                solarize_wrap=augment.randaug_solarize_wrap,
                magnitude=at(augment.randaug_magnitude, 0.0),
            )

    def set_magnitude(self, value: float) -> None:
        """Move RandAugment's magnitude; holds from the next batch on."""
        if self.randaugment is not None:
            self.randaugment.magnitude = value

    def setup(self, stage: str | None = None) -> None:
        """Open, decode and split the data set; a second call does nothing."""
        if self._parts:
            return
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="ablate-"))
            weakref.finalize(self, shutil.rmtree, self._cache, ignore_errors=True)
        cache = self._cache
        data = self.recipe.data
        source = open_source(self._spec, skip_corrupt=self._skip_corrupt, memory=cache)
        self.classes = len(source.classes)
        train, minival = training_parts(source.train, data, self.seed)
        stored: dict[str, np.ndarray | None] = {"train": None, "validation": None}
        fingerprint = ""
        if data.stored_size or self._expected is not None:
            fingerprint = data_fingerprint(source, cache)
        if self._expected not in (None, fingerprint):
            raise DataError(
                f"the data in {self._spec.text} are not those of the plan any more: files were"
                " added, removed or changed. Put them back, or plan a new study."
            )
        if data.stored_size:
            for name, items in (("train", source.train), ("validation", source.validation)):
                key = cache_key(fingerprint, name, data.stored_size)
                stored[name] = open_cache(
                    items, data.stored_size, cache, key, threads=self._threads
                )
        everything = np.arange(len(source.validation))
        self._parts = {
            "train": _Part(source.train, train, stored["train"]),
            "minival": _Part(source.train, minival, stored["train"]),
            "validation": _Part(source.validation, everything, stored["validation"]),
        }

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; what is left over comes in another epoch's order."""
        return len(self._parts["train"]) // self.recipe.data.batch_size

    def size(self, part: str) -> int:
        """Return how many images `train`, `minival` or `validation` has."""
        return len(self._parts[part])

    def chance(self, part: str) -> float:
        """Return what a constant answer gets: the share of a part's commonest class, percent."""
        return 100.0 * float(torch.bincount(self._parts[part].labels).max()) / self.size(part)

    def train_dataloader(self) -> Any:
        """Return the batches of an epoch, in an order of its own.

        Raises:
            DataError: the Trainer has several devices, which would all be given the same batches.
        """
        world = self.trainer.world_size if self.trainer is not None else 1
        if world > 1:
            raise DataError(f"ImageData feeds one device, and this Trainer has {world}")
        return _Loader(self, "train")

    def val_dataloader(self) -> Any:
        """Return minival, or validation where nothing was held out."""
        return _Loader(self, "minival" if self.size("minival") else "validation")

    def test_dataloader(self) -> Any:
        """Return the images of `evaluate.split`, in their fixed order."""
        return _Loader(self, self.recipe.evaluate.split)

    def first_batches(self, part: str, images: int, count: int) -> list[Batch]:
        """Return the first `count` batches of a few images each of a part, in its order."""
        loader = _Loader(self, part)
        order = np.arange(self.size(part))
        if part == "train":
            order = permutation(self.seed, "order", 0, self.size(part))
        last = max(len(order) - images, 0)
        return [loader.batch(order, min(place * images, last), 0, images) for place in range(count)]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Crop, augment and normalise a batch on its device."""
        if not isinstance(batch, Batch):
            return batch
        return self.prepare(batch, self.trainer.current_epoch if self.trainer else 0)

    def prepare(self, batch: Batch, epoch: int) -> Batch:
        """Return the float batch that the network sees; training batches are augmented."""
        images, targets = batch.images, batch.targets
        if batch.train and not batch.augmented:
            images = self.augmented(images, epoch, batch.start)
        elif not batch.train:
            images = self._centered(images)
        images = normalized(images)
        if batch.train and self._batch_hooks:
            seed_torch(images.device, stream_seed(self.seed, "batch", epoch, batch.start))
            targets = torch.nn.functional.one_hot(targets, self.classes).to(images.dtype)
            for hook in self._batch_hooks:
                images, targets = hook(images, targets)
        return Batch(images, targets, batch.start, batch.train)

    def augmented(self, images: Tensor, epoch: int, start: int) -> Tensor:
        """Return consecutive training images of an epoch as uint8, cropped and augmented.

        What an image becomes depends on its place in the epoch alone, not on those beside it.
        """
        images = self.cropped(images, epoch, start)
        if self.randaugment is not None:
            images = self.randaugment(images, self.seed, epoch, start)
        return images

    @property
    def batches_together(self) -> int:
        """Return how many batches are augmented at once: one where each has its own magnitude."""
        data = self.recipe.data
        if isinstance(self.recipe.augment.randaug_magnitude, Schedule):
            return 1
        side = max(data.resolution, data.stored_size)
        images = min(_TOGETHER, _TOGETHER_BYTES // (3 * side * side))
        return max(images // data.batch_size, 1)

    def cropped(self, images: Tensor, epoch: int, start: int) -> Tensor:
        """Return training images as uint8 at the training resolution, cropped and mirrored."""
        data, count = self.recipe.data, len(images)
        height, width = images.shape[2:]
        flip = None
        if data.flip:
            flip = draws(self.seed, "flip", epoch, start, count, 1)[:, 0] < 0.5
        if self._parts["train"].streams:  # cropped while decoding; only the mirror is left
            boxes = center_boxes(np.full(count, height), np.full(count, width), 1.0)
        elif data.crop in RANDOM_BOXES:
            boxes = self.random_boxes(epoch, start, np.full(count, height), np.full(count, width))
        else:
            boxes = center_boxes(np.full(count, height), np.full(count, width), 1.0)
        images = resize_boxes(images, boxes, data.resolution, data.interpolation, flip)
        if data.crop == "shift" and data.crop_padding:
            uniforms = draws(self.seed, "shift", epoch, start, count, SHIFT_WIDTH)
            moved = random_shift_boxes(
                uniforms, data.resolution, data.resolution, data.crop_padding
            )
            images = shift(images, moved[:, :2], data.crop_padding)
        return images

    def random_boxes(
        self, epoch: int, start: int, heights: np.ndarray, widths: np.ndarray
    ) -> np.ndarray:
        """Return the random crops (N, 4) of consecutive positions of an epoch."""
        data = self.recipe.data
        uniforms = draws(self.seed, "crop", epoch, start, len(heights), box_width())
        return RANDOM_BOXES[data.crop](uniforms, heights, widths, area=(data.crop_area, 1.0))

    def _centered(self, images: Tensor) -> Tensor:
        evaluate = self.recipe.evaluate
        size = evaluate.resolution or self.recipe.data.resolution
        count, (height, width) = len(images), images.shape[2:]
        fraction = 1.0 if self._parts["validation"].streams else evaluate.crop_fraction
        boxes = center_boxes(np.full(count, height), np.full(count, width), fraction)
        return resize_boxes(images, boxes, size, evaluate.interpolation)

    def _stream(
        self, part: _Part, places: np.ndarray, epoch: int, start: int, train: bool
    ) -> Tensor:
        """Decode images straight to their crops, for sets too large for a cache."""
        data, evaluate = self.recipe.data, self.recipe.evaluate
        size = data.resolution if train else evaluate.resolution or data.resolution
        interpolation = data.interpolation if train else evaluate.interpolation

        def one(place: int) -> np.ndarray:
            def box(height: int, width: int) -> tuple[float, float, float, float]:
                if train and data.crop in RANDOM_BOXES:
                    position = start + place
                    found = self.random_boxes(
                        epoch, position, np.array([height]), np.array([width])
                    )
                else:
                    fraction = 1.0 if train else evaluate.crop_fraction
                    found = center_boxes(np.array([height]), np.array([width]), fraction)
                top, left, tall, wide = (float(number) for number in found[0])
                return left, top, left + wide, top + tall

            return read_crop(part.items, int(part.index[places[place]]), box, size, interpolation)

        with ThreadPoolExecutor(self._threads) as pool:
            return torch.from_numpy(np.stack(list(pool.map(one, range(len(places))))))


class _Loader:
    """One pass over a part: full batches in the epoch's order, or all images in theirs."""

    def __init__(self, data: ImageData, part: str) -> None:
        self._data, self._name = data, part
        self._part = data._parts[part]
        self._train = part == "train"
        self.batch_size = data.recipe.data.batch_size if self._train else _EVALUATION_BATCH

    def __len__(self) -> int:
        if self._train:
            return self._data.steps_per_epoch
        return -(-len(self._part) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        trainer = self._data.trainer
        epoch = trainer.current_epoch if trainer is not None and self._train else 0
        order = np.arange(len(self._part))
        if self._train:
            order = permutation(self._data.seed, "order", epoch, len(self._part))
        starts = [step * self.batch_size for step in range(len(self))]
        if self._train and not self._part.streams and self._data.batches_together > 1:
            yield from self._together(order, epoch)
            return
        if not self._part.streams:
            for start in starts:
                self._tell()
                yield self.batch(order, start, epoch, self.batch_size)
            return
        # One batch is decoded ahead while the network works on the one before.
        with ThreadPoolExecutor(1) as ahead:
            size = self.batch_size
            waiting = [ahead.submit(self.batch, order, start, epoch, size) for start in starts[:2]]
            for step in range(len(starts)):
                self._tell()
                batch = waiting.pop(0).result()
                if step + 2 < len(starts):
                    waiting.append(ahead.submit(self.batch, order, starts[step + 2], epoch, size))
                yield batch

    def _together(self, order: np.ndarray, epoch: int) -> Iterator[Batch]:
        """Give the batches of an epoch, augmented several at once on the device that trains."""
        data, size = self._data, self.batch_size
        trainer = data.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        end, ahead = len(self) * size, data.batches_together * size
        images, first, magnitude = torch.empty(0), end, None
        for start in range(0, end, size):
            self._tell()
            now = data.randaugment and data.randaugment.magnitude
            if first == end or start >= first + ahead or now != magnitude:
                first, magnitude = start, now
                raw = self.batch(order, start, epoch, min(ahead, end - start))
                images = data.augmented(raw.images.to(device), epoch, start)
            targets = self._part.labels[torch.from_numpy(order[start : start + size])]
            part = images[start - first : start - first + size]
            yield Batch(part, targets, start, True, True)

    def _tell(self) -> None:
        if self._train and self._data.on_request is not None:
            self._data.on_request()

    def batch(self, order: np.ndarray, start: int, epoch: int, size: int) -> Batch:
        """Return up to `size` images from a place of the epoch's order on."""
        places = order[start : start + size]
        if self._part.streams:
            images = self._data._stream(self._part, places, epoch, start, self._train)
        else:
            images = self._part.gather(places)
        return Batch(images, self._part.labels[torch.from_numpy(places)], start, self._train)


def normalized(images: Tensor) -> Tensor:
    """Return uint8 (N, 3, H, W) as normalised float32, channels last."""
    mean, scale = _statistics(images.device)
    images = images.contiguous(memory_format=torch.channels_last)
    return images.float().sub_(mean).div_(scale)


@functools.cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, in grey levels, shaped for a batch."""
    mean, scale = (torch.tensor([255.0 * one for one in many]) for many in (MEAN, STD))
    return mean.view(1, 3, 1, 1).to(device), scale.view(1, 3, 1, 1).to(device)
