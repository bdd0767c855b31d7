from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ablations import resolve
from ablations.bases import apply_settings, fit_to_data, fit_to_hardware, with_facts
from lightning_modules import Classifier
from lightning_modules.data import DataFacts
from recipes import Recipe, RecipeError, diff, dumps, edit, leaves, load
from recipes.library import names
from recipes.scaling import BLOCKS


def folder_of(
    train: int = 2000, validation: int = 500, native: tuple[int, int] | None = None
) -> DataFacts:
    return DataFacts(
        name="imagefolder",
        classes=2,
        train=train,
        validation=validation,
        native_size=native,
        fingerprint="0" * 64,
    )


def of(name: str) -> DataFacts:
    return DataFacts(
        name=name, classes=10, train=1, validation=1, native_size=(8, 8), fingerprint="0" * 64
    )


@pytest.mark.parametrize("name", names())
def test_a_library_base_is_itself(name: str) -> None:
    assert resolve(name) == load(name)


def test_a_beginning_of_a_library_name_is_a_base() -> None:
    assert resolve("resnet_rs_50") == load("resnet_rs_50_160")
    with pytest.raises(RecipeError, match="'resnet_rs_350' may be resnet_rs_350_256, resnet_rs_3"):
        resolve("resnet_rs_350")


@pytest.mark.parametrize("depth", [270, 300, 350, 400, 420])
def test_depths_that_timm_has_no_name_for_are_longer_resnet_200s(depth: int) -> None:
    found = resolve(f"resnet{depth}")
    assert set(diff(load("resnet200"), found)) == {"model.layers"}
    assert found.model.layers == BLOCKS[depth].layers
    assert found.model.facts == load("resnet200").model.facts


def test_the_blocks_of_resnet_26_are_timms(tmp_path: Path) -> None:
    facts = resolve("resnet26", tmp_path).model.facts
    assert facts is not None
    assert facts.layers == BLOCKS[26].layers


def test_any_timm_model_gets_the_bare_baseline_less_what_it_cannot_take(tmp_path: Path) -> None:
    baseline, found = load("resnet50"), resolve("mobilenetv3_small_050", tmp_path)
    assert found.model.facts is not None
    changed = {"model.backbone", "model.zero_init_last", "data.minival_fraction"}
    assert set(diff(baseline, found)) == changed
    assert found.data.minival_fraction == 0.02  # for choices; nothing published used all images
    kept = resolve("resnet26d", tmp_path)  # takes it, and was made for larger images
    assert kept.model.zero_init_last == baseline.model.zero_init_last
    assert kept.model.facts is not None
    assert kept.data.resolution == kept.model.facts.input_size


def test_facts_are_remembered_and_then_need_no_torch(tmp_path: Path) -> None:
    first = resolve("resnet18", tmp_path)
    program = (
        "import sys; from pathlib import Path; from ablations import resolve; from recipes import"
        f" dumps; print(dumps(resolve('resnet18', Path({str(tmp_path)!r}))))"
        "; assert not {'torch', 'timm'} & set(sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == dumps(first).strip()


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"timm": 3}'])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "facts.json").write_text(damage)
    assert resolve("resnet18", tmp_path) == resolve("resnet18")
    assert " resnet18" in next(
        key
        for key in json.loads((tmp_path / "facts.json").read_text())
        if key.endswith(" resnet18")
    )


def test_a_memory_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert resolve("resnet18", tmp_path / "file" / "cache") == resolve("resnet18")


def test_a_base_may_be_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "my base.yaml"
    path.write_text(dumps(edit(load("tiny"), {"optim.lr": 0.3})))
    assert resolve(path) == resolve(str(path)) == edit(load("tiny"), {"optim.lr": 0.3})


def test_an_unknown_base_is_told_with_the_nearest_names() -> None:
    with pytest.raises(RecipeError, match=r"'resnet51'.*did you mean 'resnet50'.*timm .* no model"):
        resolve("resnet51")


def test_another_backbone_gets_facts_of_its_own() -> None:
    other, _ = apply_settings(load("tiny"), ["model.backbone=resnet34"])
    assert other.model.facts is None
    facts = with_facts(other, None).model.facts
    assert facts is not None
    assert with_facts(load("tiny"), None) is not None


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100", "imagenet", "imagefolder"])
def test_a_recipe_written_for_the_data_stays(name: str) -> None:
    recipe = edit(load("tiny"), {"data.dataset": name})
    assert fit_to_data(recipe, of(name)) == (recipe, "")


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100", "imagefolder"])
def test_a_profile_tells_each_leaf_that_it_sets(name: str) -> None:
    base = load("resnet50")
    fitted, note = fit_to_data(base, of(name) if name != "imagefolder" else folder_of())
    changed = diff(base, fitted)
    assert fitted.data.dataset == name
    assert f"data profile {name}" in note
    assert all(f"{path} " in note for path in changed)
    untouched = {"model.backbone", "optim.lr", "optim.weight_decay", "optim.schedule"}
    assert not untouched & set(changed)


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet", "imagefolder"])
def test_the_constants_in_pixels_follow_the_resolution(name: str) -> None:
    base = load("resnet50") if name != "imagenet" else load("tiny")
    fitted, _ = fit_to_data(base, of(name) if name != "imagefolder" else folder_of())
    assert fitted.augment.randaug_pixel_scale == fitted.data.resolution / 256


def test_digits_are_not_mirrored() -> None:
    assert not fit_to_data(load("resnet200"), of("digits"))[0].data.flip
    assert fit_to_data(load("resnet200"), of("cifar10"))[0].data.flip


@pytest.mark.parametrize(
    ("facts", "sizes"),
    [
        # (resolution, stored_size, batch_size)
        (folder_of(), (224, 256, 64)),
        (folder_of(native=(500, 400)), (224, 256, 64)),
        (folder_of(native=(96, 64)), (64, 64, 64)),  # small ones are not blown up
        (folder_of(train=60_000), (224, 0, 256)),  # more than 8 GiB decoded: streamed
        (folder_of(train=60_000, native=(32, 32)), (32, 32, 256)),
        (folder_of(train=300), (224, 256, 16)),  # ten steps in an epoch or more
        (folder_of(train=4), (224, 256, 2)),
    ],
)
def test_sizes_follow_the_images_of_a_folder(facts: DataFacts, sizes: tuple[int, int, int]) -> None:
    data = fit_to_data(load("resnet50"), facts)[0].data
    assert (data.resolution, data.stored_size, data.batch_size) == sizes


def test_settings_come_after_the_profile_and_are_checked_together() -> None:
    fitted, _ = fit_to_data(load("resnet50"), of("digits"))
    changed, note = apply_settings(fitted, ["data.resolution=24"])
    assert changed.data.resolution == 24
    assert changed.augment.randaug_pixel_scale == 24 / 256
    assert "randaug_pixel_scale 0.0625 -> 0.09375" in note
    own = ["data.resolution=24", "augment.randaug_pixel_scale=0.0625"]
    kept, note = apply_settings(fitted, own)
    assert (kept.augment.randaug_pixel_scale, note) == (1 / 16, "")
    # The paper's constants are absolute: what no profile has scaled stays.
    kept, note = apply_settings(load("resnet200"), ["data.resolution=160"])
    assert (kept.augment.randaug_pixel_scale, note) == (1.0, "")
    with pytest.raises(RecipeError) as caught:
        apply_settings(fitted, ["optim.lr=fast", "data.batch_size=2.5"])
    assert "optim.lr = 'fast'" in str(caught.value)
    assert "data.batch_size = '2.5'" in str(caught.value)


def test_a_cpu_and_a_choice_keep_the_precision() -> None:
    base: Recipe = load("tiny")
    assert fit_to_hardware(base, (), "cpu") == (base, "")
    assert fit_to_hardware(base, ("optim.precision=32",), "auto") == (base, "")
    assert leaves(base)["optim.precision"] == "32"


def test_a_backbone_of_one_input_size_keeps_it_on_small_images(tmp_path: Path) -> None:
    fixed, free = (resolve(name, tmp_path) for name in ("vit_tiny_patch16_224", "test_resnet"))
    assert fixed.model.facts is not None and fixed.model.facts.fixed_size
    assert free.model.facts is not None and not free.model.facts.fixed_size
    fitted, _ = fit_to_data(fixed, of("digits"))
    assert fitted.data.resolution == fixed.model.facts.input_size == 224
    assert fitted.augment.randaug_pixel_scale == 224 / 256
    assert fit_to_data(free, of("digits"))[0].data.resolution == 16
    remembered = resolve("vit_tiny_patch16_224", tmp_path).model.facts
    assert remembered is not None and remembered.fixed_size


def test_images_of_a_folder_are_stored_for_a_backbone_of_one_size(tmp_path: Path) -> None:
    base = resolve("vit_small_patch16_384", tmp_path)
    data = fit_to_data(base, folder_of())[0].data
    assert (data.resolution, data.stored_size) == (384, round(384 / 0.875))


@pytest.mark.parametrize(
    ("name", "smallest", "fixed"),
    [
        ("convnext_atto", 32, False),  # a stride of 4, then three of 2 with 2 x 2 kernels
        ("densenet121", 32, False),
        ("inception_v3", 96, False),
        ("vit_tiny_patch16_224", 224, True),
    ],
)
def test_small_images_are_enlarged_to_what_a_backbone_can_be_trained_on(
    name: str, smallest: int, fixed: bool, tmp_path: Path
) -> None:
    base = resolve(name, tmp_path)
    facts = base.model.facts
    assert facts is not None
    assert (facts.smallest_size, facts.fixed_size) == (smallest, fixed)
    recipe = fit_to_data(base, of("digits"))[0]
    assert recipe.data.resolution == smallest
    module = Classifier(recipe, classes=10).train()
    images = torch.zeros(2, 3, smallest, smallest)
    module.loss(module(images), torch.tensor([0, 1])).backward()  # it does take them
