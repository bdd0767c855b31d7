"""The rules give the published values where something was published, and answer beyond."""

from __future__ import annotations

import pytest

from recipes import scaling
from recipes.scaling import BLOCKS, depth

# tensorflow/tpu resnet_rs/configs: depth, pixels, RandAugment magnitude, stochastic depth, dropout.
TPU = [
    (50, 160, 10, 0.0, 0.25),
    (101, 160, 10, 0.0, 0.25),
    (101, 192, 15, 0.0, 0.25),
    (152, 192, 15, 0.0, 0.25),
    (152, 224, 15, 0.0, 0.25),
    (152, 256, 15, 0.0, 0.25),
    (200, 256, 15, 0.1, 0.25),
    (270, 256, 15, 0.1, 0.25),
    (350, 256, 15, 0.1, 0.25),
    (350, 320, 15, 0.1, 0.4),
    (420, 320, 15, 0.1, 0.4),
]


@pytest.mark.parametrize(("deep", "pixels", "magnitude", "rate", "dropout"), TPU)
def test_the_rules_of_resnet_rs_give_the_official_configs(
    deep: int, pixels: int, magnitude: float, rate: float, dropout: float
) -> None:
    layers = depth(BLOCKS[deep].layers)
    assert scaling.resnet_rs_randaugment(pixels) == magnitude
    assert scaling.resnet_rs_drop_path(layers) == rate
    assert scaling.resnet_rs_dropout(layers, pixels) == dropout
    assert scaling.RESNET_RS_DEPTHS.note(layers) == ""
    assert scaling.RESNET_RS_RESOLUTIONS.note(pixels) == ""


def test_the_weighted_layers_are_the_paper_s() -> None:
    # facts.md section 4: 50/101/152/200/272/350/419; a name is not a count.
    found = {name: depth(BLOCKS[name].layers) for name in (50, 101, 152, 200, 270, 350, 420)}
    assert list(found.values()) == [50, 101, 152, 200, 272, 350, 419]


def test_every_depth_says_where_its_blocks_come_from() -> None:
    assert list(BLOCKS) == sorted(BLOCKS)
    assert all(blocks.source for blocks in BLOCKS.values())
    assert [name for name, blocks in BLOCKS.items() if not blocks.confirmed] == [26]
    assert all(abs(depth(blocks.layers) - name) <= 4 for name, blocks in BLOCKS.items())


@pytest.mark.parametrize(
    ("pixels", "magnitude"), [(192, 10), (224, 10), (240, 15), (320, 15), (321, 20), (600, 20)]
)
def test_the_magnitude_of_efficientnet_rs_is_section_7_2_s(pixels: int, magnitude: float) -> None:
    assert scaling.efficientnet_rs_randaugment(pixels) == magnitude


def test_beyond_what_was_published_the_nearest_regime_answers_and_is_told() -> None:
    assert scaling.resnet_rs_randaugment(96) == scaling.resnet_rs_randaugment(160)
    assert scaling.resnet_rs_randaugment(448) == scaling.resnet_rs_randaugment(320)
    assert scaling.resnet_rs_drop_path(26) == 0
    assert scaling.resnet_rs_dropout(1000, 640) == 0.4
    for pixels in (96, 448):
        told = scaling.RESNET_RS_RESOLUTIONS.note(pixels)
        assert told == f"a resolution of {pixels} is beyond the published range 160-320"
    assert scaling.RESNET_RS_DEPTHS.note(26).endswith("beyond the published range 50-420")
    assert scaling.EFFICIENTNET_RS_RESOLUTIONS.note(380).endswith("the published range 192-320")
