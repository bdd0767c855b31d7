"""A recipe's own images, a few at a time, with a note of what its pipeline makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from lightning_modules.augment import RandAugment
from lightning_modules.image_data import Batch, ImageData, normalized
from recipes import at

STEPS = 3  # the first of a warm-up has no learning rate, the second moves, the third has momentum


class _Few:
    """A loader of given batches; Lightning takes a list for several loaders."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)


class ProbeData(ImageData):
    """A recipe's own images, a few at a time; what its pipeline makes of them is noted.

    The network sees them shrunk to `side` pixels where that is less: what it does does not depend
    on the resolution, what it costs does.
    """

    def __init__(self, *args: Any, images: int, side: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._images, self._side = images, side
        self.given: list[Batch] = []  # as the loader gave them
        self.made: list[Batch] = []  # as the pipeline made them

    def train_dataloader(self) -> _Few:
        """Return the first images of the first epoch, in its order."""
        self.given = self.first_batches("train", self._images, STEPS)
        return _Few(self.given)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Note what the pipeline makes of a batch, and shrink it."""
        made = super().on_after_batch_transfer(batch, dataloader_idx)
        self.made.append(made)
        return made._replace(images=self.shrunk(made.images))

    def shrunk(self, images: Tensor) -> Tensor:
        """Return images of at most the probe's side."""
        if images.shape[-1] <= self._side:
            return images
        size = (self._side, self._side)
        return interpolate(images, size=size, mode="bilinear", antialias=True)

    def plain(self) -> Batch:
        """Return images of the evaluation as the network sees them: the same for every arm."""
        batch = self.first_batches(self.recipe.evaluate.split, self._images, 1)[0]
        ready = self.prepare(batch, 0)
        return ready._replace(images=self.shrunk(ready.images))

    def expected(self, batch: Batch, progress: float) -> Tensor:
        """Return what the leaves make of a given batch, put together once more here."""
        images = self.cropped(batch.images, 0, batch.start)
        if self.recipe.augment.randaug_layers:
            images = self._randaugment_at(progress)(images, self.seed, 0, batch.start)
        return normalized(images)

    def hears_magnitude(self) -> bool | None:
        """Return whether RandAugment gives other pixels at magnitude 1; None: its own is below 2.

        Asked of the pipeline's own object, on the first batches.
        """
        own = self.randaugment
        if own is None or own.magnitude < 2.0:
            return None
        full = own.magnitude
        batches = [self.cropped(batch.images, 0, batch.start) for batch in self.given]
        starts = [batch.start for batch in self.given]
        loud = [own(one, 0, 0, start) for one, start in zip(batches, starts, strict=True)]
        own.magnitude = 1.0
        low = [own(one, 0, 0, start) for one, start in zip(batches, starts, strict=True)]
        own.magnitude = full
        return any(not a.equal(b) for a, b in zip(loud, low, strict=True))

    def _randaugment_at(self, progress: float) -> RandAugment:
        augment = self.recipe.augment
        return RandAugment(
            augment.randaug_layers,
            augment.randaug_space,
            pixel_scale=augment.randaug_pixel_scale,
            solarize_wrap=augment.randaug_solarize_wrap,
            magnitude=at(augment.randaug_magnitude, progress),
        )
