"""Laws of paths: listing, editing, comparing, and what each kind may write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType

import pytest

from recipes import Facts, Hook, Kind, Recipe, RecipeError, diff, edit, hook, leaves, linear
from recipes.tree import declarations, may_write, value_at, writes

_HOOK = Hook(name="", hook="loss", target="mine:loss", source="0")


def test_leaves_are_all_declared_paths_in_order(base: Recipe) -> None:
    assert list(leaves(base)) == list(declarations())


def test_hooks_are_leaves_too_in_the_order_of_their_names(base: Recipe) -> None:
    recipe = edit(base, {"custom.b": _HOOK, "custom.a": _HOOK})
    assert list(leaves(recipe))[-2:] == ["custom.a", "custom.b"]
    assert value_at(recipe, "custom.a").name == "a"


def test_the_order_of_adding_hooks_does_not_matter(base: Recipe) -> None:
    first = edit(edit(base, {"custom.b": _HOOK}), {"custom.a": _HOOK})
    second = edit(edit(base, {"custom.a": _HOOK}), {"custom.b": _HOOK})
    assert first == second
    rows = tuple(reversed(first.custom))
    assert dataclasses.replace(base, custom=rows) == first


def test_edits_leave_the_input_alone(base: Recipe) -> None:
    before = leaves(base)
    edit(base, {"optim.lr": 0.7, "model.layers": (1, 1, 1, 1), "custom.a": _HOOK})
    assert leaves(base) == before


def test_an_edit_sets_exactly_its_leaves(base: Recipe) -> None:
    edited = edit(base, {"optim.lr": 0.7, "model.dropout": linear(0.1, 0)})
    assert diff(base, edited) == {
        "model.dropout": (0.0, linear(0.1, 0)),
        "optim.lr": (0.1, 0.7),
    }


def test_no_changes_are_no_edit(base: Recipe) -> None:
    assert edit(base, {}) is base


def test_later_edits_win(base: Recipe) -> None:
    assert edit(edit(base, {"optim.lr": 0.7}), {"optim.lr": 0.1}) == base


def test_a_recipe_does_not_differ_from_itself(base: Recipe) -> None:
    assert diff(base, base) == {}


def test_diff_is_symmetric(base: Recipe, rich: Recipe) -> None:
    swapped = {path: (b, a) for path, (a, b) in diff(rich, base).items()}
    assert diff(base, rich) == swapped


def test_an_absent_hook_is_none_in_a_diff(base: Recipe) -> None:
    assert diff(base, edit(base, {"custom.a": _HOOK}))["custom.a"][0] is None


def test_unknown_leaves_are_told_together_with_the_nearest(base: Recipe) -> None:
    with pytest.raises(RecipeError) as caught:
        edit(base, {"optim.learning": 1, "loss.label_smothing": 0.1})
    assert len(caught.value.problems) == 2
    assert "there is no leaf 'loss.label_smothing'" in str(caught.value)
    assert "did you mean 'loss.label_smoothing'" in str(caught.value)


@pytest.mark.parametrize("path", ["model", "model.", "", ".", "custom", "model.facts", "Optim.lr"])
def test_what_is_not_a_leaf_is_refused(base: Recipe, path: str) -> None:
    with pytest.raises(RecipeError, match="there is no leaf"):
        edit(base, {path: base.model})
    with pytest.raises(RecipeError, match="there is no leaf"):
        value_at(base, path)


def test_a_hook_that_is_not_there_is_refused(base: Recipe) -> None:
    with pytest.raises(RecipeError, match="there is no leaf 'custom.a'"):
        value_at(base, "custom.a")


def test_another_backbone_drops_the_facts_of_the_old_one(base: Recipe) -> None:
    facts = Facts(family="ResNet", input_size=224, stages=4, batch_norm=True)
    probed = dataclasses.replace(base, model=dataclasses.replace(base.model, facts=facts))
    assert edit(probed, {"optim.lr": 1.0}).model.facts == facts
    assert edit(probed, {"model.backbone": "resnet18"}).model.facts == facts
    assert edit(probed, {"model.backbone": "vit_tiny_patch16_224"}).model.facts is None


def test_the_architecture_side_is_one_kind() -> None:
    assert [kind.side for kind in Kind] == ["training"] * 3 + ["architecture"]


def test_no_leaf_is_on_both_sides() -> None:
    for path, leaf in declarations().items():
        assert len({kind.side for kind in leaf.kinds}) <= 1, path


def test_architecture_may_write_nothing_but_the_model() -> None:
    paths = [path for path in writes(Kind.ARCHITECTURE) if not path.startswith("custom")]
    assert paths
    assert all(path.startswith("model.") for path in paths)


def test_a_kind_may_write_what_it_lists(user_module: Callable[[str, str], ModuleType]) -> None:
    module = user_module("mine_tree", "def f(x, y): return x")
    for kind in Kind:
        listed = set(writes(kind))
        assert {p for p in declarations() if may_write(kind, p, 0)} == {
            path for path in listed if not path.startswith("custom")
        }
        for place in ("model", "batch", "loss", "optimizer"):
            allowed = may_write(kind, "custom.x", hook(place, module.f))
            assert allowed == (f"custom ({place})" in listed)
