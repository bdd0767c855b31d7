"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class WeightAveraging(Component):
    """Evaluate an exponential moving average of the weights and of the norm statistics.

    Sets: optim.ema_decay, optim.ema_warmup, evaluate.weights, and model.bn_momentum where the
        backbone has batch norm and the recipe says nothing of it: the averaged statistics are then
        those of single batches (momentum 1 in torch's sense, 0 in TensorFlow's). Momentum 1 is
        ResNet-RS's; EfficientNet averages statistics of momentum 0.01 (TensorFlow's 0.99).
    Default: 0.9999 with warm-up min(decay, (1 + k) / (10 + k)) after k updates (tensorflow/tpu).
    Cost: one more copy of the weights; under 3 % of a step.
    Interactions: cannot feed back into training: its arm repeats the training of its parent arm
        bit for bit and reads other weights. Without the warm-up it spoils runs shorter than some
        10^4 steps.
    Applies to: every backbone.
    Reference: Polyak and Juditsky 1992; ResNet-RS Table 1, +0.3.
    """

    key, kind = "ema", Kind.REGULARIZATION
    decay: Scalar = 0.9999
    warmup: bool = True

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the average, its warm-up, that it is evaluated, and what statistics it takes.

        A momentum of the recipe's own stays: EfficientNet's 0.01, or the 1 of ResNet-RS.
        """
        facts = recipe.model.facts
        own = recipe.model.bn_momentum is not None
        batch_norm = facts is None or facts.batch_norm
        statistics = {"model.bn_momentum": 1.0} if batch_norm and not own else {}
        return {
            "optim.ema_decay": self.decay,
            "optim.ema_warmup": self.warmup,
            "evaluate.weights": "ema",
        } | statistics
