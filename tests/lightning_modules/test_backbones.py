import pytest
import torch
from timm.layers import DropPath
from torch import nn

import recipes
from lightning_modules import build, describe
from lightning_modules.backbones import block_rates, set_drop_path, set_dropout
from recipes import Model, RecipeError
from recipes.library import names
from recipes.scaling import BLOCKS
from tests.lightning_modules.conftest import on_meta, shapes, timm_on_meta

SMALL = Model(backbone="resnet18", layers=(1, 1, 1, 1), width=0.25)


def test_zero_init_last_zeroes_the_last_norm_of_each_branch_and_nothing_else():
    plain, zeroed = build(SMALL), build(Model(**vars(SMALL) | {"zero_init_last": True}))
    before, after = plain.state_dict(), zeroed.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"layer{stage}.0.bn2.weight" for stage in (1, 2, 3, 4)}
    assert all(not after[name].any() for name in changed)


def test_bn_momentum_reaches_every_batch_norm_and_is_the_backbones_own_without():
    for momentum, wanted in ((None, 0.1), (1.0, 1.0), (0.3, 0.3)):
        network = on_meta(backbone="efficientnet_b0", bn_momentum=momentum)
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        assert len(norms) > 40
        assert {norm.momentum for norm in norms} == {wanted}


# Stochastic depth -------------------------------------------------------------------------------


# facts.md 3.4: blocks dropped on average at rate 0.1, by the paper's rule and by timm's.
DROPPED = {200: (4.74, 3.30), 270: (6.54, 4.50), 350: (8.48, 5.80), 420: (10.16, 6.95)}


def rates_of_depth(depth: int, rule: str) -> dict[str, float]:
    """Return the rate of every block of a ResNet at the rate 0.1."""
    layers = BLOCKS[depth].layers
    network = on_meta(backbone="resnet26", layers=layers, drop_path=0.1, drop_path_rule=rule)
    set_drop_path(network, 0.1)
    return block_rates(network)


def block_names(depth: int) -> list[str]:
    return [
        f"layer{stage}.{block}.drop_path"
        for stage, count in zip((1, 2, 3, 4), BLOCKS[depth].layers, strict=True)
        for block in range(count)
    ]


@pytest.mark.parametrize("depth", [50, 101, 152, 200, 270, 350, 420])
def test_the_stage_rule_gives_every_block_its_stages_rate(depth):
    rates = rates_of_depth(depth, "stage")
    stages = [int(name[5]) + 1 for name in block_names(depth)]  # c2 to c5
    assert list(rates) == block_names(depth)
    wanted = [0.1 * stage / 5 for stage in stages]  # facts.md, trap 3
    assert list(rates.values()) == pytest.approx(wanted, abs=1e-12)
    if depth in DROPPED:
        assert sum(rates.values()) == pytest.approx(DROPPED[depth][0])


@pytest.mark.parametrize("depth", DROPPED)
def test_the_linear_rule_grows_by_block_from_zero_at_the_first(depth):
    rates = rates_of_depth(depth, "linear")
    first, *others = block_names(depth)
    assert list(rates) == others  # the first drops nothing
    wanted = [0.1 * place / len(others) for place in range(1, len(others) + 1)]
    assert list(rates.values()) == pytest.approx(wanted, abs=1e-12)
    assert sum(rates.values()) == pytest.approx(DROPPED[depth][1])


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("resnet_rs_")])
def test_every_resnet_rs_drops_by_stage_or_not_at_all(name):
    model = recipes.load(name).model
    with torch.device("meta"):
        found = set(block_rates(build(model)).values())
    deep = sum(model.layers or (0,)) > 60 or model.backbone == "resnet200"
    wanted = {0.04, 0.06, 0.08, 0.1} if deep else set()
    assert sorted(found) == pytest.approx(sorted(wanted), abs=1e-12)


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        "seresnext50_32x4d",
        "regnety_002",
        "convnext_atto",
        "vit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
        "efficientnet_b0",
        "mobilenetv3_small_100",
    ],
)
def test_the_linear_rule_is_timms_own_where_a_block_can_be_skipped(backbone):
    ours = on_meta(backbone=backbone, drop_path=0.5, drop_path_rule="linear")
    set_drop_path(ours, 0.5)
    theirs = timm_on_meta(backbone, drop_path_rate=0.5)
    wanted = {
        name: part.drop_prob
        for name, part in theirs.named_modules()
        if isinstance(part, DropPath)
        and part.drop_prob > 0
        # EfficientNet builds it also where there is no skip, and never calls it there.
        and getattr(theirs.get_submodule(name.rpartition(".")[0]), "has_skip", True)
    }
    assert len(wanted) > 4
    assert block_rates(ours) == pytest.approx(wanted)


def test_a_dropped_branch_is_nought_and_a_kept_one_is_rescaled_per_image():
    model = Model(**vars(SMALL) | {"drop_path": 0.4, "drop_path_rule": "stage"})
    network = build(model).train()
    set_drop_path(network, 0.4)
    seen = {}
    for name, part in network.named_modules():
        if isinstance(part, DropPath):
            part.register_forward_hook(  # copies: the sum that follows is in place
                lambda part, inputs, output, name=name: seen.update(
                    {name: (inputs[0].clone(), output.clone())}
                )
            )
    torch.manual_seed(0)
    network(torch.randn(2000, 3, 8, 8))
    assert len(seen) == 4
    for (branch, output), rate in zip(seen.values(), (0.16, 0.24, 0.32, 0.40), strict=True):
        dropped = (output == 0).flatten(1).all(1)
        assert abs(dropped.float().mean() - rate) < 4 * (rate * (1 - rate) / 2000) ** 0.5
        torch.testing.assert_close(output[~dropped], branch[~dropped] / (1 - rate))
    seen.clear()
    network.eval()(torch.randn(50, 3, 8, 8))
    assert all(torch.equal(branch, output) for branch, output in seen.values())


def test_a_stage_rule_without_stages_is_refused():
    with pytest.raises(RecipeError, match="has no stages: model.drop_path_rule = stage"):
        on_meta(backbone="vit_tiny_patch16_224", drop_path=0.1, drop_path_rule="stage")


# timm gives these a rate above 0 of their own: a recipe's 0 means off.
@pytest.mark.parametrize(
    "backbone",
    [
        "swin_tiny_patch4_window7_224",
        "nest_tiny",
        "tiny_vit_11m_224",
        "focalnet_tiny_srf",
        "fasternet_t2",
        "nextvit_small",
        "rexnet_100",
        "ghostnet_050",
        "legacy_seresnet18",
    ],
)
def test_a_backbones_own_dropout_and_drop_path_are_off_unless_asked_for(backbone):
    theirs = timm_on_meta(backbone)
    own = [part.drop_prob for part in theirs.modules() if isinstance(part, DropPath)]
    assert (
        max([*own, getattr(theirs, "drop_rate", 0)]) > 0
    )  # else this backbone does not belong in the list
    network = on_meta(backbone=backbone)
    assert all(part.drop_prob == 0 for part in network.modules() if isinstance(part, DropPath))
    assert all(part.p == 0 for part in network.modules() if isinstance(part, nn.Dropout))
    assert getattr(network, "drop_rate", 0) == 0


# Dropout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backbone",
    [
        "test_resnet",
        "test_efficientnet",
        "test_convnext",
        "test_vit",
        "test_nfnet",
        "test_byobnet",
        "mobilenetv3_small_050",
        "regnetx_002",
        "rexnet_100",
    ],
)
def test_dropout_stands_before_the_classifier_in_training_only(backbone):
    rate = 0.3
    network = build(Model(backbone=backbone, dropout=rate), classes=10)
    seen = []
    network.get_classifier().register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
    size = 160 if backbone == "test_vit" else 64
    images = torch.randn(16, 3, size, size)

    def features(training: bool, probability: float) -> torch.Tensor:
        seen.clear()
        set_dropout(network, probability)
        torch.manual_seed(1)
        with torch.no_grad():
            network.train(training)(images)
        return seen[0].flatten()

    bare, dropped = features(True, 0.0), features(True, rate)
    some = bare != 0
    zeros = dropped[some] == 0
    count = int(some.sum())
    assert count > 500
    assert abs(zeros.float().mean() - rate) < 4 * (rate * (1 - rate) / count) ** 0.5
    torch.testing.assert_close(dropped[some][~zeros], bare[some][~zeros] / (1 - rate))
    assert torch.equal(features(False, 0.0), features(False, rate))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext", "vgg11"])
def test_dropout_changes_no_parameters_name(backbone):
    with_dropout = on_meta(backbone=backbone, dropout=0.5)
    assert shapes(with_dropout) == shapes(on_meta(backbone=backbone))


def test_an_unknown_model_is_answered_with_the_nearest_names():
    for call in (describe, lambda name: build(Model(backbone=name))):
        with pytest.raises(RecipeError, match="has no model 'resnet5'; did you mean .*resnet50"):
            call("resnet5")


def test_what_a_backbone_cannot_take_is_named():
    with pytest.raises(RecipeError, match=r"convnext_atto .* cannot take model.se_ratio, model.re"):
        build(Model(backbone="convnext_atto", se_ratio=0.25, resnet_d=True))
