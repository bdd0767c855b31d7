"""What RandAugment's operations and magnitudes mean in three code bases, as data.

`resnet_rs` is the code behind the paper (tensorflow/tpu, efficientnet/autoaugment.py; facts 3.6),
`timm` and `torchvision` are what those packages do by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning_modules.augment.operations import GREY


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One operation's parameter at one magnitude: `base + step`, or `base +- step` when signed."""

    name: str  # unit or word: degrees, level, pixels, fraction (of the side), factor, bits ...
    base: float = 0.0
    step: float = 0.0
    signed: bool = False

    def values(self) -> float | list[float]:
        """Return the value, or both values of a signed argument, lowest first."""
        if not self.signed:
            return self.base + self.step
        return sorted([self.base - self.step, self.base + self.step])


@dataclass(frozen=True, kw_only=True)
class Space:
    """What RandAugment means in one code base."""

    source: str
    operations: tuple[str, ...]  # drawn uniformly, with replacement
    probability: float  # that a drawn operation is applied
    fill: int  # grey level behind warps and Cutout
    kernels: tuple[str, ...]  # interpolations of warps, an even chance each
    anchor: float  # where sheared coordinates are counted from, pixels
    fractions: bool  # translations are parts of the side
    whole_pixels: bool  # translations are cut to whole pixels
    counts_pixels: bool  # Contrast's grey target is the TensorFlow code's (see operations)
    highest: float  # largest accepted magnitude
    arguments: Callable[[str, float], Argument | None]


def _resnet_rs(name: str, magnitude: float) -> Argument | None:
    level = magnitude / 10.0  # _MAX_LEVEL = 10, not capped
    match name:
        case "Rotate":
            return Argument(name="degrees", step=30.0 * level, signed=True)
        case "ShearX" | "ShearY":
            return Argument(name="level", step=0.3 * level, signed=True)
        case "TranslateX" | "TranslateY":
            return Argument(name="pixels", step=100.0 * level, signed=True)  # translate_const
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return Argument(name="factor", base=0.1 + 1.8 * level)
        case "Posterize":  # outside 1 ... 8 TensorFlow's shift is not defined
            return Argument(name="bits", base=min(8, max(1, int(4 * level))))
        case "Solarize":
            return Argument(name="threshold", base=int(256 * level))
        case "SolarizeAdd":
            return Argument(name="addition", base=int(110 * level))
        case "Cutout":
            return Argument(name="half_side", base=40.0 * level)  # cutout_const
    return None


def _timm(name: str, magnitude: float) -> Argument | None:
    capped = min(magnitude, 10.0)  # _LEVEL_DENOM, the bound where no `mmax` is given
    match name:
        case "TranslateX" | "TranslateY":
            return Argument(name="fraction", step=0.45 * capped / 10.0, signed=True)
    return _resnet_rs(name, capped)


def _torchvision(name: str, magnitude: float) -> Argument | None:
    level = magnitude / 30.0  # num_magnitude_bins = 31
    match name:
        case "Rotate":
            return Argument(name="degrees", step=30.0 * level, signed=True)
        case "ShearX" | "ShearY":
            return Argument(name="level", step=0.3 * level, signed=True)
        case "TranslateX" | "TranslateY":
            return Argument(name="fraction", step=150.0 / 331.0 * level, signed=True)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return Argument(name="factor", base=1.0, step=0.9 * level, signed=True)
        case "Posterize":
            return Argument(name="bits", base=8 - round(4 * level))
        case "Solarize":
            return Argument(name="threshold", base=255.0 * (1.0 - level))
    return None


SPACES: Mapping[str, Space] = {
    "resnet_rs": Space(
        source="tensorflow/tpu efficientnet/autoaugment.py distort_image_with_randaugment",
        operations=(
            *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color"),
            *("Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX"),
            *("TranslateY", "Cutout", "SolarizeAdd"),
        ),
        probability=1.0,
        fill=GREY,
        kernels=("nearest",),
        anchor=0.5,
        fractions=False,
        whole_pixels=False,
        counts_pixels=True,
        highest=math.inf,
        arguments=_resnet_rs,
    ),
    "timm": Space(
        source="timm 1.0.31 data/auto_augment.py rand_augment_transform('rand-mM-nN')",
        operations=(
            *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize"),
            *("SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"),
            *("TranslateX", "TranslateY"),
        ),
        probability=0.5,
        fill=GREY,
        kernels=("bilinear", "bicubic"),
        anchor=0.0,
        fractions=True,
        whole_pixels=False,
        counts_pixels=False,
        highest=math.inf,
        arguments=_timm,
    ),
    "torchvision": Space(
        source="torchvision 0.29.2 transforms.RandAugment on PIL images, 31 bins",
        operations=(
            *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness"),
            *("Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast"),
            "Equalize",
        ),
        probability=1.0,
        fill=0,
        kernels=("nearest",),
        anchor=0.0,
        fractions=True,
        whole_pixels=True,
        counts_pixels=False,
        highest=30.0,
        arguments=_torchvision,
    ),
}


def find_space(name: str) -> Space:
    """Return a space of `SPACES`.

    Raises:
        ValueError: an unknown space.
    """
    if name not in SPACES:
        raise ValueError(f"space {name!r} is not one of {list(SPACES)}")
    return SPACES[name]


def operation_names(space: str) -> tuple[str, ...]:
    """Return the operations of a space, in the order of its source.

    Raises:
        ValueError: an unknown space.
    """
    return find_space(space).operations
