"""What a data module does to an image, as plain values: the list of transforms, the protocol."""

from __future__ import annotations

from typing import Any

from lightning_modules.augment import RANDOM_BOXES
from lightning_modules.image_data import ImageData


def transforms(data: ImageData) -> list[Any]:
    """Return what is done to a training image, in order."""
    leaves = data.recipe.data
    crop: dict[str, Any] = {"crop": leaves.crop, "to": leaves.resolution}
    if leaves.crop in RANDOM_BOXES:
        crop["area"] = leaves.crop_area
    if leaves.crop == "shift":
        crop["padding"] = leaves.crop_padding
    at_access = "decode at every access" + (", scaled" if leaves.decode == "scaled" else "")
    found: list[Any] = [
        f"stored at {leaves.stored_size} px" if leaves.stored_size else at_access,
        crop | {"interpolation": leaves.interpolation},
    ]
    found += ["flip"] if leaves.flip else []
    found += [] if data.randaugment is None else [data.randaugment.describe()]
    hooks = [f"custom.{hook.name}" for hook in data.recipe.custom if hook.hook == "batch"]
    return [*found, "normalise", *hooks]


def protocol(data: ImageData) -> dict[str, Any]:
    """Return how an image is evaluated, and with which weights."""
    evaluate = data.recipe.evaluate
    return {
        "split": evaluate.split,
        "resolution": evaluate.resolution or data.recipe.data.resolution,
        "crop_fraction": evaluate.crop_fraction,
        "interpolation": evaluate.interpolation,
        "weights": evaluate.weights,
    }
