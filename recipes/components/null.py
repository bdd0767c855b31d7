"""A dummy: other random numbers, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe


@dataclass(frozen=True)
class Null(Component):
    """Draw every random stream anew: a dummy, whose true effect is 0.

    What it is called is what an analysis calls nothing: where null is said to help or to hurt more
    often than the level allows, no verdict beside it can be believed.

    Sets: optim.redraw.
    Default: 1. Another number is another draw of the same nothing.
    Cost: none.
    Interactions: none. Its runs share neither initial weights nor batch order with the other arms
        of their seed, so it is as noisy as a component can be.
    Applies to: every backbone.
    Reference: A/A tests, as of controlled experiments on the web (Kohavi et al. 2009).
    """

    key, kind = "null", Kind.TRAINING
    redraw: int = 1

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return which draw."""
        return {"optim.redraw": self.redraw}
