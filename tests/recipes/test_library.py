"""Every shipped recipe and profile loads, says where it comes from, and means what it says."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from recipes import (
    AlreadyPresent,
    Applied,
    RecipeError,
    apply,
    diff,
    dumps,
    edit,
    fingerprint,
    leaves,
    load,
    loads,
    parse,
    stack,
)
from recipes.library import about, full_name, is_file_name, names, profile
from recipes.tree import declarations, defaults

every = pytest.mark.parametrize("name", names())
_PROFILES = sorted(
    path.stem for path in Path(__file__).parents[2].glob("recipes/library/profiles/*.yaml")
)


# tensorflow/tpu resnet_rs/configs at 7dc921f, typed out: dropout, stochastic depth, RandAugment's
# magnitude; blocks of Table 11; top-1 of Table 7.
RESNET_RS = {
    "resnet_rs_50_160": (0.25, 0.0, 10, (3, 4, 6, 3), 78.8),
    "resnet_rs_101_160": (0.25, 0.0, 10, (3, 4, 23, 3), 80.3),
    "resnet_rs_101_192": (0.25, 0.0, 15, (3, 4, 23, 3), 81.2),
    "resnet_rs_152_192": (0.25, 0.0, 15, (3, 8, 36, 3), 82.0),
    "resnet_rs_152_224": (0.25, 0.0, 15, (3, 8, 36, 3), 82.8),
    "resnet_rs_152_256": (0.25, 0.0, 15, (3, 8, 36, 3), 83.0),
    "resnet_rs_200_256": (0.25, 0.1, 15, (3, 24, 36, 3), 83.4),
    "resnet_rs_270_256": (0.25, 0.1, 15, (4, 29, 53, 4), 83.8),
    "resnet_rs_350_256": (0.25, 0.1, 15, (4, 36, 72, 4), 84.0),
    "resnet_rs_350_320": (0.4, 0.1, 15, (4, 36, 72, 4), 84.2),
    "resnet_rs_420_320": (0.4, 0.1, 15, (4, 44, 87, 4), 84.4),
}
# What all eleven configs share, and what their code adds (facts.md 3.1 and 3.5).
RESNET_RS_SHARED = {
    "model.se_ratio": 0.25,
    "model.resnet_d": True,
    "model.resnet_d_parts": "",
    "model.zero_init_last": True,
    "model.bn_momentum": 1.0,
    "data.dataset": "imagenet",
    "data.batch_size": 4096,
    "data.interpolation": "bicubic",
    "data.minival_fraction": 0.0,
    "data.train_fraction": 1.0,
    "data.crop": "distorted",
    "data.crop_area": 0.08,
    "data.flip": True,
    "augment.randaug_layers": 2,
    "augment.randaug_space": "resnet_rs",
    "augment.randaug_solarize_wrap": True,
    "augment.randaug_pixel_scale": 1.0,
    "optim.epochs": 350,
    "optim.optimizer": "sgd",
    "optim.lr": 0.1,
    "optim.momentum": 0.9,
    "optim.nesterov": True,
    "optim.weight_decay": 4e-5,
    "optim.decay_scope": "not_norm",
    "optim.schedule": "cosine",
    "optim.warmup_epochs": 5.0,
    "optim.ema_decay": 0.9999,
    "optim.ema_warmup": True,
    "loss.label_smoothing": 0.1,
    "evaluate.split": "validation",
    "evaluate.resolution": 0,
    "evaluate.crop_fraction": 0.875,
    "evaluate.interpolation": "bicubic",
    "evaluate.weights": "ema",
}
# tensorflow/tpu efficientnet_builder: dropout; ResNet-RS Table 7: pixels, top-1.
EFFICIENTNET = [
    (0.2, 224, 77.1),
    (0.2, 240, 79.1),
    (0.3, 260, 80.1),
    (0.3, 300, 81.6),
    (0.4, 380, 82.9),
    (0.4, 456, 83.7),
    (0.5, 528, 84.0),
    (0.5, 600, 84.7),
]
# tensorflow/tpu efficientnet {main,utils,efficientnet_builder,preprocessing}.py defaults, typed out
# from official_configs.json and facts.md section 7; momentum 0.01 is TensorFlow's 0.99.
EFFICIENTNET_SHARED = {
    "model.bn_momentum": 0.01,
    "model.drop_path": 0.2,
    "model.drop_path_rule": "linear",
    "data.dataset": "imagenet",
    "data.batch_size": 2048,
    "data.interpolation": "bicubic",
    "data.crop": "distorted",
    "data.crop_area": 0.08,
    "data.flip": True,
    "optim.epochs": 350,
    "optim.optimizer": "rmsprop_tf",
    "optim.lr": 0.016,
    "optim.momentum": 0.9,
    "optim.second_moment": 0.9,
    "optim.epsilon": 1e-3,
    "optim.weight_decay": 1e-5,
    "optim.decay_scope": "not_norm",
    "optim.schedule": "exponential",
    "optim.decay_epochs": 2.4,
    "optim.decay_factor": 0.97,
    "optim.warmup_epochs": 5.0,
    "optim.ema_decay": 0.9999,
    "optim.ema_warmup": True,
    "loss.label_smoothing": 0.1,
    "evaluate.split": "validation",
    "evaluate.interpolation": "bicubic",
    "evaluate.crop_fraction": 0.875,
    "evaluate.weights": "ema",
}
# ResNet-RS Figure 5 (read off), and the magnitude of section 7.2.
EFFICIENTNET_RS = {
    "efficientnet_rs_b4_192": (10, 80.0),
    "efficientnet_rs_b4_224": (10, 81.25),
    "efficientnet_rs_b4_256": (15, 81.9),
    "efficientnet_rs_b5_256": (15, 82.5),
    "efficientnet_rs_b5_288": (15, 82.8),
    "efficientnet_rs_b6_256": (15, 82.95),
    "efficientnet_rs_b6_288": (15, 83.2),
    "efficientnet_rs_b6_320": (15, 83.4),
}


def test_the_library_holds_what_is_promised() -> None:
    assert set(names()) == {
        "tiny",
        *(f"resnet{depth}" for depth in (50, 101, 152, 200)),
        *(f"efficientnet_b{number}" for number in range(8)),
        *RESNET_RS,
        *EFFICIENTNET_RS,
    }
    assert list(names()) == sorted(names())


@every
def test_it_loads_and_reads_back(name: str) -> None:
    recipe = load(name)
    assert loads(dumps(recipe)) == recipe
    assert load(name) == recipe


@every
def test_it_says_where_it_comes_from(name: str) -> None:
    said = about(name)
    assert list(said) == [
        "title",
        "source",
        "expected",
        "expected_top1",
        "parameters",
        "macs",
        "cost",
        "command",
    ]
    for part in ("title", "source", "expected", "cost", "command"):
        assert isinstance(said[part], str)
        assert said[part].strip()
    assert isinstance(said["parameters"], int)
    assert isinstance(said["macs"], int)
    assert f"ablate --base {name} " in said["command"]


@every
def test_its_number_has_a_band_outside_which_a_reproduction_is_doubted(name: str) -> None:
    top1 = about(name)["expected_top1"]
    assert list(top1) == ["value", "low", "high"]
    assert about(name)["expected"].startswith(f"{top1['value']}")
    if name == "tiny":
        assert top1 == {"value": 92.5, "low": 88, "high": 96}
    else:  # recipes/library/__init__.py says why a point
        assert top1["high"] - top1["value"] == pytest.approx(1.0)
        assert top1["value"] - top1["low"] == pytest.approx(1.0)


@every
def test_its_command_changes_something(name: str) -> None:
    words = shlex.split(about(name)["command"])
    components = parse(words[words.index("--add") + 1])
    assert components
    for component in components:  # of efficientnet_b0 to b7 too: none of these is there already
        assert isinstance(apply(component, load(name)), Applied), component


@every
def test_its_facts_are_about_leaves(name: str) -> None:
    facts = load(name).model.facts
    for fact in facts.leaves if facts else ():
        assert fact.path in declarations()
        assert fact.status == "can" or fact.reason


def test_no_two_are_the_same() -> None:
    assert len({fingerprint(load(name)) for name in names()}) == len(names())


def test_the_baseline_of_the_paper_has_none_of_its_ten() -> None:
    for component in parse("paper"):
        assert isinstance(apply(component, load("resnet200")), Applied), component


def test_the_baseline_of_the_paper_is_the_paper_s() -> None:
    # ResNet-RS Table 1, first row; facts.md section 1.
    recipe = load("resnet200")
    assert (recipe.data.resolution, recipe.optim.epochs) == (256, 90)
    assert recipe.optim.lr * recipe.data.batch_size / 256 == pytest.approx(1.6)
    assert recipe.optim.weight_decay == 1e-4
    assert [round(90 * place) for place in recipe.optim.milestones] == [30, 60, 80]


def test_the_whole_paper_on_the_baseline_is_resnet_rs_200() -> None:
    found = stack(load("resnet200"), parse("paper"))
    assert fingerprint(found) == fingerprint(load("resnet_rs_200_256"))


@pytest.mark.parametrize("name", RESNET_RS)
def test_resnet_rs_is_the_official_config(name: str) -> None:
    dropout, rate, magnitude, blocks, top1 = RESNET_RS[name]
    deep, pixels = (int(word) for word in name.split("_")[2:])
    recipe = load(name)
    own = {
        "data.resolution": pixels,
        "model.dropout": dropout,
        "model.drop_path": rate,
        "model.drop_path_rule": "stage" if rate else "",
        "augment.randaug_magnitude": magnitude,
        "model.backbone": f"resnet{min(deep, 200)}",
    }
    assert leaves(recipe).items() >= (RESNET_RS_SHARED | own).items()
    assert recipe.model.facts is not None
    assert (recipe.model.layers or recipe.model.facts.layers) == blocks
    assert about(name)["expected_top1"]["value"] == top1


def test_resnet_rs_differs_in_nothing_else() -> None:
    changing = {f"model.{leaf}" for leaf in ("backbone", "layers", "dropout")}
    changing |= {"model.drop_path", "model.drop_path_rule"}
    changing |= {"data.resolution", "augment.randaug_magnitude"}
    for name in RESNET_RS:
        assert set(diff(load("resnet_rs_50_160"), load(name))) <= changing


@pytest.mark.parametrize("component", parse("cos,ema,ls,ra,do,wd,se,resnetd"), ids=str)
def test_resnet_rs_has_the_paper_s_components_already(component: object) -> None:
    for name in ("resnet_rs_152_256", "resnet_rs_200_256"):
        assert isinstance(apply(component, load(name)), AlreadyPresent)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [50, 101, 152, 200])
def test_the_baselines_are_one_recipe(depth: int) -> None:
    changed = set(diff(load("resnet50"), load(f"resnet{depth}")))
    assert changed <= {"model.backbone", "data.resolution"}


@pytest.mark.parametrize("number", range(8))
def test_efficientnets_differ_by_dropout_and_resolution(number: int) -> None:
    dropout, pixels, top1 = EFFICIENTNET[number]
    recipe = load(f"efficientnet_b{number}")
    own = {"model.dropout": dropout, "data.resolution": pixels}
    own["model.backbone"] = f"efficientnet_b{number}"
    wanted = EFFICIENTNET_SHARED | own
    assert leaves(recipe).items() >= wanted.items()
    others = {path: value for path, value in leaves(recipe).items() if path not in wanted}
    assert others == {path: defaults()[path] for path in others}  # off, every one
    said = about(f"efficientnet_b{number}")
    assert said["expected_top1"]["value"] == top1
    trained_with = "RandAugment" if number in (5, 7) else "AutoAugment"  # facts.md section 12
    assert f"published, with {trained_with}" in said["expected"]
    changed = set(diff(load("efficientnet_b0"), recipe))
    assert changed <= {"model.backbone", "model.dropout", "data.resolution"}


@pytest.mark.parametrize("name", ["efficientnet_b0", *EFFICIENTNET_RS])
def test_efficientnet_averages_statistics_of_its_own_momentum(name: str) -> None:
    assert load(name).model.bn_momentum == 0.01
    assert isinstance(apply(parse("ema")[0], load(name)), AlreadyPresent)


@pytest.mark.parametrize("name", [name for name in names() if name != "tiny"])
def test_published_recipes_train_on_all_images_and_say_how_to_hold_some_out(name: str) -> None:
    data = load(name).data
    assert (data.minival_fraction, data.train_fraction, data.crop) == (0.0, 1.0, "distorted")
    assert "--set data.minival_fraction=0.02" in about(name)["source"]


@pytest.mark.parametrize("dataset", ["imagenet", "imagefolder"])
def test_profiles_of_large_images_keep_the_crop_of_torchvision(dataset: str) -> None:
    assert profile(dataset)["data.crop"] == "random_resized"


@pytest.mark.parametrize("name", EFFICIENTNET_RS)
def test_efficientnet_rs_changes_resolution_and_randaugment_only(name: str) -> None:
    magnitude, top1 = EFFICIENTNET_RS[name]
    which, pixels = name.split("_")[2:]
    changed = diff(load(f"efficientnet_{which}"), load(name))
    assert {path: value for path, (_, value) in changed.items()} == {
        "data.resolution": int(pixels),
        "augment.randaug_layers": 2,
        "augment.randaug_magnitude": magnitude,
        "augment.randaug_space": "resnet_rs",
        "augment.randaug_solarize_wrap": True,
    }
    assert about(name)["expected_top1"]["value"] == top1


def test_a_beginning_means_the_one_recipe_that_it_can() -> None:
    assert load("resnet_rs_50") == load("resnet_rs_50_160")
    assert load("resnet_rs_200") == load("resnet_rs_200_256")
    assert full_name("efficientnet_b0") == "efficientnet_b0"
    with pytest.raises(RecipeError) as caught:
        load("resnet_rs_101")
    assert str(caught.value) == (
        "'resnet_rs_101' may be resnet_rs_101_160, resnet_rs_101_192: name one of them"
    )
    assert full_name("resnet_rs_5") is None  # not in the middle of a word
    assert full_name("resnet5") is None


def test_a_file_is_read_as_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(dumps(load("tiny")))
    assert load(path) == load(str(path)) == load("tiny")
    assert load(os.path.relpath(path)) == load("tiny")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no recipe 'resnet20' in the library; did you mean"):
        load("resnet20")
    with pytest.raises(RecipeError, match="it holds .*efficientnet_b0.*tiny"):
        load("nothing of the kind")


@pytest.mark.parametrize("name", ["", ".", "..", "../recipes/library/tiny", "tiny/", "profiles"])
def test_a_name_is_not_a_path(name: str) -> None:
    with pytest.raises(RecipeError, match="there is no recipe"):
        load(name)


def test_only_yaml_is_a_file_name() -> None:
    assert is_file_name("x.yaml")
    assert is_file_name("folder/x.yml")
    assert is_file_name(Path("x"))
    assert not is_file_name("resnet50")
    assert not is_file_name("vit_base_patch16_224.augreg_in21k")


@pytest.mark.parametrize("dataset", _PROFILES)
@every
def test_every_profile_fits_every_recipe(name: str, dataset: str) -> None:
    fitted = edit(load(name), profile(dataset))
    touched = {path.partition(".")[0] for path in diff(load(name), fitted)}
    assert touched <= {"data", "optim", "evaluate"}  # the network and its regularisers stay
    assert fitted.optim.weight_decay == load(name).optim.weight_decay


def test_an_unknown_profile_is_told() -> None:
    with pytest.raises(RecipeError, match="there is no data profile for 'moon'"):
        profile("moon")
