"""Every shipped recipe and profile loads, says where it comes from, and means what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recipes import Applied, RecipeError, apply, dumps, edit, fingerprint, load, loads, parse
from recipes.library import about, is_file_name, names, profile
from recipes.tree import declarations

every = pytest.mark.parametrize("name", names())
_PROFILES = sorted(
    path.stem for path in Path(__file__).parents[2].glob("recipes/library/profiles/*.yaml")
)


def test_the_library_holds_what_is_promised() -> None:
    assert {"tiny", "resnet50", "resnet200", "efficientnet_b0"} <= set(names())
    assert list(names()) == sorted(names())


@every
def test_it_loads_and_reads_back(name: str) -> None:
    recipe = load(name)
    assert loads(dumps(recipe)) == recipe
    assert load(name) == recipe


@every
def test_it_says_where_it_comes_from(name: str) -> None:
    said = about(name)
    for part in ("title", "source", "expected", "cost", "command"):
        assert isinstance(said[part], str)
        assert said[part].strip()
    assert f"ablate --base {name} " in said["command"]


@every
def test_the_band_of_what_is_expected_holds_the_number_that_is(name: str) -> None:
    expected = about(name).get("expected_top1")
    if expected is not None:
        assert set(expected) == {"value", "low", "high"}
        assert 0 <= expected["low"] <= expected["value"] <= expected["high"] <= 100


@every
def test_the_components_of_its_command_are_read(name: str) -> None:
    words = about(name)["command"].split()
    assert parse(words[words.index("--add") + 1])


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
    assert fitted.model.backbone == load(name).model.backbone


def test_an_unknown_profile_is_told() -> None:
    with pytest.raises(RecipeError, match="there is no data profile for 'moon'"):
        profile("moon")
