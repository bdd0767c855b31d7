"""ResNet-D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe


@dataclass(frozen=True)
class ResNetD(Component):
    """Deepen the stem, replace its max-pool by a strided convolution, pool before the shortcut.

    Sets: model.resnet_d. The stem is 32/32/64 3x3 convolutions and one more 3x3 of stride 2, as in
        the code behind the paper's checkpoints; its text tells another variant, which does not
        give Table 7's FLOPs.
    Default: on.
    Cost: 56 k parameters, 2 % more MACs at ResNet-200; a slower stem.
    Interactions: architecture; the stride already sits on the 3x3 in the baseline.
    Applies to: timm's ResNet family.
    Reference: He et al. 2019, arXiv 1812.01187; ResNet-RS Table 1, +0.5.
    """

    key, kind = "resnetd", Kind.ARCHITECTURE

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the switch."""
        return {"model.resnet_d": True}
