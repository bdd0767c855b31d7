"""From one image to a square of a given size: for the cache, and for sets too large for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightning_modules.data.decode import Pixels, decode_image, decode_scaled, image_size
from lightning_modules.data.items import ArrayItems, Items

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels


class Fetched(NamedTuple):
    """An image that has been read, and decoded only where its size was not to be had otherwise."""

    height: int
    width: int
    name: str  # for an error
    data: bytes
    pixels: Pixels | None


def fetch(items: Items, i: int) -> Fetched:
    """Read image `i` without decoding it; so the boxes of many can be chosen together."""
    if isinstance(items, ArrayItems):
        pixels = items.read(i)
        return Fetched(pixels.shape[0], pixels.shape[1], items.names[i], b"", pixels)
    data, name = items.content(i), items.title(i)
    size = image_size(data)
    if size is None:
        pixels = decode_image(data, name)
        return Fetched(pixels.shape[0], pixels.shape[1], name, data, pixels)
    return Fetched(size[0], size[1], name, data, None)


def crop(image: Fetched, box: Box, size: int, interpolation: str, scaled: bool = False) -> Pixels:
    """Decode one box of an image as `(size, size, 3)`.

    Args:
        image: From `fetch`.
        box: Whole pixels.
        size: Height and width of the result.
        interpolation: `bilinear` or `bicubic`, antialiased. The box is cut out first, as the
            batches of `resize_boxes` are.
        scaled: Let a JPEG decoder halve the image, or more, as long as the box still has `size` or
            is shrunk to it: other pixels, in less time. The box then has fractions of a pixel, and
            PIL, which can read those, sees the pixels around it too.
    """
    import torch  # not above: planning reads data sets without it
    from PIL import Image

    from lightning_modules.augment.resample import resized

    pixels, scale = image.pixels, 1.0
    if pixels is None and scaled:
        found = decode_scaled(image.data, size / min(box[2] - box[0], box[3] - box[1]))
        pixels, scale = found or (None, 1.0)
    if pixels is None:
        pixels = decode_image(image.data, image.name)
    left, upper, right, lower = (scale * edge for edge in box)
    if scale == 1.0:
        part = torch.from_numpy(pixels[int(upper) : int(lower), int(left) : int(right)])
        return resized(part.permute(2, 0, 1), size, interpolation).permute(1, 2, 0).numpy()
    filter_ = Image.Resampling[interpolation.upper()]
    sized = Image.fromarray(pixels).resize((size, size), filter_, (left, upper, right, lower))
    return np.asarray(sized)


def read_crop(
    items: Items,
    i: int,
    box: Callable[[int, int], Box],
    size: int,
    interpolation: str,
    *,
    scaled: bool = False,
) -> Pixels:
    """Read image `i` and return its `crop`; `box` chooses from `(height, width)`."""
    image = fetch(items, i)
    return crop(image, box(image.height, image.width), size, interpolation, scaled)


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
