"""Where to crop: boxes [top, left, height, width] in pixels as functions of uniform numbers.

Boxes are NumPy and feed `resize_boxes`; `shift` is the crop of small images (pad, then crop).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_modules.augment.resample import on_device

ATTEMPTS = 10  # torchvision RandomResizedCrop, and max_attempts of the paper's code (facts 3.5)
COVERED = 0.1  # least share of the image, min_object_covered of the paper's code (facts 3.5)
CENTER_FRACTION = 0.875  # of its evaluation crop, which is its fallback too (facts 3.5)
SHIFT_WIDTH = 2  # uniform numbers per image of random_shift_boxes

Floats = npt.NDArray[np.float64]


def box_width(attempts: int = ATTEMPTS) -> int:
    """Return how many uniform numbers per image a function of `RANDOM_BOXES` reads."""
    return 2 * attempts + 2


def random_resized_boxes(
    uniforms: Floats,
    heights: npt.ArrayLike,
    widths: npt.ArrayLike,
    area: tuple[float, float] = (0.08, 1.0),  # facts 3.5
    ratio: tuple[float, float] = (3 / 4, 4 / 3),  # width / height; facts 3.5
    attempts: int = ATTEMPTS,
) -> Floats:
    """Draw one random-resized-crop box per image, with the law of torchvision 0.29 `get_params`.

    Each attempt draws an area fraction and a log-uniform aspect ratio; the first that fits the
    image is placed uniformly at whole pixels. If none fits, the largest centred box within the
    ratios is taken. The paper's TensorFlow op has another law: `distorted_boxes`.

    Args:
        uniforms: (N, box_width(attempts)) in [0, 1): areas, then ratios, then top and left.
        heights: (N,) or one number, pixels.
        widths: (N,) or one number, pixels.
        area: smallest and largest fraction of the image's area.
        ratio: smallest and largest width / height.
        attempts: draws before the fallback.

    Returns:
        (N, 4) boxes of whole pixels.

    Raises:
        ValueError: a wrong number of uniforms, or limits that are not 0 < low <= high.
    """
    height, width = _checked(uniforms, heights, widths, area, ratio, attempts)
    target = height[:, None] * width[:, None]
    target = target * (area[0] + (area[1] - area[0]) * uniforms[:, :attempts])
    low, high = np.log(ratio[0]), np.log(ratio[1])
    aspect = np.exp(low + (high - low) * uniforms[:, attempts : 2 * attempts])
    wide = np.rint(np.sqrt(target * aspect))
    tall = np.rint(np.sqrt(target / aspect))
    fits = (wide > 0) & (wide <= width[:, None]) & (tall > 0) & (tall <= height[:, None])
    first = fits.argmax(axis=1)
    each = np.arange(len(uniforms))
    any_fits = fits[each, first]
    # The fallback: the whole image, its long side shortened to the nearest allowed ratio.
    whole_wide = np.minimum(width, np.rint(height * ratio[1]))
    whole_tall = np.minimum(height, np.rint(width / ratio[0]))
    wide = np.where(any_fits, wide[each, first], np.maximum(whole_wide, 1))
    tall = np.where(any_fits, tall[each, first], np.maximum(whole_tall, 1))
    free_y, free_x = height - tall, width - wide
    top = np.where(any_fits, np.floor(uniforms[:, -2] * (free_y + 1)), free_y // 2)
    left = np.where(any_fits, np.floor(uniforms[:, -1] * (free_x + 1)), free_x // 2)
    return np.stack([top, left, tall, wide], axis=1)


def distorted_boxes(
    uniforms: Floats,
    heights: npt.ArrayLike,
    widths: npt.ArrayLike,
    area: tuple[float, float] = (0.08, 1.0),  # facts 3.5
    ratio: tuple[float, float] = (3 / 4, 4 / 3),  # width / height; facts 3.5
    attempts: int = ATTEMPTS,
) -> Floats:
    """Draw one training crop per image with the law of the paper's code (tensorflow/tpu).

    It is TensorFlow's sample_distorted_bounding_box with the whole image as the object. Each
    attempt draws the ratio uniformly, then the height uniformly over the whole numbers whose boxes
    have an allowed area and fit; a box that rounding puts outside the areas is moved by one row. A
    box that covers less than `COVERED` of the image is refused, so smaller areas are never seen.
    The first box that stands is placed uniformly, but never at the lower or right border unless
    it fills that side (TensorFlow's random integers end one short). If none stands, or it is the
    whole image, the evaluation crop is taken. Double precision here, single in TensorFlow: ties
    of rounding may fall otherwise.

    Args, Returns and Raises are those of `random_resized_boxes`, but `uniforms` holds ratios, then
    heights, then top and left.
    """
    height, width = _checked(uniforms, heights, widths, area, ratio, attempts)
    whole = height[:, None] * width[:, None]
    least, most = area[0] * whole, area[1] * whole
    aspect = ratio[0] + (ratio[1] - ratio[0]) * uniforms[:, :attempts]
    highest = np.rint(np.sqrt(most / aspect))
    narrow = np.floor((width[:, None] + 0.5 - 1e-7) / aspect)  # the largest that is not too wide
    narrow -= np.rint(narrow * aspect) > width[:, None]
    highest = np.where(np.rint(highest * aspect) > width[:, None], narrow, highest)
    highest = np.minimum(highest, height[:, None])
    lowest = np.minimum(np.rint(np.sqrt(least / aspect)), highest)
    share = uniforms[:, attempts : 2 * attempts]
    tall = lowest + np.floor(share * (highest - lowest + 1))
    tall += tall * np.rint(tall * aspect) < least
    tall -= tall * np.rint(tall * aspect) > most
    wide = np.rint(tall * aspect)
    found = tall * wide
    stands = (found >= least) & (found <= most) & (found >= COVERED * whole)
    stands &= (tall >= 1) & (wide >= 1) & (tall <= height[:, None]) & (wide <= width[:, None])
    first = stands.argmax(axis=1)
    each = np.arange(len(uniforms))
    tall, wide = tall[each, first], wide[each, first]
    top = np.floor(uniforms[:, -2] * (height - tall))
    left = np.floor(uniforms[:, -1] * (width - wide))
    boxes = np.stack([top, left, tall, wide], axis=1)
    kept = stands[each, first] & ((tall < height) | (wide < width))
    return np.where(kept[:, None], boxes, center_boxes(height, width, CENTER_FRACTION))


# By the names of `data.crop`. All read `box_width()` numbers an image.
RANDOM_BOXES = {"random_resized": random_resized_boxes, "distorted": distorted_boxes}


def center_boxes(heights: npt.ArrayLike, widths: npt.ArrayLike, fraction: float) -> Floats:
    """Return the centred square of `fraction` of the short side, (N, 4) whole pixels.

    The paper evaluates at 0.875 (facts 3.5); sides are cut to whole pixels and an odd margin is
    larger before than after, as in its code.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; 0 < fraction <= 1 is needed")
    height, width = _sides(heights, widths, max(np.size(heights), np.size(widths)))
    side = np.maximum(1.0, np.floor(np.minimum(height, width) * fraction + 1e-9))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return np.stack([top, left, side, side], axis=1)


def random_shift_boxes(
    uniforms: Floats, heights: npt.ArrayLike, widths: npt.ArrayLike, padding: int
) -> Floats:
    """Draw boxes of the image's own size, moved by up to `padding` whole pixels either way.

    This is "pad, then random crop" (4 pixels for CIFAR: He et al. 2016, section 4.2). A box may
    leave the image: give its first two columns to `shift`, not the boxes to `resize_boxes`.

    Args:
        uniforms: (N, SHIFT_WIDTH) in [0, 1).
        heights: (N,) or one number, pixels.
        widths: (N,) or one number, pixels.
        padding: largest shift in pixels.

    Returns:
        (N, 4) boxes with top and left in [-padding, padding].
    """
    count = len(uniforms)
    if uniforms.shape != (count, SHIFT_WIDTH):
        raise ValueError(f"uniforms have shape {uniforms.shape}; (N, {SHIFT_WIDTH}) is needed")
    if padding < 0:
        raise ValueError(f"padding is {padding}; 0 or more pixels are needed")
    offsets = np.floor(uniforms * (2 * padding + 1)) - padding
    return np.concatenate([offsets, np.stack(_sides(heights, widths, count), axis=1)], axis=1)


def shift(images: Tensor, offsets: npt.NDArray[np.generic], padding: int) -> Tensor:
    """Move each image's window by whole pixels over its mirror image (reflect padding).

    Args:
        images: uint8, (N, 3, H, W).
        offsets: (N, 2), top and left of the window, whole pixels in [-padding, padding].
        padding: pixels mirrored on each side, below H and W.

    Returns:
        uint8, (N, 3, H, W).

    Raises:
        ValueError: offsets beyond the padding, or a padding that the image cannot mirror.
    """
    count, channels, height, width = images.shape
    if not 0 <= padding < min(height, width):
        raise ValueError(f"padding {padding} is not in 0 ... {min(height, width) - 1}")
    whole = np.asarray(offsets).astype(np.int64)
    if whole.shape != (count, 2) or (np.abs(whole) > padding).any() or (whole != offsets).any():
        raise ValueError(
            f"offsets must be ({count}, 2) whole pixels of at most {padding}; "
            f"got shape {whole.shape} and at most {np.abs(offsets).max(initial=0)}"
        )
    rows = _mirrored(whole[:, :1] + np.arange(height), height)
    columns = _mirrored(whole[:, 1:] + np.arange(width), width)
    index = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, height * width)
    source = on_device(index, images).expand(-1, channels, -1)
    return images.reshape(count, channels, -1).gather(2, source).reshape(images.shape)


def _checked(
    uniforms: Floats,
    heights: npt.ArrayLike,
    widths: npt.ArrayLike,
    area: tuple[float, float],
    ratio: tuple[float, float],
    attempts: int,
) -> tuple[Floats, Floats]:
    """Return the sides of the images, or raise what is wrong with the arguments."""
    count = len(uniforms)
    if attempts < 1 or uniforms.shape != (count, box_width(attempts)):
        raise ValueError(
            f"uniforms have shape {uniforms.shape}; (N, {box_width(attempts)}) is needed for "
            f"{attempts} attempts"
        )
    for name, (low, high) in {"area": area, "ratio": ratio}.items():
        if not 0 < low <= high:
            raise ValueError(f"{name} is {(low, high)}; 0 < low <= high is needed")
    return _sides(heights, widths, count)


def _sides(heights: npt.ArrayLike, widths: npt.ArrayLike, count: int) -> tuple[Floats, Floats]:
    height = np.broadcast_to(np.asarray(heights, dtype=np.float64), (count,))
    width = np.broadcast_to(np.asarray(widths, dtype=np.float64), (count,))
    return height, width


def _mirrored(index: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    folded: npt.NDArray[np.int64] = (length - 1) - np.abs((length - 1) - np.abs(index))
    return folded
