"""Cosine learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe


@dataclass(frozen=True)
class CosineLR(Component):
    """Let the learning rate fall to 0 along half a cosine instead of in steps.

    Sets: optim.schedule.
    Default: the cosine counts from step 0, and the base's own linear warm-up ends on it. The cosine
        is the paper's; the library's 5 warm-up epochs belong to the base and are Model Garden's
        (1,560 of 109,200 steps), since the paper's text is silent.
    Cost: none.
    Interactions: short runs gain more, since steps leave less time at a small rate.
    Applies to: every backbone.
    Reference: Loshchilov and Hutter 2017, arXiv 1608.03983; ResNet-RS Table 1, +0.3.
    """

    key, kind = "cos", Kind.TRAINING

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the schedule's shape."""
        return {"optim.schedule": "cosine"}
