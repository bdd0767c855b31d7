import dataclasses
import functools

import pytest
from torch import nn

import recipes
from lightning_modules import describe
from lightning_modules.backbones import block_rates, set_dropout
from recipes import AlreadyPresent, Applied, NotApplicable, RecipeError, apply, parse
from recipes.library import names
from recipes.recipe import RESNET_D_PARTS
from tests.lightning_modules.conftest import on_meta, shapes

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


_described = functools.cache(describe)  # many recipes of the library share a backbone


@pytest.mark.parametrize("name", names())
def test_facts_in_the_library_are_those_of_the_backbone(name):
    model = recipes.load(name).model
    assert model.facts == _described(model.backbone).facts


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [("resnet18", (2, 2, 2, 2)), ("resnet101", (3, 4, 23, 3)), ("efficientnet_b0", ())],
)
def test_the_blocks_of_a_resnet_are_counted(backbone, layers):
    facts = describe(backbone).facts
    assert facts is not None
    assert facts.layers == layers


# What of stem, pool and shortcut each has of its own: ResNet-D's stem is 32/32/64, the pool a
# strided convolution. A low-pass in the pool, a wider stem or a tiered one are none of these.
OWN_PARTS = {
    "resnet50": set(),
    "resnet50c": {"stem"},
    "resnet50d": {"stem", "shortcut"},
    "resnet26t": {"shortcut"},
    "resnetblur50d": {"stem", "shortcut"},
    "resnetaa50": set(),
    "resnet50s": set(),
    "resnetrs50": {"stem", "pool", "shortcut"},
}


@pytest.mark.parametrize("backbone", OWN_PARTS)
def test_only_what_would_change_nothing_is_called_present(backbone):
    facts = describe(backbone).facts
    assert facts is not None
    plain = _behaviour(on_meta(backbone=backbone))
    for parts in ("", *RESNET_D_PARTS):
        network = on_meta(backbone=backbone, resnet_d=True, resnet_d_parts=parts)
        same = _behaviour(network) == plain
        asked = set((parts or "stem+pool+shortcut").split("+"))
        assert same == (asked <= OWN_PARTS[backbone]), parts
        path = "model.resnet_d_parts" if parts else "model.resnet_d"
        fact = facts.of(path, parts or True)
        assert fact.status == ("present" if same else "can"), parts
        assert fact.status == "can" or fact.reason


def _behaviour(network: nn.Module) -> list[tuple[str, str]]:
    """Return every module by name, as it prints itself: shapes, strides, padding."""
    return [
        (name, repr(part)) for name, part in network.named_modules() if not list(part.children())
    ]


@pytest.mark.parametrize(
    ("backbone", "spec", "outcome"),
    [
        ("resnet50d", "resnetd", Applied),  # its pool is still to be replaced
        ("resnet50d", "resnetd(parts=stem+shortcut)", AlreadyPresent),
        ("resnet50d", "resnetd(parts=pool)", Applied),
        ("resnet50d", "resnetd(parts=stem+stride+shortcut)", Applied),
        ("resnetrs50", "resnetd", AlreadyPresent),
        ("resnetrs50", "resnetd(parts=pool)", AlreadyPresent),
        ("resnetrs50", "resnetd(parts=stem+stride+shortcut)", Applied),  # the text's for the code's
        ("convnext_atto", "resnetd(parts=stem)", NotApplicable),
    ],
)
def test_parts_that_are_there_are_already_present(backbone, spec, outcome):
    recipe = dataclasses.replace(recipes.load("resnet50"), model=describe(backbone))
    (component,) = parse(spec)
    found = apply(component, recipe)
    assert isinstance(found, outcome)
    assert (found.reason == "") == (outcome is Applied)
