"""RandAugment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class RandAugment(Component):
    """Apply randomly chosen image operations of one magnitude to each training image.

    Sets: augment.randaug_layers, augment.randaug_magnitude, augment.randaug_space,
        augment.randaug_solarize_wrap.
    Default: 2 operations of magnitude 15 in the paper's space (ResNet-RS-200 config): 16
        operations, always applied, on a /10 scale without cap. timm's and torchvision's spaces
        have other operations and scales: 15 there is not 15 here. In the paper's space Solarize's
        threshold wraps at 256 (`wrap`), so that magnitude 10 inverts whole images: TensorFlow's
        cast to uint8 does so, in graph and eager mode of 2.12. Whether the original TF1 run
        wrapped too is likely and unconfirmed; `wrap=false` lets the threshold stand. Color and
        Sharpness differ from TensorFlow's by a few grey levels at most, since the arithmetic is
        PIL's: its grey may be one level off and its smoothed image is rounded, not cut, and the
        factor (2.8 at magnitude 15) stretches that by 1.8.
    Cost: image operations on whole batches; none on the network.
    Interactions: needs enough epochs; with small images the constants in pixels shrink
        (augment.randaug_pixel_scale, set by the data profile).
    Applies to: every backbone.
    Reference: Cubuk et al. 2020, arXiv 1909.13719; tensorflow/tpu autoaugment.py; Table 1, +0.4.
    """

    key, kind = "ra", Kind.AUGMENTATION
    magnitude: Scalar = 15.0
    layers: int = 2
    space: str = "resnet_rs"
    wrap: bool | None = None  # none: as the space has it

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the operations' number, strength and space."""
        return {
            "augment.randaug_layers": self.layers,
            "augment.randaug_magnitude": self.magnitude,
            "augment.randaug_space": self.space,
            "augment.randaug_solarize_wrap": self.space == "resnet_rs"
            if self.wrap is None
            else self.wrap,
        }
