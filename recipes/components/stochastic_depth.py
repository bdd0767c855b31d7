"""Stochastic depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.schedule import Scalar


@dataclass(frozen=True)
class StochasticDepth(Component):
    """Drop the residual branch of whole blocks at random, per image, rescaled by the kept share.

    Sets: model.drop_path, model.drop_path_rule.
    Default: rate 0.1 (ResNet-RS-200 and deeper) by the paper's code: stage i = 2..5 of a ResNet
        drops at rate * i / 5, every block of a stage alike. `rule=linear` grows block by block
        from 0, as timm does; so do backbones without stages.
    Cost: none (the branch is still computed).
    Interactions: the paper gives 50- to 152-layer networks none; hurts networks that underfit.
    Applies to: every backbone with residual blocks.
    Reference: Huang et al. 2016, arXiv 1603.09382; tensorflow/tpu resnet code; Table 1, +0.2.
    """

    key, kind = "sd", Kind.REGULARIZATION
    rate: Scalar = 0.1
    rule: str = ""

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the rate and how it grows with depth."""
        facts = recipe.model.facts
        usual = "linear" if facts is not None and facts.stages == 0 else "stage"
        return {"model.drop_path": self.rate, "model.drop_path_rule": self.rule or usual}
