"""Label smoothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class LabelSmoothing(Component):
    """Mix each target with the uniform distribution over the classes.

    Sets: loss.label_smoothing.
    Default: 0.1 (ResNet-RS, all configs).
    Cost: none.
    Interactions: changes the meaning of the training loss, not of the reported accuracy; overlaps
        with other regularisers in short runs.
    Applies to: every backbone.
    Reference: Szegedy et al. 2016, arXiv 1512.00567; ResNet-RS Table 1, +1.3.
    """

    key, kind = "ls", Kind.REGULARIZATION
    epsilon: Scalar = 0.1

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the smoothing."""
        return {"loss.label_smoothing": self.epsilon}
