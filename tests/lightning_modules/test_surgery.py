import itertools
from collections.abc import Iterable

import pytest
import timm
import torch
from torch import nn

from lightning_modules import build
from recipes import Model
from recipes.recipe import RESNET_D_PARTS
from recipes.scaling import BLOCKS
from tests.lightning_modules.conftest import on_meta, parameters, shapes, timm_on_meta

# facts.md section 5: plain, + SE, all (= timm's resnetrs*).
PUBLISHED = {
    50: (25_557_032, 35_635_688, 35_691_912),
    101: (44_549_160, 63_562_472, 63_618_696),
    152: (60_192_808, 86_565_352, 86_621_576),
    200: (64_673_832, 93_153_768, 93_209_992),
    270: (89_599_272, 129_805_224, 129_861_448),
    350: (112_786_216, 163_899_944, 163_956_168),
    420: (131_784_488, 191_835_432, 191_891_656),
}
USUAL = ("stem", "pool", "shortcut")


def of_depth(depth: int, parts: Iterable[str] = (), **leaves: object) -> nn.Module:
    """Return a bottleneck ResNet of some depth with these parts of ResNet-D, on the meta device.

    Its backbone is the shortest of them, which is built once more to be looked at.
    """
    spelled = "+".join(part for part in ("stem", "pool", "stride", "shortcut") if part in parts)
    return on_meta(
        backbone="resnet26",
        layers=BLOCKS[depth].layers,
        resnet_d=bool(spelled),
        resnet_d_parts="" if spelled == "stem+pool+shortcut" else spelled,
        **leaves,
    )


def convolution(inside: int, out: int, side: int) -> int:
    """Return the parameters of a convolution without bias, and of the batch norm behind it."""
    return inside * out * side * side + 2 * out


def counted(
    layers: Iterable[int], parts: Iterable[str] = (), *, se: bool = False, width: float = 1
) -> int:
    """Return the parameters of a bottleneck ResNet by the arithmetic of its layers alone."""
    first = 2 * round(32 * width)  # what the stem gives
    half = first // 2
    if "stem" in parts:
        total = convolution(3, half, 3) + convolution(half, half, 3) + convolution(half, first, 3)
    else:
        total = convolution(3, first, 7)
    if "pool" in parts:
        total += convolution(first, first, 3)
    inside = first
    for planes, blocks in zip((64, 128, 256, 512), layers, strict=True):
        inner = round(planes * width)
        out = 4 * inner
        for block in range(blocks):
            total += convolution(inside, inner, 1) + convolution(inner, inner, 3)
            total += convolution(inner, out, 1)
            if block == 0:
                total += convolution(inside, out, 1)  # the shortcut
            if se:  # squeezed to a quarter of the output, both convolutions with a bias
                total += out * inner + inner + inner * out + out
            inside = out
    return total + inside * 1000 + 1000


# Depths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_arithmetic_of_the_layers_gives_what_was_published(depth):
    layers, (plain, se, everything) = BLOCKS[depth].layers, PUBLISHED[depth]
    assert counted(layers) == plain
    assert counted(layers, se=True) == se
    assert counted(layers, USUAL, se=True) == everything
    # facts.md section 5: the same at every depth.
    assert counted(layers, ["stem"]) - plain == 19_232
    assert counted(layers, ["pool"]) - plain == 36_992
    assert counted(layers, ["shortcut"]) == plain
    assert everything - se == 19_232 + 36_992


@pytest.mark.parametrize(
    ("depth", "more"), [(50, 10_078_656), (101, 19_013_312), (152, 26_372_544), (200, 28_479_936)]
)
def test_squeeze_and_excitation_costs_what_was_published(depth, more):
    layers = BLOCKS[depth].layers
    assert counted(layers, se=True) - counted(layers) == more  # facts.md section 5


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_plain_network_has_the_published_parameters(depth):
    assert parameters(of_depth(depth)) == PUBLISHED[depth][0]


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_paper_s_network_has_the_state_of_timms_resnetrs(depth):
    ours = of_depth(depth, USUAL, se_ratio=0.25)
    assert list(shapes(ours).items()) == list(shapes(timm_on_meta(f"resnetrs{depth}")).items())
    assert parameters(ours) == PUBLISHED[depth][2]


@pytest.mark.parametrize("depth", [50, 101])
def test_weights_of_timms_resnetrs_load_strictly_and_give_the_same_answer(depth):
    theirs = timm.create_model(f"resnetrs{depth}", num_classes=10).eval()
    model = Model(backbone=f"resnet{depth}", se_ratio=0.25, resnet_d=True)
    ours = build(model, classes=10).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


# Every combination of parts ---------------------------------------------------------------------

_STEMS = [("stem",), ()]
_POOLS = [("pool",), ("stride",), ()]
_SHORTCUTS = [("shortcut",), ()]
COMBINATIONS = [sum(chosen, start=()) for chosen in itertools.product(_STEMS, _POOLS, _SHORTCUTS)]


def test_every_combination_has_exactly_one_spelling():
    spelled = {"+".join(parts) for parts in COMBINATIONS}
    assert spelled == {*RESNET_D_PARTS, "stem+pool+shortcut", ""}


@pytest.mark.parametrize("se", [False, True], ids=["plain", "se"])
@pytest.mark.parametrize("parts", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("depth", [50, 200])
def test_every_combination_of_parts_has_the_parameters_of_its_layers(depth, parts, se):
    network = of_depth(depth, parts, se_ratio=0.25 if se else 0.0)
    assert parameters(network) == counted(BLOCKS[depth].layers, parts, se=se)


@pytest.mark.parametrize("parts", COMBINATIONS, ids="+".join)
def test_every_part_is_built_and_no_other(parts):
    network = of_depth(26, parts)
    stem = [part.out_channels for part in network.conv1.modules() if isinstance(part, nn.Conv2d)]
    assert stem == ([32, 32, 64] if "stem" in parts else [64])
    if "pool" in parts:
        replaced = network.maxpool[0]
        assert (replaced.kernel_size, replaced.stride) == ((3, 3), (2, 2))
        assert [type(part) for part in network.maxpool[1:]] == [nn.BatchNorm2d, nn.ReLU]
    else:
        kind = nn.Identity if "stride" in parts else nn.MaxPool2d
        assert type(network.maxpool) is kind
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    strides = [[block.conv2.stride for block in stage] for stage in stages]
    first = (2, 2) if "stride" in parts else (1, 1)
    assert [stage[0] for stage in strides] == [first, (2, 2), (2, 2), (2, 2)]
    assert {stride for stage in strides for stride in stage[1:]} == {(1, 1)}
    assert all(block.conv1.stride == (1, 1) for stage in stages for block in stage)
    for stage, strided in zip(stages, ("stride" in parts, True, True, True), strict=True):
        shortcut = list(stage[0].downsample)
        pools = [part for part in shortcut if isinstance(part, nn.AvgPool2d)]
        convolutions = [part for part in shortcut if isinstance(part, nn.Conv2d)]
        # c2's projection has no pool where it has no stride (facts.md section 5).
        assert len(pools) == ("shortcut" in parts and strided)
        assert all((pool.kernel_size, pool.stride) == (2, 2) for pool in pools)
        stride = 2 if strided and not pools else 1
        assert [part.stride for part in convolutions] == [(stride, stride)]


# Basic blocks need a projection where the first stage strides; others low-pass before a stride.
@pytest.mark.parametrize(
    "backbone", ["resnet18", "resnet50", "resnet50d", "resnetblur18", "resnetaa50", "resnetrs50"]
)
@pytest.mark.parametrize("parts", ["stride", "stride+shortcut", "stem+stride+shortcut"])
def test_the_text_s_variant_keeps_the_sizes_and_starts_finite(backbone, parts):
    plain, network = (
        build(Model(backbone=backbone, resnet_d=on, resnet_d_parts=parts if on else ""), classes=10)
        for on in (False, True)
    )
    seen = []
    for built in (plain, network):
        for stage in (built.layer1, built.layer4):
            stage.register_forward_hook(lambda part, inputs, output: seen.append(output.shape))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert plain(images).isfinite().all()
        assert network(images).isfinite().all()
    assert seen[:2] == seen[2:]
    assert not isinstance(network.maxpool, nn.MaxPool2d)
    deviations = [
        (float(part.weight.detach().std()), (2 / part.weight[:, 0].numel()) ** 0.5)
        for name, part in network.layer1[0].named_modules()
        if isinstance(part, nn.Conv2d) and "downsample" in name
    ]
    assert deviations  # Kaiming normal by fan-out, as timm's: facts.md 3.7
    assert all(found == pytest.approx(wanted, rel=0.1) for found, wanted in deviations)


def test_the_text_s_variant_is_the_same_function_elsewhere():
    usual, moved = (
        build(Model(backbone="resnet18", resnet_d=True, resnet_d_parts=parts), classes=10)
        for parts in ("stem", "stem+stride")
    )
    before, after = usual.state_dict(), moved.state_dict()
    new = {name for name in after if name not in before}
    assert new and all(name.startswith("layer1.0.downsample.") for name in new)
    assert all(torch.equal(before[name], after[name]) for name in before)


# Squeeze-and-excitation -------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.125, 0.25, 0.5])
def test_se_squeezes_a_share_of_each_blocks_output(ratio):
    network = on_meta(backbone="resnet50", se_ratio=ratio)
    gates = [
        (block.bn3.num_features, block.se.fc1.out_channels)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4)
        for block in stage
    ]
    assert len(gates) == 3 + 4 + 6 + 3
    assert all(squeezed == round(width * ratio) for width, squeezed in gates)


# Width and depth --------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet18", "resnet26", "resnet26d", "resnet26t"])
def test_width_multiplies_every_width_and_keeps_the_stem_of_the_backbone(backbone):
    full, half = shapes(on_meta(backbone=backbone)), shapes(on_meta(backbone=backbone, width=0.5))
    assert full.keys() == half.keys()
    kernels = {name for name, shape in full.items() if len(shape) == 4}
    for name in kernels:
        out, inside = full[name][:2]
        wanted = (out // 2, inside // 2 if inside > 3 else 3)  # 3: the colours
        assert half[name][:2] == wanted, name


# ResNet-RS section 6: widths 0.25 to 2 over depths 26 to 420; each width and each depth here.
@pytest.mark.parametrize(
    ("depth", "width", "parts"),
    [
        (26, 0.25, ()),
        (26, 2.0, USUAL),
        (50, 0.5, ("pool",)),
        (101, 1.5, ()),
        (101, 1.5, ("stem", "stride", "shortcut")),
        (152, 1.0, ("shortcut",)),
        (200, 0.25, ("stride",)),
        (270, 2.0, ()),
        (300, 0.5, USUAL),
        (350, 1.5, ("stem",)),
        (400, 1.0, ()),
        (420, 2.0, USUAL),
    ],
)
def test_every_depth_builds_at_other_widths(depth, width, parts):
    found = parameters(of_depth(depth, parts, width=width, se_ratio=0.25))
    assert found == counted(BLOCKS[depth].layers, parts, se=True, width=width)


def test_layers_are_the_blocks_of_each_stage():
    network = on_meta(backbone="resnet50", layers=(1, 2, 1, 3))
    found = [len(getattr(network, f"layer{stage}")) for stage in (1, 2, 3, 4)]
    assert found == [1, 2, 1, 3]
