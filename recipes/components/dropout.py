"""Dropout before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class Dropout(Component):
    """Drop pooled features at random before the classifier.

    Sets: model.dropout.
    Default: 0.25 (ResNet-RS configs up to 350 layers at 256 pixels; 0.4 above).
    Cost: none.
    Interactions: -0.3 in the paper's ladder while weight decay is still 1e-4; pays once it is
        4e-5 (Table 2: minival, mean of two runs).
    Applies to: every backbone with a classifier head.
    Reference: Srivastava et al. 2014; ResNet-RS Tables 1 and 2.
    """

    key, kind = "do", Kind.REGULARIZATION
    rate: Scalar = 0.25

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the probability."""
        return {"model.dropout": self.rate}
