"""From one image to a square of a given size: for the cache, and for sets too large for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lightning_modules.data.decode import Pixels
from lightning_modules.data.items import Items

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def read_crop(
    items: Items,
    i: int,
    box: Callable[[int, int], Box],
    size: int,
    interpolation: str,
) -> Pixels:
    """Decode image `i` and return one box of it as `(3, size, size)`.

    Args:
        items: The part of a data set.
        i: The position in that part.
        box: Chooses the box from `(height, width)`; it may be fractional.
        size: Height and width of the result.
        interpolation: One of `INTERPOLATIONS`, with antialiasing, as PIL does it. The filter sees
            the pixels around the box too, as when the whole image is resized and then cropped.
    """
    from PIL import Image

    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation {interpolation!r} is unknown; choices: {', '.join(INTERPOLATIONS)}."
        )
    pixels = items.read(i)
    height, width = pixels.shape[:2]
    filter_ = Image.Resampling[interpolation.upper()]
    return _channels_first(
        Image.fromarray(pixels).resize((size, size), filter_, box=box(height, width))
    )


def central_square(pixels: Pixels, size: int) -> Pixels:
    """Return an image as `(3, size, size)`: as it is where it has that size.

    Otherwise the short side is resized to `size` (bicubic, antialiased) and the centre is cut
    out: torchvision's `Resize(size)` and `CenterCrop(size)`, bit for bit.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    from PIL import Image

    short = min(height, width)
    height, width = int(size * height / short), int(size * width / short)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _channels_first(resized.crop((left, top, left + size, top + size)))


def _channels_first(image: Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))
