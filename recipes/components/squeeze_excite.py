"""Squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe


@dataclass(frozen=True)
class SqueezeExcite(Component):
    """Reweight the channels of every residual block by a small gate on their means.

    Sets: model.se_ratio.
    Default: 0.25 of the block's output width (ResNet-RS; 0.0625 in the SE paper).
    Cost: some 40 % more parameters in ResNet-50, under 1 % more MACs; a slower step.
    Interactions: architecture; the paper adds it after all training changes.
    Applies to: timm's ResNet family by constructor; already present in EfficientNet, RegNetY and
        others.
    Reference: Hu et al. 2018, arXiv 1709.01507; ResNet-RS Table 1, +0.7.
    """

    key, kind = "se", Kind.ARCHITECTURE
    ratio: float = 0.25

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the ratio."""
        return {"model.se_ratio": self.ratio}
