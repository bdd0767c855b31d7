"""Smaller weight decay, or a weight-decay schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class WeightDecay(Component):
    """Set the weight decay; a schedule such as wd(value=linear(1e-4, 4e-5)) moves it.

    Sets: optim.weight_decay. The scope (all but norm layers in the paper's code) is the base's.
    Default: 4e-5 (ResNet-RS, from 1e-4 once other regularisers are in).
    Cost: none.
    Interactions: strong. ResNet-50 without regularisers loses 1.0 points by it, with RandAugment,
        label smoothing and dropout it gains 0.5 (Table 2: minival, mean of two runs).
    Applies to: every backbone.
    Reference: ResNet-RS section 5.2, Tables 1 (+1.5) and 2.
    """

    key, kind = "wd", Kind.REGULARIZATION
    value: Scalar = 4e-5

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the coefficient."""
        return {"optim.weight_decay": self.value}
