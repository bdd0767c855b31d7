import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

import recipes
from lightning_modules import build, describe
from lightning_modules.backbones import block_rates, set_drop_path, set_dropout
from recipes import Model, RecipeError
from recipes.library import names

SMALL = Model(backbone="resnet18", layers=(1, 1, 1, 1), width=0.25)


def on_meta(classes: int = 1000, **leaves: object) -> nn.Module:
    with torch.device("meta"):
        return build(Model(**leaves), classes=classes)  # type: ignore[arg-type]


def timm_on_meta(backbone: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(backbone, **arguments)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# The paper's network ----------------------------------------------------------------------------


def test_resnet50_with_se_and_resnet_d_has_the_state_of_timms_resnetrs50():
    ours = on_meta(backbone="resnet50", se_ratio=0.25, resnet_d=True)
    assert list(shapes(ours).items()) == list(shapes(timm_on_meta("resnetrs50")).items())


# facts.md section 5: plain, + SE, + deep stem and strided convolution, all (= resnetrs).
@pytest.mark.parametrize(
    ("backbone", "plain", "se", "everything"),
    [
        ("resnet50", 25_557_032, 35_635_688, 35_691_912),
        ("resnet200", 64_673_832, 93_153_768, 93_209_992),
    ],
)
def test_parameters_are_those_of_the_paper_and_their_increments_add_up(
    backbone, plain, se, everything
):
    assert parameters(on_meta(backbone=backbone)) == plain
    assert parameters(on_meta(backbone=backbone, se_ratio=0.25)) == se
    stem_and_pool = 19_232 + 36_992
    assert parameters(on_meta(backbone=backbone, resnet_d=True)) == plain + stem_and_pool
    both = parameters(on_meta(backbone=backbone, se_ratio=0.25, resnet_d=True))
    assert both == everything == se + stem_and_pool


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


def test_zero_init_last_zeroes_the_last_norm_of_each_branch_and_nothing_else():
    plain, zeroed = build(SMALL), build(Model(**vars(SMALL) | {"zero_init_last": True}))
    before, after = plain.state_dict(), zeroed.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"layer{stage}.0.bn2.weight" for stage in (1, 2, 3, 4)}
    assert all(not after[name].any() for name in changed)


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


def test_layers_are_the_blocks_of_each_stage():
    network = on_meta(backbone="resnet50", layers=(1, 2, 1, 3))
    found = [len(getattr(network, f"layer{stage}")) for stage in (1, 2, 3, 4)]
    assert found == [1, 2, 1, 3]


def test_bn_momentum_reaches_every_batch_norm_and_is_the_backbones_own_without():
    for momentum, wanted in ((None, 0.1), (1.0, 1.0), (0.3, 0.3)):
        network = on_meta(backbone="efficientnet_b0", bn_momentum=momentum)
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        assert len(norms) > 40
        assert {norm.momentum for norm in norms} == {wanted}


# Stochastic depth -------------------------------------------------------------------------------


def test_the_stage_rule_gives_every_block_of_resnet200_its_stages_rate():
    network = on_meta(backbone="resnet200", drop_path=0.1, drop_path_rule="stage")
    set_drop_path(network, 0.1)
    rates = block_rates(network)
    blocks = zip((1, 2, 3, 4), (3, 24, 36, 3), (0.04, 0.06, 0.08, 0.10), strict=True)
    wanted = {
        f"layer{stage}.{block}.drop_path": rate
        for stage, count, rate in blocks
        for block in range(count)
    }
    assert rates == pytest.approx(wanted)
    assert sum(rates.values()) == pytest.approx(4.74)  # facts.md, trap 3


def test_the_linear_rule_grows_by_block_from_zero_at_the_first():
    network = on_meta(backbone="resnet200", drop_path=0.1, drop_path_rule="linear")
    set_drop_path(network, 0.1)
    rates = block_rates(network)
    names = [
        f"layer{stage}.{block}.drop_path"
        for stage, count in zip((1, 2, 3, 4), (3, 24, 36, 3), strict=True)
        for block in range(count)
    ]
    wanted = {name: 0.1 * place / 65 for place, name in enumerate(names) if place}
    assert rates == pytest.approx(wanted)
    assert sum(rates.values()) == pytest.approx(3.30)  # facts.md, trap 3


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


# Facts ------------------------------------------------------------------------------------------

# family, stages, batch norm, and what each row of describe must say
FAMILIES = {
    "resnet18": ("ResNet", 4, True, {}),
    "resnet18d": ("ResNet", 4, True, {}),
    "seresnet18": ("ResNet", 4, True, {"se_ratio": "present"}),
    "ecaresnet26t": ("ResNet", 4, True, {"se_ratio": "cannot"}),
    "resnetrs50": ("ResNet", 4, True, {"se_ratio": "present", "resnet_d": "present"}),
    "efficientnet_b0": ("EfficientNet", 5, True, {"se_ratio": "present", "resnet_d": "cannot"}),
    "mobilenetv2_100": ("EfficientNet", 5, True, {"se_ratio": "cannot", "resnet_d": "cannot"}),
    "regnety_002": ("RegNet", 4, True, {"se_ratio": "present", "resnet_d": "cannot"}),
    "regnetx_002": ("RegNet", 4, True, {"se_ratio": "cannot", "resnet_d": "cannot"}),
    "convnext_atto": (
        "ConvNeXt",
        4,
        False,
        {"se_ratio": "cannot", "resnet_d": "cannot", "bn_momentum": "cannot"},
    ),
    "vit_tiny_patch16_224": (
        "VisionTransformer",
        0,
        False,
        {"se_ratio": "cannot", "resnet_d": "cannot", "bn_momentum": "cannot"},
    ),
    "densenet121": (
        "DenseNet",
        0,
        True,
        {"se_ratio": "cannot", "resnet_d": "cannot", "drop_path": "cannot"},
    ),
}
_RESNET_ONLY = {"layers": (1, 1, 1, 1), "width": 0.5, "zero_init_last": True}
_ASKED = {
    "se_ratio": 0.25,
    "resnet_d": True,
    "drop_path": 0.1,
    "dropout": 0.1,
    "bn_momentum": 1.0,
    **_RESNET_ONLY,
}


@pytest.mark.parametrize("backbone", FAMILIES)
def test_what_describe_says_is_what_build_does(backbone):
    family, stages, batch_norm, statuses = FAMILIES[backbone]
    facts = describe(backbone).facts
    assert facts is not None
    assert (facts.family, facts.stages, facts.batch_norm) == (family, stages, batch_norm)
    if family != "ResNet":
        statuses = statuses | dict.fromkeys(_RESNET_ONLY, "cannot")
    found = {path: facts.of(f"model.{path}") for path in _ASKED}
    assert {path: fact.status for path, fact in found.items()} == dict.fromkeys(
        _ASKED, "can"
    ) | statuses
    plain = on_meta(backbone=backbone)
    for path, value in _ASKED.items():
        leaves = {path: value} | ({"drop_path_rule": "linear"} if path == "drop_path" else {})
        if found[path].status == "can":
            network = on_meta(backbone=backbone, **leaves)
            assert _is_treated(path, plain, network), path
        elif found[path].status == "cannot":
            assert found[path].reason
            if path == "bn_momentum":  # what has no batch norm has no momentum to set
                assert not any(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
            elif family != "ResNet" or path == "drop_path":
                with pytest.raises(RecipeError, match=backbone):
                    on_meta(backbone=backbone, **leaves)
        elif path == "se_ratio":
            assert any(".se." in name for name in shapes(plain))


def _is_treated(path: str, plain: nn.Module, network: nn.Module) -> bool:
    if path == "drop_path":
        return len(block_rates(network)) > 1
    if path == "dropout":
        set_dropout(network, 0.1)
        dropouts = [part for part in network.modules() if isinstance(part, nn.Dropout)]
        return getattr(network, "drop_rate", 0) == 0.1 or any(part.p == 0.1 for part in dropouts)
    if path == "bn_momentum":
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        return {norm.momentum for norm in norms} == {1.0}
    if path == "zero_init_last":
        return shapes(plain) == shapes(network)  # its effect has a test of its own
    return shapes(plain) != shapes(network)


@pytest.mark.parametrize("name", names())
def test_facts_in_the_library_are_those_of_the_backbone(name):
    model = recipes.load(name).model
    if model.facts is not None:
        assert model.facts == describe(model.backbone).facts


def test_an_unknown_model_is_answered_with_the_nearest_names():
    for call in (describe, lambda name: build(Model(backbone=name))):
        with pytest.raises(RecipeError, match="has no model 'resnet5'; did you mean .*resnet50"):
            call("resnet5")


def test_what_a_backbone_cannot_take_is_named():
    with pytest.raises(RecipeError, match=r"convnext_atto .* cannot take model.se_ratio, model.re"):
        build(Model(backbone="convnext_atto", se_ratio=0.25, resnet_d=True))
