"""The one table of components, in the paper's order, and the bundles over it."""

from __future__ import annotations

from recipes.component import Component
from recipes.components.cosine_lr import CosineLR
from recipes.components.dropout import Dropout
from recipes.components.label_smoothing import LabelSmoothing
from recipes.components.longer_training import LongerTraining
from recipes.components.null import Null
from recipes.components.randaugment import RandAugment
from recipes.components.resnet_d import ResNetD
from recipes.components.squeeze_excite import SqueezeExcite
from recipes.components.stochastic_depth import StochasticDepth
from recipes.components.weight_averaging import WeightAveraging
from recipes.components.weight_decay import WeightDecay

# ResNet-RS Table 1, from the first rung to the last; then what the paper has not.
TABLE: dict[str, type[Component]] = {
    component.key: component
    for component in (
        CosineLR,
        LongerTraining,
        WeightAveraging,
        LabelSmoothing,
        StochasticDepth,
        RandAugment,
        Dropout,
        WeightDecay,
        SqueezeExcite,
        ResNetD,
        Null,
    )
}

BUNDLES: dict[str, tuple[str, ...]] = {
    "paper": ("cos", "epochs", "ema", "ls", "sd", "ra", "do", "wd", "se", "resnetd"),
    "training": ("cos", "epochs", "ema", "ls", "sd", "ra", "do", "wd"),
    "architecture": ("se", "resnetd"),
}

__all__ = [
    "BUNDLES",
    "TABLE",
    "CosineLR",
    "Dropout",
    "LabelSmoothing",
    "LongerTraining",
    "Null",
    "RandAugment",
    "ResNetD",
    "SqueezeExcite",
    "StochasticDepth",
    "WeightAveraging",
    "WeightDecay",
]
