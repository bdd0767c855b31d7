"""`ImageData`: the images of a recipe as a LightningDataModule.

Images are decoded once per cache (or streamed, where `data.stored_size` is 0), gathered by batch as
uint8, and cropped, augmented and normalised as whole batches on the device, small ones several at
once (`feeding`). Every random number is a function of (seed, stream, epoch, position in the
epoch). The file is long because all that is done to an image can be read in one place.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    in_cache,
    random_shift_boxes,
    resize_boxes,
    shift,
)
from lightning_modules.custom import hooks_of
from lightning_modules.data import DataError, DataSpec, crop, fetch
from lightning_modules.data.crops import Fetched
from lightning_modules.feeding import Batch, Loader
from lightning_modules.opened import Opened, Part, open_data
from lightning_modules.streams import draws, redrawn, seed_torch, stream_seed
from recipes import Recipe, at

# Per-channel statistics of ImageNet, as in tensorflow/tpu's resnet_preprocessing (times 255).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

__all__ = ["MEAN", "STD", "Batch", "ImageData", "normalized"]


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
        folder: Path | str | None = None,
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
        self._parts: dict[str, Part] = {}
        self._opened: Opened | None = None
        self._decoders: ThreadPoolExecutor | None = None
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
        kept = self._cache is not None
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="ablate-"))
            weakref.finalize(self, shutil.rmtree, self._cache, ignore_errors=True)
        opened = open_data(
            self._spec,
            self.recipe.data,
            self._cache,
            threads=self._threads,
            skip_corrupt=self._skip_corrupt,
            identify=self._expected is not None,
            share=kept,
        )
        self.classes = len(opened.source.classes)
        parts = opened.parts(self.recipe.data, self.seed)
        if self._expected not in (None, opened.fingerprint):
            raise DataError(
                f"the data in {self._spec.text} are not those of the plan any more: files were"
                " added, removed or changed. Put them back, or plan a new study."
            )
        self._parts, self._opened = parts, opened

    def part(self, name: str) -> Part:
        """Return `train`, `minival` or `validation`."""
        return self._parts[name]

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
            DataError: the Trainer has more devices than a batch can be divided over evenly.
        """
        devices, batch = self.trainer.world_size if self.trainer else 1, self.recipe.data.batch_size
        if batch % devices:
            raise DataError(
                f"data.batch_size = {batch} cannot be divided evenly over {devices} devices"
            )
        return Loader(self, "train")

    def val_dataloader(self) -> Any:
        """Return minival, or validation where nothing was held out."""
        return Loader(self, "minival" if self.size("minival") else "validation")

    def test_dataloader(self) -> Any:
        """Return the images of `evaluate.split`, in their fixed order."""
        return Loader(self, self.recipe.evaluate.split)

    def first_batches(self, part: str, images: int, count: int) -> list[Batch]:
        """Return the first `count` batches of a few images each of a part, in its order."""
        loader = Loader(self, part)
        order = np.arange(self.size(part))
        if part == "train":
            order = self._parts[part].order(self.seed, 0)
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
        if not batch.train:
            images = self._centered(images)
        elif not batch.augmented:
            images = self.augmented(images, epoch, batch.start)
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

    def cropped(self, images: Tensor, epoch: int, start: int) -> Tensor:
        """Return training images as uint8 at the training resolution, cropped and mirrored."""
        data, count = self.recipe.data, len(images)
        height, width = images.shape[2:]
        streams = self._parts["train"].streams
        flip = None if streams else self._mirrored(epoch, start, count)
        if streams:  # cropped and mirrored while decoding
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

    def _mirrored(self, epoch: int, start: int, count: int) -> np.ndarray | None:
        """Return which of consecutive images of an epoch are mirrored; None: none ever is."""
        if not self.recipe.data.flip:
            return None
        mirrored: np.ndarray = draws(self.seed, "flip", epoch, start, count, 1)[:, 0] < 0.5
        return mirrored

    def _centered(self, images: Tensor) -> Tensor:
        evaluate = self.recipe.evaluate
        size = evaluate.resolution or self.recipe.data.resolution
        count, (height, width) = len(images), images.shape[2:]
        fraction = 1.0 if self._parts["validation"].streams else evaluate.crop_fraction
        boxes = center_boxes(np.full(count, height), np.full(count, width), fraction)
        return resize_boxes(images, boxes, size, evaluate.interpolation)

    def decoded(
        self, part: Part, places: np.ndarray, epoch: int, start: int, train: bool
    ) -> Tensor:
        """Decode images straight to their crops, for sets too large for a cache."""
        data, evaluate = self.recipe.data, self.recipe.evaluate
        size = data.resolution if train else evaluate.resolution or data.resolution
        interpolation = data.interpolation if train else evaluate.interpolation
        scaled = train and data.decode == "scaled"  # what is evaluated is decoded exactly

        images = self._spread(functools.partial(fetch, part.items), part.index[places])
        heights = np.array([image.height for image in images])
        widths = np.array([image.width for image in images])
        if train and data.crop in RANDOM_BOXES:
            boxes = self.random_boxes(epoch, start, heights, widths)
        else:
            boxes = center_boxes(heights, widths, 1.0 if train else evaluate.crop_fraction)

        flip = self._mirrored(epoch, start, len(images)) if train else None
        mirrored = np.zeros(len(images), dtype=np.bool_) if flip is None else flip

        def one(image: Fetched, box: np.ndarray, mirror: bool) -> np.ndarray:
            top, left, tall, wide = (float(number) for number in box)
            edges = (left, top, left + wide, top + tall)
            made = crop(image, edges, size, interpolation, scaled)
            return made[:, ::-1] if mirror else made

        pixels = np.stack(self._spread(one, images, boxes, mirrored))
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def _spread(self, work: Callable[..., Any], *each: Any) -> list[Any]:
        """Map over the decoding threads, a stretch to each: a call may cost as much as an image."""
        if self._threads == 1:
            return list(map(work, *each))
        if self._decoders is None:  # its threads end with this object
            self._decoders = ThreadPoolExecutor(self._threads)
        stretch = -(-len(each[0]) // self._threads)
        places = range(0, len(each[0]), stretch)
        parts = [[one[place : place + stretch] for one in each] for place in places]
        made = self._decoders.map(lambda part: list(map(work, *part)), parts)
        return [one for many in made for one in many]


def normalized(images: Tensor) -> Tensor:
    """Return uint8 (N, 3, H, W) as normalised float32, channels last."""
    mean, scale = _statistics(images.device)
    made = torch.empty(
        images.shape, device=images.device, memory_format=torch.channels_last, dtype=torch.float32
    )
    for part in in_cache(images):
        made[part] = images[part].float().sub_(mean).div_(scale)
    return made


@functools.cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, in grey levels, shaped for a batch."""
    mean, scale = (torch.tensor([255.0 * one for one in many]) for many in (MEAN, STD))
    return mean.view(1, 3, 1, 1).to(device), scale.view(1, 3, 1, 1).to(device)
