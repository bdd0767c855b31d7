"""`--recipe-of` gives what was published, and never more than a backbone can take."""

from __future__ import annotations

import dataclasses

import pytest

from recipes import Fact, Recipe, RecipeError, diff, edit, fingerprint, load
from recipes.families import FAMILIES, recipe_of
from recipes.library import names
from recipes.scaling import BLOCKS
from recipes.tree import declarations

RESNET_RS = [name for name in names() if name.startswith("resnet_rs_")]
EFFICIENTNET_RS = [name for name in names() if name.startswith("efficientnet_rs_")]


def a_base(name: str, **facts: object) -> Recipe:
    """Return a base of the library on a network that says other things of itself."""
    recipe = load(name)
    assert recipe.model.facts is not None
    told = dataclasses.replace(recipe.model.facts, **facts)  # type: ignore[arg-type]
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, facts=told))


@pytest.mark.parametrize("name", RESNET_RS)
def test_a_resnet_with_the_recipe_is_the_published_one(name: str) -> None:
    deep, pixels = (int(word) for word in name.split("_")[2:])
    base = load(f"resnet{min(deep, 200)}")
    if deep > 200:
        base = edit(base, {"model.layers": BLOCKS[deep].layers})
    found, notes = recipe_of("resnet_rs", base, pixels)
    found = edit(found, {"data.resolution": pixels})
    assert fingerprint(found) == fingerprint(load(name))
    assert diff(found, load(name)) == {}  # nor does a leaf that is off differ
    assert len(notes) == 1  # the values, and nothing beyond the published range


@pytest.mark.parametrize("name", EFFICIENTNET_RS)
def test_an_efficientnet_with_the_recipe_is_the_published_one(name: str) -> None:
    which, pixels = name.split("_")[2:]
    found, notes = recipe_of("efficientnet_rs", load(f"efficientnet_{which}"), int(pixels))
    found = edit(found, {"data.resolution": int(pixels)})
    assert fingerprint(found) == fingerprint(load(name))
    assert diff(found, load(name)) == {}
    assert len(notes) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_own_recipe_stays_as_it_is(family: str) -> None:
    own = load(FAMILIES[family].reference)
    assert recipe_of(family, own, own.data.resolution)[0] == own


@pytest.mark.parametrize("name", ["resnet50", "resnet200", "tiny"])
def test_the_network_and_the_images_stay_the_base_s(name: str) -> None:
    base = edit(load(name), {"model.width": 0.5, "data.train_fraction": 0.5})
    found, _ = recipe_of("resnet_rs", base, 224)
    stays = {"model.backbone", "model.layers", "model.width", "optim.precision", "evaluate.split"}
    stays |= {f"data.{leaf}" for leaf in ("dataset", "resolution", "stored_size", "train_fraction")}
    assert not stays & set(diff(base, found))


def test_a_base_for_other_images_keeps_what_fits_it_to_them() -> None:
    base = load("tiny")
    found, _ = recipe_of("resnet_rs", base, 256)
    changed = set(diff(base, found))
    assert not [path for path in changed if path.startswith("data.")]
    assert not {"optim.epochs", "optim.warmup_epochs", "evaluate.crop_fraction"} & changed
    assert not {"augment.randaug_pixel_scale"} & changed
    assert {"optim.schedule", "optim.ema_decay", "model.se_ratio", "optim.lr"} <= changed


def test_layers_of_the_recipe_count_before_those_of_the_backbone() -> None:
    base = load("resnet50")
    assert recipe_of("resnet_rs", base, 256)[0].model.drop_path == 0
    deep = edit(base, {"model.layers": BLOCKS[200].layers})
    found = recipe_of("resnet_rs", deep, 256)[0].model
    assert (found.drop_path, found.drop_path_rule) == (0.1, "stage")


def test_what_a_backbone_cannot_take_or_has_is_left_and_told() -> None:
    rows = (
        Fact(path="model.se_ratio", status="cannot", reason="no gate here"),
        Fact(path="model.resnet_d", status="present", reason="a deep stem already"),
        Fact(path="model.bn_momentum", status="cannot", reason="no batch norm"),
    )
    base = a_base("resnet50", leaves=rows)
    found, notes = recipe_of("resnet_rs", base, 160)
    assert (found.model.se_ratio, found.model.resnet_d) == (0.0, False)
    assert found.model.bn_momentum is None
    assert notes[1:] == (
        "model.se_ratio is left out: no gate here",
        "model.resnet_d is left as it is: a deep stem already",
        "model.bn_momentum is left out: no batch norm",
    )


def test_parts_of_a_network_are_never_taken_away() -> None:
    base = load("resnet_rs_50_160")
    found, _ = recipe_of("efficientnet_rs", base, 224, chosen=["model.dropout"])
    assert (found.model.se_ratio, found.model.resnet_d) == (0.25, True)
    assert found.optim.optimizer == "rmsprop_tf"


def test_parts_of_another_kind_become_the_family_s() -> None:
    changes = {"model.resnet_d": True, "model.resnet_d_parts": "stem+stride"}
    found, _ = recipe_of("resnet_rs", edit(load("resnet50"), changes), 160)
    assert (found.model.resnet_d, found.model.resnet_d_parts) == (True, "")


def test_a_depth_that_nobody_knows_is_asked_for() -> None:
    base = a_base("resnet50", layers=())
    with pytest.raises(RecipeError) as caught:
        recipe_of("resnet_rs", base, 320)
    assert "no rule gives model.drop_path and model.dropout for resnet50" in str(caught.value)
    assert "--set model.drop_path=... --set model.dropout=..." in str(caught.value)
    with pytest.raises(RecipeError, match=r"gives model.drop_path for"):
        recipe_of("resnet_rs", base, 224)  # dropout is one for all depths there
    found, _ = recipe_of("resnet_rs", base, 224, chosen=["model.drop_path"])
    assert edit(found, {"model.drop_path": 0.2}).model.drop_path_rule == "stage"
    with pytest.raises(RecipeError, match="gives model.dropout for resnet50, since it is none of"):
        recipe_of("efficientnet_rs", load("resnet50"), 224)


def test_what_cannot_be_moved_needs_no_rule() -> None:
    rows = (Fact(path="model.drop_path", status="cannot", reason="no residual block"),)
    base = a_base("resnet50", layers=(), stages=0, leaves=rows)
    found, notes = recipe_of("resnet_rs", base, 224)
    assert (found.model.drop_path, found.model.drop_path_rule) == (0.0, "")
    assert len(notes) == 1  # it asked for none


def test_blocks_without_stages_drop_by_the_linear_rule() -> None:
    base = a_base("resnet50", layers=(), stages=0)
    found, _ = recipe_of("resnet_rs", base, 224, chosen=["model.drop_path"])
    assert found.model.drop_path_rule == "linear"


def test_a_rate_that_is_chosen_where_the_rule_gives_none_has_a_rule_to_grow_by() -> None:
    found, _ = recipe_of("resnet_rs", load("resnet50"), 224, chosen=["model.drop_path"])
    assert edit(found, {"model.drop_path": 0.1}).model.drop_path_rule == "stage"


def test_beyond_the_published_range_is_told() -> None:
    _, notes = recipe_of("resnet_rs", edit(load("resnet50"), {"model.layers": (2, 2, 2, 2)}), 448)
    assert notes[1:] == (
        "a bottleneck depth of 26 is beyond the published range 50-420",
        "a resolution of 448 is beyond the published range 160-320",
    )


@pytest.mark.parametrize(
    ("deep", "pixels"), [(50, 224), (101, 256), (270, 320), (420, 256), (300, 256), (350, 288)]
)
def test_between_the_published_rows_is_told(deep: int, pixels: int) -> None:
    base = edit(load("resnet200"), {"model.layers": BLOCKS[deep].layers})
    _, notes = recipe_of("resnet_rs", base, pixels)
    assert notes[1:] == (
        f"no published ResNet-RS has {deep} layers at {pixels} pixels; the nearest regime's values",
    )


def test_a_depth_of_no_name_is_told_by_its_layers() -> None:
    _, notes = recipe_of("resnet_rs", edit(load("resnet50"), {"model.layers": (3, 4, 8, 3)}), 160)
    assert "no published ResNet-RS has 56 layers at 160 pixels" in notes[1]


def test_an_unknown_family_is_answered_with_the_choices_and_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of("resnet-rs", load("tiny"), 224)
    told = str(caught.value)
    assert "--recipe-of 'resnet-rs': choose from resnet_rs, efficientnet_rs" in told
    assert "did you mean 'resnet_rs'" in told


@pytest.mark.parametrize("name", ["tf_efficientnet_b4.ns_jft_in1k", "efficientnet_b4"])
def test_an_efficientnet_is_known_by_its_name(name: str) -> None:
    base = dataclasses.replace(
        load("efficientnet_b4"),
        model=dataclasses.replace(load("efficientnet_b4").model, backbone=name),
    )
    assert recipe_of("efficientnet_rs", base, 224)[0].model.dropout == 0.4


def test_every_leaf_that_scales_is_one() -> None:
    for family in FAMILIES.values():
        assert set(family.scaled) <= set(declarations())
        assert family.reference in names()
