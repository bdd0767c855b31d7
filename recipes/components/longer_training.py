"""More epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe


@dataclass(frozen=True)
class LongerTraining(Component):
    """Train for a multiple of the base's epochs.

    Sets: optim.epochs, and optim.base_epochs (provenance, so that applying twice changes nothing).
    Default: 350 / 90 of the base (ResNet-RS Table 1: 90 to 350 epochs).
    Cost: training time times the factor; not an equal-compute comparison.
    Interactions: -0.5 in the paper's ladder, where it stands before the regularisers that make
        long training pay.
    Applies to: every backbone.
    Reference: ResNet-RS (Bello et al. 2021, arXiv 2103.07579), Table 1 and section 5.1.
    """

    key, kind = "epochs", Kind.TRAINING
    factor: float = 350 / 90

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor = {self.factor:g} must be above 0")

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the lengthened budget, always counted from the base's own."""
        base = recipe.optim.base_epochs or recipe.optim.epochs
        return {"optim.epochs": max(round(base * self.factor), 1), "optim.base_epochs": base}
