"""Warping of whole uint8 batches: one affine map per image, with PIL's arithmetic.

Maps that only slide rows or columns are blended along one axis; others PIL itself takes on a CPU,
and `_sampled`, as a whole batch, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_modules.augment.resample import (
    INTERPOLATIONS,
    SMALL,
    cubic,
    in_cache,
    on_device,
    put,
)

WARP_INTERPOLATIONS = ("nearest", *INTERPOLATIONS)
AXES = (0, 2, 3)  # of a batch, along which pixels slide; 0: a map that does more

Taken = Callable[[Tensor, Tensor], Tensor]  # (column, row) -> the pixels there


def warp(
    images: Tensor, matrices: npt.NDArray[np.float64], fill: int, interpolation: str
) -> Tensor:
    """Apply one inverse affine map per image, as PIL 13 `Image.transform(size, AFFINE, ...)` does.

    The source of the output pixel with the centre (x + 0.5, y + 0.5) is
    (a x + b y + c, d x + e y + f) at that centre; a source outside the image gives `fill`. Maps
    that only slide rows, or only columns (shears, shifts), are blended along one axis. Of the
    others PIL itself warps, on a CPU, large images and those of which a kernel reads neighbours.

    Args:
        images: uint8, (N, 3, H, W).
        matrices: (N, 6), the rows (a, b, c, d, e, f), lengths in pixels.
        fill: grey level, 0 to 255.
        interpolation: `nearest`, `bilinear` or `bicubic` (a = -1 in PIL's warps, not -0.5).

    Returns:
        uint8, (N, 3, H, W).

    Raises:
        ValueError: an unknown interpolation.
    """
    if interpolation not in WARP_INTERPOLATIONS:
        raise ValueError(
            f"interpolation {interpolation!r} is not one of {list(WARP_INTERPOLATIONS)}"
        )
    ways = ways_to_warp(matrices)
    found = np.unique(ways)
    if len(found) == 1:
        return _warped(images, matrices, fill, interpolation, AXES[found[0]])
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for way in found:
        rows = np.flatnonzero(ways == way)
        part = images.index_select(0, on_device(rows, images))
        put(result, rows, _warped(part, matrices[rows], fill, interpolation, AXES[way]))
    return result


def ways_to_warp(matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return for each map (N, 6) a place in `AXES`: along which axis pixels slide, if they do."""
    straight = matrices == (1, 0, 0, 0, 1, 0)
    along_rows = straight[:, [0, 3, 4, 5]].all(axis=1)
    along_columns = straight[:, [0, 1, 2, 4]].all(axis=1)
    return np.where(along_rows, 2, np.where(along_columns, 1, 0))


def _warped(
    images: Tensor,
    matrices: npt.NDArray[np.float64],
    fill: int,
    interpolation: str,
    slid: int,  # the axis along which pixels slide, or 0
) -> Tensor:
    on_cpu = images.device.type == "cpu"
    large = on_cpu and images[0, 0].numel() > SMALL
    if slid:
        return _slid(images, matrices, fill, interpolation, slid)
    if large or (on_cpu and interpolation != "nearest"):
        return _warped_by_pil(images, matrices, fill, interpolation)
    return _sampled(images, matrices, fill, interpolation)


def _sampled(
    images: Tensor, matrices: npt.NDArray[np.float64], fill: int, interpolation: str
) -> Tensor:
    """Warp a whole batch in as many kernels as one image takes: for GPUs, and few pixels."""
    count, channels, height, width = images.shape
    a, b, c, d, e, f = on_device(matrices, images)[:, :, None, None].unbind(1)
    x = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    y = torch.arange(height, device=images.device, dtype=torch.float64)[:, None] + 0.5
    source_x = (a * x + b * y + c).reshape(count, 1, height * width)
    source_y = (d * x + e * y + f).reshape(count, 1, height * width)
    outside = (source_x < 0) | (source_x >= width) | (source_y < 0) | (source_y >= height)
    pixels = images.reshape(count, channels, height * width)

    def taken(column: Tensor, row: Tensor) -> Tensor:
        index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        return pixels.gather(2, index.long().expand(-1, channels, -1))

    if interpolation == "nearest":
        result = taken(source_x.floor(), source_y.floor())
    else:
        result = _interpolated(taken, source_x - 0.5, source_y - 0.5, interpolation)
    return result.masked_fill_(outside, fill).reshape(images.shape)


def _slid(
    images: Tensor,
    matrices: npt.NDArray[np.float64],
    fill: int,
    interpolation: str,
    axis: int,
) -> Tensor:
    """Slide each row (axis 3) or column (axis 2) by an amount of its own, blended along it."""
    length, lines = images.shape[axis], images.shape[5 - axis]
    slope, offset = matrices[:, (1, 2) if axis == 3 else (3, 5)].T[:, :, None]
    source = slope * (np.arange(lines) + 0.5) + offset + 0.5  # of the line's first pixel
    inside = np.ceil([-source, length - source]).astype(np.int32)  # from one to before the other
    if interpolation == "nearest":
        start, weights = np.floor(source), []
    else:
        taps = 2 if interpolation == "bilinear" else 4
        start = np.floor(source - 0.5) - (taps // 2 - 1)
        distances = [np.abs(source - 0.5 - start - tap) for tap in range(taps)]
        weights = [_tap_weight(torch.from_numpy(each), interpolation) for each in distances]

    def along(values: Tensor) -> Tensor:  # (N, lines) for a batch's axes
        return values.to(images.device, non_blocking=True).unsqueeze(1).unsqueeze(axis)

    from_, first, last = (
        along(torch.from_numpy(start.astype(np.int64))),
        *map(along, torch.from_numpy(inside)),
    )
    by_tap = [along(weight) for weight in weights]
    place = torch.arange(length + max(len(weights) - 1, 0), device=images.device)
    place = place[:, None] if axis == 2 else place
    within = place.narrow(0 if axis == 2 else -1, 0, length).to(torch.int32)
    made = torch.empty_like(images, memory_format=torch.contiguous_format)
    for part in in_cache(images):
        index = (place + from_[part]).clamp_(0, length - 1)
        pixels = images[part].gather(axis, index.expand(-1, images.shape[1], -1, -1))
        if by_tap:
            floats = pixels.float()
            total = torch.zeros(images[part].shape, device=images.device)
            for tap, weight in enumerate(by_tap):
                total += floats.narrow(axis, tap, length) * weight[part]
            pixels = total.add_(1e-3).clamp_(0, 255).to(torch.uint8)  # as in _interpolated
        outside = (within < first[part]) | (within >= last[part])
        made[part] = pixels.masked_fill_(outside, fill)
    return made


def _warped_by_pil(
    images: Tensor, matrices: npt.NDArray[np.float64], fill: int, interpolation: str
) -> Tensor:
    """Return what PIL makes of each image.

    `_sampled` is at most 1 level off, in under 1 % of pixels; to the nearest pixel, where PIL has
    16 bits of a place, another pixel is taken in 0.1 % of them.
    """
    from PIL import Image

    kernel = Image.Resampling[interpolation.upper()]
    pixels = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    size, grey = (pixels.shape[2], pixels.shape[1]), (fill, fill, fill)
    made = np.empty_like(pixels)
    for each, (image, matrix) in enumerate(zip(pixels, matrices.tolist(), strict=True)):
        made[each] = Image.fromarray(image).transform(
            size, Image.Transform.AFFINE, matrix, kernel, fillcolor=grey
        )
    return torch.from_numpy(np.ascontiguousarray(made.transpose(0, 3, 1, 2)))


def _interpolated(taken: Taken, x: Tensor, y: Tensor, interpolation: str) -> Tensor:
    """Blend the neighbours of (x, y); beyond the edge the edge pixel repeats. PIL truncates."""
    left, top = x.floor(), y.floor()
    taps = range(2) if interpolation == "bilinear" else range(-1, 3)
    zero = torch.zeros((), device=x.device, dtype=torch.float32)
    total = zero
    for row in taps:
        line = zero
        for column in taps:
            weight = _tap_weight(x - left - column, interpolation)
            line = line + taken(left + column, top + row) * weight
        total = total + line * _tap_weight(y - top - row, interpolation)
    return total.add_(1e-3).clamp_(0, 255).to(torch.uint8)  # 1e-3: a float32 17.99999 is 18


def _tap_weight(distance: Tensor, interpolation: str) -> Tensor:
    distance = distance.abs().to(torch.float32)
    if interpolation == "bilinear":
        return 1.0 - distance
    return cubic(distance, -1.0)  # PIL Geometry.c
