"""Values as a user writes them: `--set path=value`, read by the type of the leaf."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from recipes import Recipe, RecipeError, Schedule, edit, leaves, linear
from recipes.text import plain, read_settings, read_value
from recipes.validate import show


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("0.1", float, 0.1),
        (" 1e-4 ", float, 1e-4),
        ("3", float, 3.0),
        ("3", int, 3),
        ("-3", int, -3),
        ("yes", bool, True),
        ("TRUE", bool, True),
        ("off", bool, False),
        ("word", str, "word"),
        ("'a, b'", str, "a, b"),
        ("", str, ""),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ("1,2", tuple[int, ...], (1, 2)),
        ("[]", tuple[int, ...], ()),
        ("[0.3, 1]", tuple[float, ...], (0.3, 1.0)),
        ("linear(0.1, 0)", float | Schedule, linear(0.1, 0)),
        ("0.1", float | Schedule, 0.1),
        ("none", float | None, None),
        ("0.5", float | None, 0.5),
        ("3", int | None, 3),
        ("None", str | None, None),
        ("word", str | None, "word"),
        ("fast", Literal["fast", "slow"], "fast"),
        ("2", Literal[1, 2], 2),
        ("2", int | float, 2.0),
    ],
)
def test_a_value_is_read_by_its_type(text: str, kind: Any, value: Any) -> None:
    read = read_value(text, kind)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("ten", int, "'ten' is not a whole number"),
        ("1.0", int, "'1.0' is not a whole number"),
        ("1", bool, "'1' is not true or false"),
        ("", float, "'' is not a number"),
        ("inf", float, "'inf' is not a finite number"),
        ("linear(1, 0)", float, r"linear\(1.0, 0.0\) cannot move during training: give a number"),
        ("linear(1, 0)", float | None, "cannot move during training"),
        ("fest", Literal["fast", "slow"], "'fest' is not one of fast, slow; did you mean 'fast'"),
        ("x", dict[str, int], "a value of type .* cannot be given as text"),
        ("[1, x]", tuple[int, ...], "'x' is not a whole number"),
    ],
)
def test_what_it_is_not_is_told(text: str, kind: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_value(text, kind)


def test_settings_are_edits(base: Recipe) -> None:
    changes = read_settings(
        ["optim.lr=0.05", "data.flip = yes", "model.layers=[1,1,1,1]", "optim.precision=32"]
    )
    assert changes == {
        "optim.lr": 0.05,
        "data.flip": True,
        "model.layers": (1, 1, 1, 1),
        "optim.precision": "32",
    }
    assert edit(base, changes).optim.lr == 0.05


def test_every_leaf_can_be_set_to_what_it_shows(rich: Recipe) -> None:
    moving = edit(rich, {"optim.weight_decay": linear(1 / 3, 0), "optim.milestones": (1 / 3, 0.7)})
    texts = [f"{path}={show(value)}" for path, value in leaves(moving).items() if value != ""]
    assert edit(moving, read_settings(texts)) == moving


def test_a_value_may_hold_an_equals_sign() -> None:
    assert read_settings(["data.dataset=a=b"]) == {"data.dataset": "a=b"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["optim.lr"], "'optim.lr' is not of the form path=value, as optim.lr=0.05"),
        (["=1"], "there is no leaf ''"),
        (["lr=1"], "there is no leaf 'lr' in a recipe"),
        (["optim.learning_rate=1"], "there is no leaf 'optim.learning_rate'"),
        (["loss.smoothing=1"], "did you mean 'loss.label_smoothing'"),
        (["model.facts=1"], "there is no leaf 'model.facts'"),
        (["optim.lr=fast"], "optim.lr = 'fast': 'fast' is not a number"),
        (["optim.lr=-1"], "optim.lr = -1 must be above 0"),
        (["optim.lr=1e999"], "not a finite number"),
        (["optim.lr=linear(1, 0)"], "cannot move during training: give a number"),
        (["optim.epochs=1e2"], "optim.epochs = '1e2': '1e2' is not a whole number"),
        (["optim.schedule=cosin"], "did you mean 'cosine'"),
        (["model.backbone="], "model.backbone is empty"),
        (["data.dataset=${oc.env:HOME}"], "interpolations are not read"),
        (["optim.lr=1", "optim.lr=2"], "optim.lr is set twice, to 1.0 and to 2.0"),
    ],
)
def test_what_a_user_reads(settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_settings(settings)


def test_the_same_setting_twice_is_no_mistake() -> None:
    assert read_settings(["optim.lr=1", "optim.lr=1.0"]) == {"optim.lr": 1.0}


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(RecipeError) as caught:
        read_settings(["optim.lr=fast", "lr=1", "optim.epochs", "optim.epochs=0"])
    assert len(caught.value.problems) == 4


def test_plain_values_are_what_json_holds() -> None:
    changes = {"model.layers": (1, 2), "optim.weight_decay": linear(1, 0), "optim.lr": 0.1}
    assert plain(changes) == {
        "model.layers": [1, 2],
        "optim.weight_decay": "linear(1.0, 0.0)",
        "optim.lr": 0.1,
    }
