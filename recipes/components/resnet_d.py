"""ResNet-D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.component import Component
from recipes.kind import Kind
from recipes.recipe import Recipe

_ORDER = ("stem", "pool", "stride", "shortcut")
_USUAL = "stem+pool+shortcut"


@dataclass(frozen=True)
class ResNetD(Component):
    """Deepen the stem, replace its max-pool by a strided convolution, pool before the shortcut.

    Sets: model.resnet_d, model.resnet_d_parts.
    Default: stem+pool+shortcut, as in the code behind the paper's checkpoints (tensorflow/tpu), in
        Keras and in timm's resnetrs: 3x3 convolutions of 32, 32 and 64 channels in the stem
        (`stem`), one more 3x3 of stride 2 for the max-pool (`pool`), a 2x2 mean before the
        projections of stride 2 (`shortcut`). The paper's text tells another variant: no max-pool,
        its stride in the first 3x3 of the first stage (`stride` for `pool`), and Figure 6 as
        transcribed in notes lists 64, 64 and 64 channels. Table 7's FLOPs are those of the code.
        `parts=stem+stride+shortcut` is the text's; any choice of parts can be named so.
    Cost: 19,232 parameters for `stem`, 36,992 for `pool`, none for the others; 2 % more MACs at
        ResNet-200; a slower stem.
    Interactions: architecture; the stride already sits on the 3x3 in the baseline.
    Applies to: timm's ResNet family; parts that the backbone has already are left as they are.
    Reference: He et al. 2019, arXiv 1812.01187; ResNet-RS Table 1, +0.5.
    """

    key, kind = "resnetd", Kind.ARCHITECTURE
    parts: str = ""

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the switch and the parts, in the one spelling that a recipe has for them."""
        named = self.parts.split("+")
        if set(named) <= set(_ORDER) and len(set(named)) == len(named):
            spelled = "+".join(part for part in _ORDER if part in named)
        else:
            spelled = self.parts  # the leaf says what is wrong with it
        return {
            "model.resnet_d": True,
            "model.resnet_d_parts": "" if spelled == _USUAL else spelled,
        }
