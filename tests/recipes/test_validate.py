"""What no recipe may hold, and the words a user reads about it."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from recipes import Hook, Recipe, RecipeError, cosine, edit, linear
from recipes.tree import declarations, leaf_types
from recipes.validate import is_on, show


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.backbone", "", "model.backbone is empty"),
        ("model.backbone", "  ", "model.backbone is empty"),
        ("model.backbone", 18, "model.backbone = 18 is not a word"),
        ("model.backbone", "${oc.env:HOME}", "interpolations are not read; write the value"),
        ("data.dataset", None, "data.dataset = None is not a word"),
        ("optim.epochs", 2.0, "optim.epochs = 2.0 is not a whole number"),
        ("optim.epochs", True, "optim.epochs = True is not a whole number"),
        ("optim.epochs", 0, "optim.epochs = 0 must be at least 1"),
        ("optim.epochs", -3, "optim.epochs = -3 must be at least 1"),
        ("optim.epochs", 10**400, "must be at least 1"),
        ("optim.lr", 0, "optim.lr = 0 must be above 0"),
        ("optim.lr", "0.1", "optim.lr = '0.1' is not a number"),
        ("optim.lr", 10**400, "must be above 0"),
        ("optim.lr", linear(0.1, 0), r"optim.lr = linear\(0.1, 0.0\) cannot move during training"),
        ("optim.lr", math.nan, "optim.lr = nan is not a finite number"),
        ("optim.lr", math.inf, "optim.lr = inf is not a finite number"),
        ("model.dropout", True, "model.dropout = True is not a number or a schedule such as"),
        ("model.dropout", 1.0, "model.dropout = 1 must be at least 0 and at most 0.99"),
        ("model.dropout", 0.9900001, "model.dropout = 0.9900001 must be"),
        ("model.dropout", cosine(0.5, -0.1), "must be at least 0 and at most 0.99"),
        ("model.flip", 1, "there is no leaf 'model.flip'"),
        ("data.flip", 1, "data.flip = 1 is not true or false"),
        ("model.bn_momentum", "none", "model.bn_momentum = 'none' is not a number or none"),
        ("model.bn_momentum", 0.0, "model.bn_momentum = 0 must be above 0 and at most 1"),
        ("model.layers", (1, True), r"model.layers = \[1, True\] is not a list of whole numbers"),
        ("model.layers", [1, "a"], r"model.layers = \[1, 'a'\] is not a list of whole numbers"),
        ("model.layers", 4, "model.layers = 4 is not a list of whole numbers"),
        ("model.layers", (1, 0), r"model.layers = \[1, 0\] must be at least 1"),
        ("optim.milestones", (math.nan,), r"optim.milestones = \[nan\] must be above 0"),
        ("optim.milestones", (10**400,), "must be above 0 and at most 1"),
        ("optim.milestones", (0.7, 0.3), r"optim.milestones = \[0.7, 0.3\] must increase"),
        ("optim.milestones", (0.5, 0.5), "must increase"),
        ("optim.milestones", (), "optim.schedule = step needs optim.milestones: the places"),
        ("optim.schedule", "cosin", "'cosin' is not one of constant, step, cosine, exponential"),
        ("optim.schedule", "cosin", "did you mean 'cosine'"),
        ("optim.optimizer", "adam", "did you mean 'adamw'"),
        ("optim.precision", 32, "optim.precision = 32 is not a word"),
        ("optim.warmup_epochs", 10, "optim.warmup_epochs = 10 is longer than optim.epochs = 9"),
        ("optim.base_epochs", -1, "optim.base_epochs = -1 must be at least 0"),
        ("model.drop_path", 0.1, "model.drop_path = 0.1 needs model.drop_path_rule: stage or"),
        ("augment.randaug_layers", 2, "needs augment.randaug_space: resnet_rs, timm or torch"),
        ("optim.schedule", "exponential", "needs optim.decay_epochs"),
        ("optim.optimizer", "adamw", "optim.optimizer = adamw needs optim.second_moment"),
        ("evaluate.weights", "ema", "evaluate.weights = ema needs optim.ema_decay above 0"),
        ("data.minival_fraction", 0.95, "data.minival_fraction = 0.95 must be"),
        ("task", "detection", "task = 'detection' is not one of classification"),
        ("custom.a.b", Hook(name="", hook="loss", target="m:f", source="0"),
         "custom.a.b: a hook's name is one word of letters, digits and _"),
        ("custom.x", None, "custom leaf None is not a hook; make it with recipes.hook"),
        ("custom.x", len, "is not a hook; make it with recipes.hook"),
    ],
)  # fmt: skip
def test_what_no_recipe_may_hold(base: Recipe, path: str, value: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        edit(base, {path: value})


def test_contradictions_between_leaves_are_told(base: Recipe) -> None:
    with pytest.raises(RecipeError, match="optim.nesterov = true needs optim.momentum above 0"):
        edit(base, {"optim.momentum": 0, "optim.nesterov": True})
    with pytest.raises(RecipeError, match="minival needs data.minival_fraction above 0"):
        edit(base, {"evaluate.split": "minival", "data.minival_fraction": 0})


def test_all_that_is_wrong_is_told_together(base: Recipe) -> None:
    changes = {"optim.lr": -1, "data.crop": "randm", "model.layers": 3, "loss.label_smoothing": 2}
    with pytest.raises(RecipeError) as caught:
        edit(base, changes)
    assert len(caught.value.problems) == 4
    assert str(caught.value) == "\n".join(caught.value.problems)
    for path in changes:
        assert path in str(caught.value)


def test_a_leaf_whose_switch_is_off_may_be_empty(base: Recipe) -> None:
    assert edit(base, {"model.drop_path_rule": ""}).model.drop_path_rule == ""


def test_names_in_any_script_are_words(base: Recipe) -> None:
    assert edit(base, {"data.dataset": "\u6570\u5b57"}).data.dataset == "\u6570\u5b57"


@pytest.mark.parametrize("path", [p for p, leaf in declarations().items() if leaf.choices])
def test_a_wrong_word_is_answered_with_the_choices(base: Recipe, path: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(", ".join(declarations()[path].choices))):
        edit(base, {path: "wrong"})


@pytest.mark.parametrize("path", list(declarations()))
def test_a_value_of_another_type_is_answered_with_the_path(base: Recipe, path: str) -> None:
    for value in (object(), {"a": 1}, b"x", 1j):
        with pytest.raises(RecipeError, match=re.escape(f"{path} = ")):
            edit(base, {path: value})


def _schedulable(path: str) -> bool:
    return "Schedule" in str(leaf_types()[path])


@pytest.mark.parametrize("path", [p for p in declarations() if not _schedulable(p)])
def test_a_schedule_on_a_leaf_that_cannot_move_is_refused(base: Recipe, path: str) -> None:
    with pytest.raises(RecipeError, match=f"{path} = .* cannot move during training"):
        edit(base, {path: linear(0.1, 0.2)})


@pytest.mark.parametrize("path", [p for p in declarations() if _schedulable(p)])
def test_a_schedule_on_a_scalar_is_taken(rich: Recipe, path: str) -> None:
    edit(rich, {path: linear(0.1, 0.2)})


def test_a_schedule_switches_on_by_its_peak(rich: Recipe) -> None:
    assert is_on(edit(rich, {"model.drop_path": linear(0, 0.1)}), "model.drop_path_rule")
    assert not is_on(edit(rich, {"model.drop_path": linear(0, 0)}), "model.drop_path_rule")


@pytest.mark.parametrize("section", ["model", "data", "augment", "optim", "loss", "evaluate"])
def test_a_section_must_be_of_its_own_type(base: Recipe, section: str) -> None:
    with pytest.raises(RecipeError, match=f"^{section} = .* is not a "):
        dataclasses.replace(base, **{section: None})


_GOOD = Hook(name="a", hook="loss", target="mine:f", source="0")


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        (None, "custom = None is not a list of hooks"),
        ((3,), "custom leaf 3 is not a hook"),
        ((_GOOD, _GOOD), "custom.a is there twice"),
        ((dataclasses.replace(_GOOD, name=""),), "a hook's name is one word"),
        ((dataclasses.replace(_GOOD, name="a.b"),), "a hook's name is one word"),
        ((dataclasses.replace(_GOOD, hook="lss"),), "no hook 'lss'; the hooks are model, batch"),
        ((dataclasses.replace(_GOOD, hook=["loss"]),), r"there is no hook \['loss'\]"),
        ((dataclasses.replace(_GOOD, target="f"),), "not of the form package.module:function"),
        ((dataclasses.replace(_GOOD, target=5),), "not of the form package.module:function"),
        ((dataclasses.replace(_GOOD, source=123),), "source = 123 is not a digest in quotes"),
        ((dataclasses.replace(_GOOD, arguments=(("k", [1]),)),), r"k = \[1\] is not a word, a fi"),
        ((dataclasses.replace(_GOOD, arguments=(("k", math.nan),)),), "k = nan is not a word"),
    ],
)
def test_hooks_that_mean_nothing_are_refused(base: Recipe, custom: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        dataclasses.replace(base, custom=custom)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (15.0, "15"),
        (4e-5, "4e-05"),
        (1 / 3, "0.3333333333333333"),
        (12345678.0, "12345678.0"),
        (True, "true"),
        (None, "none"),
        ((1, 0.5), "[1, 0.5]"),
        (linear(0.1, 0), "linear(0.1, 0.0)"),
        (Hook(name="a", hook="loss", target="m:f", arguments=(("k", 3.0),), source="0"),
         "m:f(k=3) at loss"),
    ],
)  # fmt: skip
def test_values_are_shown_whole_and_as_a_user_writes_them(value: Any, text: str) -> None:
    assert show(value) == text
