"""How the paper scales: blocks by depth, and regularisation by depth and resolution.

Pure numbers and functions, each with its source. TPU is tensorflow/tpu at 7dc921f, the code behind
the published checkpoints. A rule answers beyond what was published too, with its nearest regime;
`Range` tells where that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Bottleneck blocks per stage (c2 to c5) of a ResNet of some depth."""

    layers: tuple[int, int, int, int]
    source: str
    confirmed: bool = True


_TABLE_11 = "ResNet-RS Table 11 and tensorflow/tpu resnet_model"
_APPENDIX_E = "ResNet-RS appendix E, of the scaling study only"

BLOCKS: dict[int, Blocks] = {
    26: Blocks(
        layers=(2, 2, 2, 2),
        source="timm's resnet26; the paper's blocks at this depth of its scaling study are not at"
        " hand, and Model Garden's 26 is of basic blocks, [3, 3, 3, 3]",
        confirmed=False,
    ),
    50: Blocks(layers=(3, 4, 6, 3), source=_TABLE_11),
    101: Blocks(layers=(3, 4, 23, 3), source=_TABLE_11),
    152: Blocks(layers=(3, 8, 36, 3), source=_TABLE_11),
    200: Blocks(layers=(3, 24, 36, 3), source=_TABLE_11),
    270: Blocks(layers=(4, 29, 53, 4), source=_TABLE_11),
    300: Blocks(layers=(4, 36, 54, 4), source=_APPENDIX_E),
    350: Blocks(layers=(4, 36, 72, 4), source=_TABLE_11),
    400: Blocks(layers=(6, 48, 72, 6), source=_APPENDIX_E),
    420: Blocks(layers=(4, 44, 87, 4), source=_TABLE_11),
}


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where a family was published: a number from `low` to `high`, and what it is of."""

    low: int
    high: int
    of: str

    def note(self, value: int) -> str:
        """Return what to tell a person who goes beyond it; empty inside."""
        if self.low <= value <= self.high:
            return ""
        return f"{self.of} {value} is beyond the published range {self.low}-{self.high}"


# Table 7: the resolutions of each depth.
RESNET_RS_ROWS: dict[int, tuple[int, ...]] = {
    50: (160,),
    101: (160, 192),
    152: (192, 224, 256),
    200: (256,),
    270: (256,),
    350: (256, 320),
    420: (320,),
}
RESNET_RS_DEPTHS = Range(low=50, high=420, of="a bottleneck depth of")
RESNET_RS_RESOLUTIONS = Range(low=160, high=320, of="a resolution of")
# Figure 5; the text of section 7.2 gives a magnitude above 320 too, where no model is shown.
EFFICIENTNET_RS_RESOLUTIONS = Range(low=192, high=320, of="a resolution of")


def depth(layers: Sequence[int]) -> int:
    """Return the weighted layers of a bottleneck ResNet with these blocks: 50 for [3, 4, 6, 3].

    The paper's 270 and 420 have 272 and 419. Basic blocks count as bottlenecks: it is blocks that
    the rules below are about.
    """
    return 3 * sum(layers) + 2


def resnet_rs_gap(layers: Sequence[int], resolution: int) -> str:
    """Return what to tell of a depth and a resolution that Table 7 has not together, or nothing.

    Empty for a published row too, and where either is beyond its range: that is told anyway.
    """
    deep = depth(layers)
    name = next((one for one, blocks in BLOCKS.items() if blocks.layers == tuple(layers)), deep)
    beyond = RESNET_RS_DEPTHS.note(deep) or RESNET_RS_RESOLUTIONS.note(resolution)
    if beyond or resolution in RESNET_RS_ROWS.get(name, ()):
        return ""
    return (
        f"no published ResNet-RS has {name} layers at {resolution} pixels;"
        " the nearest regime's values"
    )


def resnet_rs_randaugment(resolution: int) -> float:
    """Return the magnitude on the /10 scale: 10 at 160 pixels, 15 from 192 to 320 (TPU configs).

    Model Garden has 15 for ResNet-RS-101 at 160 too.
    """
    return 15.0 if resolution >= 192 else 10.0


def resnet_rs_drop_path(depth: int) -> float:
    """Return the stochastic depth rate: none up to 152 layers, 0.1 from 200 on (TPU configs)."""
    return 0.1 if depth >= 200 else 0.0


def resnet_rs_dropout(depth: int, resolution: int) -> float:
    """Return the dropout rate: 0.25; 0.4 for 350 and 420 layers at 320 pixels (TPU configs)."""
    return 0.4 if depth >= 350 and resolution >= 320 else 0.25


def efficientnet_rs_randaugment(resolution: int) -> float:
    """Return the magnitude: 10 up to 224 pixels, 15 up to 320, 20 above (section 7.2)."""
    if resolution <= 224:
        return 10.0
    return 15.0 if resolution <= 320 else 20.0


# EfficientNet-B0 to B7: dropout of tensorflow/tpu efficientnet_builder, pixels of Table 7.
EFFICIENTNET_DROPOUT = (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5)
EFFICIENTNET_RESOLUTION = (224, 240, 260, 300, 380, 456, 528, 600)
