"""Augmentation of whole uint8 batches on any device, with random numbers from `streams`."""

from lightning_modules.augment.crop import (
    ATTEMPTS,
    RANDOM_BOXES,
    SHIFT_WIDTH,
    box_width,
    center_boxes,
    distorted_boxes,
    random_resized_boxes,
    random_shift_boxes,
    shift,
)
from lightning_modules.augment.randaugment import RandAugment
from lightning_modules.augment.resample import in_cache, resize_boxes
from lightning_modules.augment.spaces import SPACES, operation_names
from lightning_modules.augment.warping import warp

__all__ = [
    "ATTEMPTS",
    "RANDOM_BOXES",
    "SHIFT_WIDTH",
    "SPACES",
    "RandAugment",
    "box_width",
    "center_boxes",
    "distorted_boxes",
    "operation_names",
    "random_resized_boxes",
    "random_shift_boxes",
    "in_cache",
    "resize_boxes",
    "shift",
    "warp",
]
