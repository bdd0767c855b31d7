"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719) on whole uint8 batches.

`spaces` says which operations there are and what a magnitude means; here images are drawn to
operations and each group of operations runs once. Random numbers are a function of (seed, layer,
epoch, position) only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_modules.augment import operations as ops
from lightning_modules.augment.resample import check_images, on_device, put
from lightning_modules.augment.spaces import Argument, find_space
from lightning_modules.augment.warping import AXES, warp, ways_to_warp
from lightning_modules.streams import draws

Floats = npt.NDArray[np.float64]

# Uniform numbers per image and layer: choice, applied, sign, 2 of Cutout, kernel, 2 spare.
WIDTH = 8


class RandAugment:
    """Apply `layers` random operations of one magnitude to each image of a batch.

    A plain object with one moving part: `magnitude` may be set at any time (a schedule moves it)
    and holds from the next call on. In the three spaces it reads out of 10, 10 (capped) and 30.

    Args:
        layers: operations per image, 1 or more.
        space: a name of `spaces.SPACES`.
        pixel_scale: factor on the constants in pixels (translation, Cutout, the pixel count of
            Contrast) of `resnet_rs`, meant as resolution / 256; the other spaces have no such
            constants and do not read it.
        solarize_wrap: `resnet_rs` only: the Solarize threshold wraps at 256, as the reference does
            under TensorFlow 2 (facts 3.6).
        magnitude: None until it is set; calling then raises.

    Raises:
        ValueError: a value outside what is said above.
    """

    def __init__(
        self,
        layers: int,
        space: str,
        pixel_scale: float = 1.0,
        solarize_wrap: bool = False,
        *,
        magnitude: float | None = None,
    ) -> None:
        """Check the values; see the class."""
        self._rules = find_space(space)
        if layers < 1:
            raise ValueError(f"layers is {layers}; 1 or more is needed")
        if not (math.isfinite(pixel_scale) and pixel_scale > 0):
            raise ValueError(f"pixel_scale is {pixel_scale}; a finite number above 0 is needed")
        if solarize_wrap and space != "resnet_rs":
            raise ValueError(f"solarize_wrap is for the space 'resnet_rs', not {space!r}")
        self.layers, self.space = layers, space
        self.pixel_scale, self.solarize_wrap = pixel_scale, solarize_wrap
        self._magnitude: float | None = None
        if magnitude is not None:
            self.magnitude = magnitude

    @property
    def magnitude(self) -> float:
        """The strength that the next call uses."""
        if self._magnitude is None:
            raise ValueError("RandAugment has no magnitude yet; set `magnitude` first")
        return self._magnitude

    @magnitude.setter
    def magnitude(self, value: float) -> None:
        if not (math.isfinite(value) and 0 <= value <= self._rules.highest):
            limit = f"0 to {self._rules.highest:g}"
            raise ValueError(f"magnitude is {value}; the space {self.space!r} takes {limit}")
        self._magnitude = float(value)

    def describe(self) -> dict[str, object]:
        """Return what the present magnitude means, as plain data: each operation's argument.

        A signed argument is a list of its two values; `fraction` is a part of the side; an
        operation without an argument has an empty entry.
        """
        resolved = {name: self._argument(name) for name in self._rules.operations}
        return {
            "space": self.space,
            "source": self._rules.source,
            "layers": self.layers,
            "magnitude": self.magnitude,
            "probability": self._rules.probability,
            "fill": self._rules.fill,
            "interpolation": list(self._rules.kernels),
            "contrast_target": "pixel_count" if self._rules.counts_pixels else "mean_grey",
            "pixel_scale": self.pixel_scale,
            "operations": {
                name: {} if argument is None else {argument.name: argument.values()}
                for name, argument in resolved.items()
            },
        }

    def __call__(self, images: Tensor, seed: int, epoch: int, start: int) -> Tensor:
        """Return augmented images; the input is left alone.

        Args:
            images: uint8, (N, 3, H, W).
            seed: the run's seed.
            epoch: number of the epoch.
            start: position in the epoch of the first image; the others follow it.

        Returns:
            uint8, (N, 3, H, W).

        Raises:
            ValueError: a wrong dtype or shape, or no magnitude set.
        """
        check_images(images)
        for layer in range(self.layers):
            uniforms = draws(seed, ("randaugment", layer), epoch, start, len(images), WIDTH)
            images = self._layer(images, uniforms)
        return images

    def _layer(self, images: Tensor, uniforms: Floats) -> Tensor:
        names, probability = self._rules.operations, self._rules.probability
        arguments = [self._argument(name) or Argument(name="") for name in names]
        chosen = np.floor(uniforms[:, 0] * len(names)).astype(np.int64)
        signs = np.where(uniforms[:, 2] < 0.5, -1.0, 1.0)
        signs = np.where(np.array([a.signed for a in arguments])[chosen], signs, 1.0)
        steps = signs * np.array([a.step for a in arguments])[chosen]
        values = np.array([a.base for a in arguments])[chosen] + steps
        groups = np.array([_GROUPS[name] for name in names])[chosen]
        groups[uniforms[:, 1] >= probability] = _NONE
        maps = np.empty((len(images), 6))
        warps = np.flatnonzero(groups == _WARP)
        maps[warps] = self._matrices(images, chosen[warps], values[warps])
        # One group for each kernel and way to warp, so that no image is copied twice.
        kernels = np.floor(uniforms[warps, 5] * len(self._rules.kernels)).astype(np.int64)
        groups[warps] += len(AXES) * kernels + ways_to_warp(maps[warps])

        def grouped(group: int, part: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
            if group == _TABLE:
                return ops.look_up(part, self._tables(part, chosen[rows], values[rows]))
            if group >= _WARP:
                kernel = self._rules.kernels[(group - _WARP) // len(AXES)]
                return warp(part, maps[rows], self._rules.fill, kernel)
            if group == _COLOR:
                return ops.color(part, values[rows])
            if group == _SHARPNESS:
                return ops.sharpness(part, values[rows])
            return ops.cutout(part, values[rows], uniforms[rows, 3:5], self._rules.fill)

        return _partitioned(images, groups, grouped)

    def _argument(self, name: str) -> Argument | None:
        """Return an operation's argument with this object's scale and wrap applied."""
        argument = self._rules.arguments(name, self.magnitude)
        if argument is None:
            return None
        if argument.name == "pixels":
            return replace(argument, step=argument.step * self.pixel_scale)
        if argument.name == "half_side":
            return replace(argument, base=int(argument.base * self.pixel_scale))
        if argument.name == "threshold" and self.solarize_wrap:
            return replace(argument, base=argument.base % 256)
        return argument

    def _tables(self, images: Tensor, chosen: npt.NDArray[np.int64], values: Floats) -> Tensor:
        """Return the grey-level tables of a mixture of operations, uint8 (n, 3, 256)."""
        known = np.zeros((len(chosen), 256), dtype=np.uint8)
        read: list[tuple[npt.NDArray[np.int64], str]] = []  # tables that depend on the pixels
        for number in np.unique(chosen):
            rows = np.flatnonzero(chosen == number)
            name = self._rules.operations[number]
            if name in _TABLES:
                known[rows] = _TABLES[name](values[rows])
            else:
                read.append((rows, name))
        tables = on_device(known, images)[:, None].repeat(1, 3, 1)
        for rows, name in read:
            part = images.index_select(0, on_device(rows, images))
            if name == "Contrast":
                table = ops.contrast_tables(values[rows], self._contrast_targets(part))
            else:
                table = _READ_TABLES[name](part)
            put(tables, rows, table.expand(-1, 3, -1))
        return tables

    def _contrast_targets(self, images: Tensor) -> Tensor:
        if self._rules.counts_pixels:
            return ops.counted_greys(images, self.pixel_scale)
        return ops.mean_greys(images)

    def _matrices(self, images: Tensor, chosen: npt.NDArray[np.int64], values: Floats) -> Floats:
        """Return the affine maps of a mixture of operations, (n, 6)."""
        size = (images.shape[2], images.shape[3])
        matrices = np.empty((len(chosen), 6))
        for number in np.unique(chosen):
            rows = chosen == number
            name, value = self._rules.operations[number], values[rows]
            if self._rules.fractions and name in _SIDES:
                value = value * size[_SIDES[name]]
                value = np.trunc(value) if self._rules.whole_pixels else value
            matrices[rows] = _MATRICES[name](value, size, self._rules.anchor)
        return matrices


def _partitioned(
    images: Tensor,
    labels: npt.NDArray[np.int64],
    apply: Callable[[int, Tensor, npt.NDArray[np.int64]], Tensor],
) -> Tensor:
    """Replace the images of each label by `apply(label, images, rows)`; those of _NONE stay."""
    result = images.clone()
    for label in np.unique(labels[labels != _NONE]):
        rows = np.flatnonzero(labels == label)
        part = images.index_select(0, on_device(rows, images))
        put(result, rows, apply(int(label), part, rows))
    return result


# One call serves all images of a group, whichever of its operations each image drew.
_NONE, _TABLE, _COLOR, _SHARPNESS, _CUTOUT, _WARP = range(-1, 5)  # warps are the last: see `_layer`

_TABLES: Mapping[str, Callable[[Floats], ops.Table]] = {
    "Invert": ops.invert_tables,
    "Posterize": ops.posterize_tables,
    "Solarize": ops.solarize_tables,
    "SolarizeAdd": ops.solarize_add_tables,
    "Brightness": ops.brightness_tables,
}
_READ_TABLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "AutoContrast": ops.autocontrast_tables,
    "Equalize": ops.equalize_tables,
}
_MATRICES: Mapping[str, Callable[[Floats, tuple[int, int], float], Floats]] = {
    "Rotate": ops.rotate_matrices,
    "ShearX": ops.shear_x_matrices,
    "ShearY": ops.shear_y_matrices,
    "TranslateX": ops.translate_x_matrices,
    "TranslateY": ops.translate_y_matrices,
}
_SIDES: Mapping[str, int] = {"TranslateX": 1, "TranslateY": 0}  # the axis of (height, width)
_GROUPS: Mapping[str, int] = {
    **dict.fromkeys((*_TABLES, *_READ_TABLES, "Contrast"), _TABLE),
    **dict.fromkeys(_MATRICES, _WARP),
    "Color": _COLOR,
    "Sharpness": _SHARPNESS,
    "Cutout": _CUTOUT,
    "Identity": _NONE,
}
