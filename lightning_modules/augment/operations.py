"""The image operations of RandAugment on whole uint8 batches, with one parameter per image.

The arithmetic is PIL's (ImageOps, ImageEnhance, transform), which the paper's TensorFlow code
(tensorflow/tpu, efficientnet/autoaugment.py) imitates: float blend, clip, truncate. They differ in:

- Contrast: TensorFlow's grey target is the *number of pixels* / 256, at most 255 (it sums the
  histogram's counts, not its values), PIL's is the image's mean grey. `contrast` takes the target;
  `counted_greys` and `mean_greys` give either.
- Solarize: TensorFlow's uint8 threshold may wrap at 256 (facts 3.6). The caller wraps.
- Sharpness: TensorFlow truncates the smoothed image, PIL rounds it (at most |1 - factor| levels).
- Color: TensorFlow's grey may differ by one level. AutoContrast: float32 there, exact here.
- Shear: TensorFlow counts the sheared coordinate from the first pixel's centre, PIL from its edge:
  `anchor` is 0.5 or 0.0.
- Posterize to fewer than 1 bit: undefined in TensorFlow, refused by PIL 13, refused here.

Eight operations only map grey levels: they are tables of 256 entries, and `look_up` applies any
mixture of them at once. Five are affine maps; `warp` applies any mixture of those. The file is long
because there are sixteen operations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_modules.augment.resample import in_cache, on_device
from lightning_modules.augment.warping import warp

GREY = 128  # fill of the paper's warps and Cutout (facts 3.6)

Floats = npt.NDArray[np.float64]
Table = npt.NDArray[np.uint8]

_LEVELS = np.arange(256)


# Operations that map grey levels.


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Replace each grey level by its entry: images (N, 3, H, W), tables uint8 (N, 1 or 3, 256)."""
    made = torch.empty_like(images, memory_format=torch.contiguous_format)
    tables = tables.expand(-1, images.shape[1], -1)
    for part in in_cache(images):
        index = images[part].flatten(2).long()
        made[part] = tables[part].gather(2, index).view_as(made[part])
    return made


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to 0 ... 255; a constant channel stays."""
    return look_up(images, autocontrast_tables(images))


def equalize(images: Tensor) -> Tensor:
    """Flatten each channel's histogram."""
    return look_up(images, equalize_tables(images))


def invert(images: Tensor) -> Tensor:
    """Return 255 - images."""
    return 255 - images


def posterize(images: Tensor, bits: Floats) -> Tensor:
    """Keep the highest `bits` (N,) bits, 1 to 8, of every level."""
    return look_up(images, on_device(posterize_tables(bits), images)[:, None])


def solarize(images: Tensor, thresholds: Floats) -> Tensor:
    """Invert the levels at or above `thresholds` (N,)."""
    return look_up(images, on_device(solarize_tables(thresholds), images)[:, None])


def solarize_add(images: Tensor, additions: Floats) -> Tensor:
    """Add `additions` (N,) to the levels below 128, up to 255."""
    return look_up(images, on_device(solarize_add_tables(additions), images)[:, None])


def brightness(images: Tensor, factors: Floats) -> Tensor:
    """Multiply by `factors` (N,): 0 gives black, 1 the image."""
    return look_up(images, on_device(brightness_tables(factors), images)[:, None])


def contrast(images: Tensor, factors: Floats, targets: Tensor) -> Tensor:
    """Blend with the flat greys `targets` (N,): factor 0 gives the grey, 1 the image."""
    return look_up(images, contrast_tables(factors, targets))


def mean_greys(images: Tensor) -> Tensor:
    """Return the rounded mean grey per image as PIL has it, float32 (N,)."""
    return _grey(images).double().mean(dim=(1, 2)).add_(0.5).floor_().float()


def counted_greys(images: Tensor, pixel_scale: float) -> Tensor:
    """Return the contrast target of the paper's code: pixels / 256, at most 255, float32 (N,).

    `pixel_scale` is the images' side relative to the reference's: a 32 x 32 image at 32 / 256 gets
    the target of a 256 x 256 one (255), at 1.0 that of its own 1024 pixels (4).
    """
    count, _, height, width = images.shape
    level = int(min(255.0, height * width / 256.0 / pixel_scale**2 + 1e-6))
    return torch.full((count,), float(level), device=images.device)


def invert_tables(values: Floats) -> Table:
    """Return the tables (N, 256) of `invert`; only the length of `values` counts."""
    return np.broadcast_to(255 - _LEVELS, (len(values), 256)).astype(np.uint8)


def posterize_tables(bits: Floats) -> Table:
    """Return the tables (N, 256) of `posterize`.

    Raises:
        ValueError: bits outside 1 ... 8.
    """
    whole = np.asarray(bits).astype(np.int64)[:, None]
    if (whole < 1).any() or (whole > 8).any():
        raise ValueError(f"posterize keeps 1 to 8 bits, got {whole.min()} to {whole.max()}")
    return (_LEVELS >> (8 - whole) << (8 - whole)).astype(np.uint8)


def solarize_tables(thresholds: Floats) -> Table:
    """Return the tables (N, 256) of `solarize`."""
    kept = np.asarray(thresholds)[:, None] > _LEVELS
    return np.where(kept, _LEVELS, 255 - _LEVELS).astype(np.uint8)


def solarize_add_tables(additions: Floats) -> Table:
    """Return the tables (N, 256) of `solarize_add`."""
    added = np.clip(_LEVELS + np.asarray(additions).astype(np.int64)[:, None], 0, 255)
    return np.where(_LEVELS < 128, added, _LEVELS).astype(np.uint8)


def brightness_tables(factors: Floats) -> Table:
    """Return the tables (N, 256) of `brightness`."""
    scaled = _LEVELS.astype(np.float32) * np.asarray(factors, dtype=np.float32)[:, None]
    clipped: Table = np.clip(scaled, 0, 255).astype(np.uint8)
    return clipped


def contrast_tables(factors: Floats, targets: Tensor) -> Tensor:
    """Return the tables (N, 1, 256) of `contrast` on the device of `targets`."""
    levels = torch.arange(256, device=targets.device, dtype=torch.float32)
    flat = targets[:, None, None]
    return _blended(flat, levels, on_device(np.asarray(factors, dtype=np.float32), targets))


def autocontrast_tables(images: Tensor) -> Tensor:
    """Return the tables (N, 3, 256) that `autocontrast` would use on these images."""
    low = images.amin(dim=(2, 3))[:, :, None].double()
    high = images.amax(dim=(2, 3))[:, :, None].double()
    levels = torch.arange(256, device=images.device, dtype=torch.float64)
    scale = 255.0 / (high - low)
    stretched = (levels * scale - low * scale).clamp_(0, 255)
    return torch.where(high > low, stretched, levels).to(torch.uint8)


def equalize_tables(images: Tensor) -> Tensor:
    """Return the tables (N, 3, 256) that `equalize` would use on these images."""
    count, channels, height, width = images.shape
    rows = images.reshape(count * channels, height * width)
    place = rows.long() + 256 * torch.arange(len(rows), device=images.device)[:, None]
    counts = torch.zeros(256 * len(rows), device=images.device, dtype=torch.int32)
    one = torch.ones((), device=images.device, dtype=torch.int32)
    # One dimension and integers: the form that stays deterministic on a GPU.
    counts = counts.scatter_add_(0, place.reshape(-1), one.expand(place.numel())).view(-1, 256)
    last = counts.gather(1, rows.amax(dim=1, keepdim=True).long())
    step = (height * width - last) // 255
    before = counts.cumsum(1, dtype=torch.int32) - counts
    table = ((step // 2 + before) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.to(torch.uint8).reshape(count, channels, 256)


# Operations that read neighbours or several channels.


def color(images: Tensor, factors: Floats) -> Tensor:
    """Blend with the grey image: factors (N,) of 0 give grey, 1 the image."""
    made, factor = torch.empty_like(images), _factors(factors, images)
    for part in in_cache(images):
        grey = _grey(images[part])[:, None]
        made[part] = _blended(grey, images[part].float(), factor[part])
    return made


def sharpness(images: Tensor, factors: Floats) -> Tensor:
    """Blend with PIL's SMOOTH filter: factors (N,) of 0 give the smooth image, 1 the image.

    The outer pixels have no full neighbourhood and stay.
    """
    made, factor = torch.empty_like(images), _factors(factors, images)
    for part in in_cache(images):
        pixels = images[part].float()
        made[part] = _blended(_smooth(pixels), pixels, factor[part])
    return made


def cutout(images: Tensor, half_sides: Floats, centers: Floats, fill: int) -> Tensor:
    """Fill a square of side 2 * half_sides, cut at the image's border.

    Args:
        images: uint8, (N, 3, H, W).
        half_sides: (N,), whole pixels.
        centers: (N, 2) in [0, 1): row and column of the square's centre, as a part of the sides.
        fill: grey level, 0 to 255.
    """
    height, width = images.shape[2:]
    rows = _covered(centers[:, 0], half_sides, height)[:, None, :, None]
    columns = _covered(centers[:, 1], half_sides, width)[:, None, None, :]
    return images.masked_fill(on_device(rows & columns, images), fill)


# Affine operations: matrices (N, 6) for `warp`, of images of `size` (height, width).


def rotate(images: Tensor, degrees: Floats, fill: int, interpolation: str) -> Tensor:
    """Rotate about the centre, counter-clockwise by `degrees` (N,)."""
    return warp(images, rotate_matrices(degrees, _size(images), 0.0), fill, interpolation)


def shear_x(images: Tensor, levels: Floats, anchor: float, fill: int, interpolation: str) -> Tensor:
    """Read each row from `level` (N,) pixels further right per row; the row `anchor` stays."""
    return warp(images, shear_x_matrices(levels, _size(images), anchor), fill, interpolation)


def shear_y(images: Tensor, levels: Floats, anchor: float, fill: int, interpolation: str) -> Tensor:
    """Read each column from `level` (N,) pixels further down per column; column `anchor` stays."""
    return warp(images, shear_y_matrices(levels, _size(images), anchor), fill, interpolation)


def translate_x(images: Tensor, pixels: Floats, fill: int, interpolation: str) -> Tensor:
    """Read every pixel from `pixels` (N,) further right."""
    return warp(images, translate_x_matrices(pixels, _size(images), 0.0), fill, interpolation)


def translate_y(images: Tensor, pixels: Floats, fill: int, interpolation: str) -> Tensor:
    """Read every pixel from `pixels` (N,) further down."""
    return warp(images, translate_y_matrices(pixels, _size(images), 0.0), fill, interpolation)


def rotate_matrices(degrees: Floats, size: tuple[int, int], anchor: float) -> Floats:
    """Return the maps of `rotate`; `anchor` is not read: the centre stays in place."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    y, x = size[0] / 2.0, size[1] / 2.0
    return _matrices(
        len(cosine),
        cosine,
        -sine,
        x - cosine * x + sine * y,
        sine,
        cosine,
        y - sine * x - cosine * y,
    )


def shear_x_matrices(levels: Floats, size: tuple[int, int], anchor: float) -> Floats:
    """Return the maps of `shear_x`."""
    return _matrices(len(levels), 1.0, levels, -anchor * levels, 0.0, 1.0, 0.0)


def shear_y_matrices(levels: Floats, size: tuple[int, int], anchor: float) -> Floats:
    """Return the maps of `shear_y`."""
    return _matrices(len(levels), 1.0, 0.0, 0.0, levels, 1.0, -anchor * levels)


def translate_x_matrices(pixels: Floats, size: tuple[int, int], anchor: float) -> Floats:
    """Return the maps of `translate_x`; `anchor` is not read."""
    return _matrices(len(pixels), 1.0, 0.0, pixels, 0.0, 1.0, 0.0)


def translate_y_matrices(pixels: Floats, size: tuple[int, int], anchor: float) -> Floats:
    """Return the maps of `translate_y`; `anchor` is not read."""
    return _matrices(len(pixels), 1.0, 0.0, 0.0, 0.0, 1.0, pixels)


def _matrices(count: int, *entries: float | Floats) -> Floats:
    matrices = np.empty((count, 6))
    for i, entry in enumerate(entries):
        matrices[:, i] = entry
    return matrices


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _grey(images: Tensor) -> Tensor:
    """Return PIL's L levels, float32 (N, H, W): exact, as the sum stays below 2**24."""
    red, green, blue = images.float().unbind(1)
    total = red * 19595.0 + green * 38470.0 + blue * 7471.0 + 32768.0  # PIL Convert.c, rec. 601
    return torch.floor(total / 65536.0)


def _smooth(pixels: Tensor) -> Tensor:
    smooth = pixels.clone()
    if min(pixels.shape[2:]) > 2:
        lines = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
        total = lines[:, :, :, :-2] + lines[:, :, :, 1:-1] + lines[:, :, :, 2:]
        total = total + 4.0 * pixels[:, :, 1:-1, 1:-1]  # the kernel: 5 in the middle, 1 around
        smooth[:, :, 1:-1, 1:-1] = torch.floor((2.0 * total + 13.0) / 26.0)  # total / 13, rounded
    return smooth


def _factors(factors: Floats, images: Tensor) -> Tensor:
    return on_device(np.asarray(factors, dtype=np.float32), images)


def _blended(start: Tensor, end: Tensor, factors: Tensor) -> Tensor:
    """Return start + factor * (end - start), clipped and truncated to uint8."""
    factors = factors.reshape(-1, *[1] * (max(start.ndim, end.ndim) - 1))
    return (start + factors * (end - start)).clamp_(0, 255).to(torch.uint8)


def _covered(centers: Floats, half_sides: Floats, length: int) -> npt.NDArray[np.bool_]:
    center = np.floor(centers * length)[:, None]
    half = np.asarray(half_sides)[:, None]
    place = np.arange(length)
    return (place >= center - half) & (place < center + half)
