"""Resizing of whole uint8 batches, with PIL's arithmetic, and what it shares with warping.

`resize_boxes` cuts one box out of each image and resizes it (antialiased, separable), on the device
of the images; what it needs per image comes in as NumPy. On a CPU large images are taken singly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

INTERPOLATIONS = ("bilinear", "bicubic")

_CHUNK_BYTES = 64 * 2**20  # float intermediates held at once; our choice
# Pixels of an image above which one core is faster image by image than in passes over the batch.
SMALL = 32 * 32
_CACHED = 2**18  # values at a time, whose floats (1 MiB) stay in a core's cache


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is a uint8 batch of shape (N, 3, H, W)."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; "
            "a torch.uint8 batch of shape (N, 3, H, W) is needed"
        )


def on_device(values: npt.NDArray[np.generic], like: Tensor) -> Tensor:
    """Return `values` on the device of `like`, without waiting for the device."""
    return torch.as_tensor(values).to(like.device, non_blocking=True)


def put(images: Tensor, rows: npt.NDArray[np.int64], values: Tensor) -> Tensor:
    """Overwrite the images of some rows, and return all; on a CPU by NumPy, which copies rows."""
    if images.device.type == "cpu":
        images.numpy()[rows] = values.numpy()
        return images
    return images.index_copy_(0, on_device(rows, images), values)


def resize_boxes(
    images: Tensor,
    boxes: npt.NDArray[np.float64],
    size: int,
    interpolation: str,
    flip: npt.NDArray[np.bool_] | None = None,
) -> Tensor:
    """Cut one box out of each image, resize it to (size, size), mirror those marked by `flip`.

    The arithmetic is that of PIL 13 `Image.crop` and `Image.resize`: the kernel is stretched when
    shrinking, its window ends at the box, columns come before rows (PIL takes rows first where that
    is cheaper), and both passes round to uint8. The paper's code and torchvision's
    RandomResizedCrop cut first too. Whole boxes at the final size take a path that only flips; the
    result may be `images` itself.

    Args:
        images: uint8, (N, 3, H, W).
        boxes: (N, 4), [top, left, height, width] in whole pixels, inside the image.
        size: side of the result in pixels.
        interpolation: `bilinear` or `bicubic` (a = -0.5).
        flip: (N,), True for the images to mirror left to right; None mirrors none.

    Returns:
        uint8, (N, 3, size, size).

    Raises:
        ValueError: a wrong dtype, shape or interpolation, or a box that is empty, not whole or
            leaves the image.
    """
    check_images(images)
    count, _, height, width = images.shape
    _check_boxes(boxes, count, height, width)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is not one of {list(INTERPOLATIONS)}")
    if size < 1:
        raise ValueError(f"size {size} is below 1 pixel")
    mirrored = np.zeros(count, dtype=np.bool_) if flip is None else np.asarray(flip, dtype=np.bool_)
    if mirrored.shape != (count,):
        raise ValueError(f"flip has shape {mirrored.shape}; ({count},) is needed")
    if size == height == width and bool((boxes == (0, 0, height, width)).all()):
        return _flipped(images, mirrored)
    if images.device.type == "cpu" and size * size > SMALL:
        return _resized_singly(images, boxes, size, interpolation, mirrored)
    place = on_device(np.ascontiguousarray(boxes, dtype=np.float64), images)
    mirror = on_device(mirrored, images)
    floats = 6 * height * width + 6 * size * max(height, size) + 4 * size * (height + width)
    step = max(1, _CHUNK_BYTES // (4 * floats))
    chunks = zip(images.split(step), place.split(step), mirror.split(step), strict=True)
    return torch.cat([_resized(*chunk, size, interpolation) for chunk in chunks])


def in_cache(images: Tensor) -> Iterator[slice]:
    """Yield stretches of a batch whose floats stay in a core's cache; for a GPU, all of it."""
    count = len(images)
    step = max(1, _CACHED // images[0].numel()) if images.device.type == "cpu" else count
    for start in range(0, count, step):
        yield slice(start, start + step)


def _check_boxes(boxes: npt.NDArray[np.float64], count: int, height: int, width: int) -> None:
    if boxes.shape != (count, 4):
        raise ValueError(f"boxes have shape {boxes.shape}; ({count}, 4) is needed")
    top, left, tall, wide = boxes.T
    inside = (top >= 0) & (left >= 0) & (tall > 0) & (wide > 0)
    inside &= (top + tall <= height) & (left + wide <= width) & (boxes % 1 == 0).all(axis=1)
    if not inside.all():
        bad = boxes[~inside][0].tolist()
        raise ValueError(
            f"box {bad} (top, left, height, width) is empty, not whole or leaves {height}x{width}"
        )


def _flipped(images: Tensor, flip: npt.NDArray[np.bool_]) -> Tensor:
    if not flip.any():
        return images
    rows = np.flatnonzero(flip)
    return put(images.clone(), rows, images.index_select(0, on_device(rows, images)).flip(3))


def resized(pixels: Tensor, size: int, interpolation: str) -> Tensor:
    """Return a uint8 image (3, h, w) on the CPU at (size, size), by torch's vectorised kernel.

    Its weights have fewer bits than PIL's: of white noise up to 2 % of values differ, by at most 2.
    """
    if pixels.shape[1:] == (size, size):
        return pixels
    made: Tensor = torch.nn.functional.interpolate(
        pixels[None], (size, size), mode=interpolation, antialias=True
    )
    return made[0]


def _resized_singly(
    images: Tensor,
    boxes: npt.NDArray[np.float64],
    size: int,
    interpolation: str,
    flip: npt.NDArray[np.bool_],
) -> Tensor:
    made = images.new_empty((len(images), images.shape[1], size, size))
    for each, (top, left, tall, wide) in enumerate(boxes.astype(np.int64).tolist()):
        box = images[each, :, top : top + tall, left : left + wide]
        one = resized(box, size, interpolation)
        made[each] = one.flip(2) if flip[each] else one
    return made


def _resized(images: Tensor, boxes: Tensor, flip: Tensor, size: int, interpolation: str) -> Tensor:
    count, channels, height, width = images.shape
    top, left, tall, wide = boxes.unbind(1)
    columns = _weights(left, wide, width, size, interpolation, flip)
    rows = _weights(top, tall, height, size, interpolation, torch.zeros_like(flip))
    # An autocast region would run these products in bfloat16, which cannot hold 256 grey levels.
    with torch.autocast(images.device.type, enabled=False):
        pixels = images.to(torch.float32).reshape(count, channels * height, width)
        wide_pixels = torch.bmm(pixels, columns.transpose(1, 2))
        wide_pixels = wide_pixels.add_(0.5).floor_()
        if interpolation == "bicubic":  # a bilinear kernel cannot overshoot
            wide_pixels = wide_pixels.clamp_(0, 255)
        rows = rows[:, None].expand(-1, channels, -1, -1)
        result = torch.matmul(rows, wide_pixels.view(count, channels, height, size))
    return result.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _weights(
    low: Tensor, length: Tensor, source: int, size: int, interpolation: str, flip: Tensor
) -> Tensor:
    """Return the resampling matrix of each image, float32 (N, size, source), rows summing to 1."""
    scale = (length / size)[:, None]
    place = torch.arange(size, device=low.device, dtype=torch.float64) + 0.5
    place = torch.where(flip[:, None], size - place, place)
    centre = low[:, None] + place * scale
    stretch = scale.clamp(min=1.0).to(torch.float32)[:, :, None]
    index = torch.arange(source, device=low.device, dtype=torch.float32) + 0.5
    distance = (index - centre.to(torch.float32)[:, :, None]).abs_().div_(stretch)
    if interpolation == "bilinear":
        weights = distance.neg_().add_(1.0).clamp_(min=0.0)
    else:
        weights = cubic(distance, -0.5)  # PIL Resample.c: a = -0.5
    inside = (index > low[:, None, None]) & (index < (low + length)[:, None, None])
    weights = weights * inside
    return weights.div_(weights.sum(2, keepdim=True))


def cubic(distance: Tensor, a: float) -> Tensor:
    """Return Keys' cubic kernel of parameter `a` at distances >= 0."""
    far_distance = distance.clamp(max=2.0)
    near = ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    far = a * (((far_distance - 5.0) * far_distance + 8.0) * far_distance - 4.0)
    return torch.where(distance < 1.0, near, far)
