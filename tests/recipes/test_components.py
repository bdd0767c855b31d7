"""Laws over the table: a new component adds a row there and nothing here."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest

import recipes.components
from recipes import (
    AlreadyPresent,
    Applied,
    Component,
    Kind,
    Recipe,
    RecipeError,
    apply,
    dumps,
    edit,
    fingerprint,
    format_spec,
    leaves,
    linear,
    loads,
    parse,
    stack,
)
from recipes.components import BUNDLES, TABLE
from recipes.tree import declarations, may_write
from recipes.validate import check

PAPER = ["cos", "epochs", "ema", "ls", "sd", "ra", "do", "wd", "se", "resnetd"]

# One other value of each argument. A component with arguments that are not here fails.
OTHERS: dict[str, dict[str, Any]] = {
    "epochs": {"factor": 2.5},
    "ema": {"decay": 0.99, "warmup": False},
    "ls": {"epsilon": linear(0.1, 0.0)},
    "sd": {"rate": 1 / 3, "rule": "linear"},
    "ra": {"magnitude": linear(5, 15), "layers": 3, "space": "timm", "wrap": False},
    "do": {"rate": 0.4},
    "wd": {"value": linear(1e-4, 4e-5)},
    "se": {"ratio": 0.0625},
    "resnetd": {"parts": "stem+stride+shortcut"},
    "null": {"redraw": 2},
}

# Pairs whose order changes the recipe, each with its reason.
ORDER_MATTERS: dict[frozenset[str], str] = {}

KINDS = {
    "cos": Kind.TRAINING,
    "epochs": Kind.TRAINING,
    "ema": Kind.REGULARIZATION,
    "ls": Kind.REGULARIZATION,
    "sd": Kind.REGULARIZATION,
    "ra": Kind.AUGMENTATION,
    "do": Kind.REGULARIZATION,
    "wd": Kind.REGULARIZATION,
    "se": Kind.ARCHITECTURE,
    "resnetd": Kind.ARCHITECTURE,
}

every = pytest.mark.parametrize("key", TABLE)


def _variants(key: str) -> list[Component]:
    owner, others = TABLE[key], OTHERS.get(key, {})
    single = [owner(**{name: value}) for name, value in others.items()]
    return [owner(), *single, owner(**others)]


def _applied(component: Component, recipe: Recipe) -> Recipe:
    outcome = apply(component, recipe)
    assert isinstance(outcome, Applied), outcome
    return outcome.recipe


def test_the_paper_s_ten_come_first_in_its_order() -> None:
    assert list(TABLE)[:10] == PAPER


def test_the_bundles_are_the_paper_s_sides() -> None:
    assert BUNDLES["paper"] == tuple(PAPER)
    assert BUNDLES["training"] + BUNDLES["architecture"] == BUNDLES["paper"]
    for side in ("training", "architecture"):
        assert {TABLE[key].kind.side for key in BUNDLES[side]} == {side}


def test_no_bundle_is_called_as_a_component() -> None:
    assert not set(BUNDLES) & set(TABLE)


def test_every_file_of_a_component_is_in_the_table() -> None:
    files = Path(recipes.components.__file__).parent.glob("*.py")
    modules = {f"recipes.components.{file.stem}" for file in files if file.stem != "__init__"}
    assert modules == {owner.__module__ for owner in TABLE.values()}


@every
def test_its_kind_is_the_paper_s(key: str) -> None:
    assert TABLE[key].kind is KINDS.get(key, TABLE[key].kind)


@every
def test_every_argument_has_another_value_here(key: str) -> None:
    names = {entry.name for entry in dataclasses.fields(TABLE[key])}
    assert names == set(OTHERS.get(key, {}))
    for entry in dataclasses.fields(TABLE[key]):
        assert OTHERS[key][entry.name] != entry.default, "the other value is the default"


@every
def test_it_is_a_frozen_value_with_defaults(key: str) -> None:
    component = TABLE[key]()
    assert TABLE[key].key == key
    assert component == TABLE[key]()
    assert hash(component) == hash(TABLE[key]())
    assert pickle.loads(pickle.dumps(component)) == component


@every
def test_it_is_pure(base: Recipe, key: str) -> None:
    for component in _variants(key):
        before, twin = leaves(base), dataclasses.replace(base)
        assert component.edits(base) == component.edits(twin)
        assert leaves(base) == before


@every
def test_it_is_not_inert(base: Recipe, key: str) -> None:
    for component in _variants(key):
        assert fingerprint(_applied(component, base)) != fingerprint(base), component


@every
def test_every_argument_changes_the_recipe(base: Recipe, key: str) -> None:
    found = {fingerprint(_applied(component, base)) for component in _variants(key)[:-1]}
    assert len(found) == len(_variants(key)) - 1


@every
def test_twice_is_already_present(base: Recipe, key: str) -> None:
    for component in _variants(key):
        outcome = apply(component, _applied(component, base))
        assert isinstance(outcome, AlreadyPresent)
        assert outcome.reason


@every
def test_it_writes_only_paths_of_its_kind(base: Recipe, key: str) -> None:
    for component in _variants(key):
        for path, value in component.edits(base).items():
            assert may_write(component.kind, path, value), path


@every
def test_its_writes_are_typed(base: Recipe, key: str) -> None:
    for component in _variants(key):
        for path, value in component.edits(base).items():
            assert check(path, value, declarations()[path]) is None


@every
def test_applied_tells_its_edits(base: Recipe, key: str) -> None:
    for component in _variants(key):
        outcome = apply(component, base)
        assert isinstance(outcome, Applied)
        assert outcome.recipe == edit(base, outcome.edits)
        assert set(outcome.edits) <= set(component.edits(base))


@every
def test_its_text_reads_back(base: Recipe, key: str) -> None:
    for component in _variants(key):
        (read,) = parse(format_spec([component]))
        assert read == component
        assert str(read) == str(component)
        assert fingerprint(_applied(read, base)) == fingerprint(_applied(component, base))


@every
def test_its_recipe_reads_back_from_yaml(base: Recipe, key: str) -> None:
    for component in _variants(key):
        recipe = _applied(component, base)
        assert loads(dumps(recipe)) == recipe


@every
def test_a_recipe_written_by_hand_is_the_same(base: Recipe, key: str) -> None:
    for component in _variants(key):
        by_hand = edit(base, dict(component.edits(base)))
        assert fingerprint(by_hand) == fingerprint(_applied(component, base))


@every
def test_its_card_has_all_its_parts(key: str) -> None:
    card = TABLE[key].card()
    assert card.splitlines()[0].endswith(".")
    parts = ["Sets:", "Default:", "Cost:", "Interactions:", "Applies to:", "Reference:"]
    places = [card.find(f"\n{part}") for part in parts]
    assert -1 not in places, card
    assert places == sorted(places)


@every
def test_its_card_names_every_leaf_it_sets(base: Recipe, key: str) -> None:
    for path in TABLE[key]().edits(base):
        assert path in TABLE[key].card(), path


@pytest.mark.parametrize("pair", list(itertools.combinations(TABLE, 2)), ids=",".join)
def test_it_commutes_or_its_reason_is_listed(base: Recipe, pair: tuple[str, str]) -> None:
    one, other = (TABLE[key]() for key in pair)
    first = fingerprint(_applied(other, _applied(one, base)))
    second = fingerprint(_applied(one, _applied(other, base)))
    assert (first != second) == (frozenset(pair) in ORDER_MATTERS)


def test_the_whole_table_stacks_in_every_direction(base: Recipe) -> None:
    forward = stack(base, parse("paper"))
    backward = stack(base, tuple(reversed(parse("paper"))))
    assert fingerprint(forward) == fingerprint(backward)
    assert stack(base, parse("training,architecture")) == forward


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("resnetd", ""),
        ("resnetd(parts=stem+pool+shortcut)", ""),
        ("resnetd(shortcut+stem+pool)", ""),
        ("resnetd(parts=stem+stride+shortcut)", "stem+stride+shortcut"),
        ("resnetd(parts=shortcut+stem)", "stem+shortcut"),
    ],
)
def test_parts_of_resnet_d_are_named_in_any_order(base: Recipe, spec: str, parts: str) -> None:
    (component,) = parse(spec)
    assert _applied(component, base).model.resnet_d_parts == parts
    assert parse(str(component)) == (component,)


@pytest.mark.parametrize("parts", ["stem+pole", "pool+stride", "stem+stem", "+"])
def test_parts_that_do_not_go_together_are_told(base: Recipe, parts: str) -> None:
    with pytest.raises(RecipeError, match="model.resnet_d_parts = .* is not one of stem, pool, st"):
        apply(parse(f"resnetd(parts={parts})")[0], base)


def test_the_average_takes_single_batches_unless_the_recipe_has_a_momentum(base: Recipe) -> None:
    (average,) = parse("ema")
    assert _applied(average, base).model.bn_momentum == 1.0  # ResNet-RS
    own = edit(base, {"model.bn_momentum": 0.01})  # EfficientNet
    assert _applied(average, own).model.bn_momentum == 0.01
    assert isinstance(apply(average, _applied(average, own)), AlreadyPresent)


def test_solarize_wraps_in_the_paper_s_space_unless_it_is_told_not_to(base: Recipe) -> None:
    for spec, wraps in (
        ("ra", True),
        ("ra(wrap=true)", True),
        ("ra(wrap=false)", False),
        ("ra(space=timm)", False),
        ("ra(space=timm, wrap=none)", False),
    ):
        assert _applied(parse(spec)[0], base).augment.randaug_solarize_wrap == wraps, spec
    with pytest.raises(RecipeError, match="randaug_solarize_wrap = true is the resnet_rs space's"):
        apply(parse("ra(space=timm, wrap=true)")[0], base)


def test_the_paper_s_values(base: Recipe) -> None:
    # ResNet-RS-200 at 256 pixels: facts.md section 1, "Hyper-parameters per rung".
    recipe = stack(edit(base, {"optim.epochs": 90}), parse("paper"))
    assert (
        leaves(recipe).items()
        >= {
            "optim.schedule": "cosine",
            "optim.epochs": 350,
            "optim.ema_decay": 0.9999,
            "optim.ema_warmup": True,
            "evaluate.weights": "ema",
            "model.bn_momentum": 1.0,
            "loss.label_smoothing": 0.1,
            "model.drop_path": 0.1,
            "model.drop_path_rule": "stage",
            "augment.randaug_layers": 2,
            "augment.randaug_magnitude": 15.0,
            "augment.randaug_space": "resnet_rs",
            "model.dropout": 0.25,
            "optim.weight_decay": 4e-5,
            "model.se_ratio": 0.25,
            "model.resnet_d": True,
        }.items()
    )
