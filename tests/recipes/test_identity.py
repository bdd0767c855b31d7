"""Laws of fingerprints: what is in, what is out, and that they never change by themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recipes
from recipes import (
    Facts,
    Hook,
    Recipe,
    Schedule,
    cosine,
    dumps,
    edit,
    fingerprint,
    linear,
    step,
    trajectory,
)
from recipes.identity import active
from recipes.tree import declarations, defaults, leaf_types, value_at
from recipes.validate import is_on

_PATHS = [path for path in declarations() if path != "task"]
_DEPENDENT = [path for path in _PATHS if declarations()[path].switch is not None]


def _other(recipe: Recipe, path: str) -> Any:
    """Return a legal value of a leaf that the recipe does not have."""
    leaf, kind, now = declarations()[path], leaf_types()[path], value_at(recipe, path)
    if path == "optim.bn_batch":
        return recipe.data.batch_size // 2
    if kind is bool:
        return not now
    if kind is str:
        return next(word for word in (*leaf.choices, "another") if word and word != now)
    if kind is int:
        return now + 1
    if kind == tuple[int, ...]:
        return (1, 2, 3, 4)
    if kind == tuple[float, ...]:
        return (0.125, 0.25)
    low = leaf.low if leaf.low is not None else leaf.above
    assert low is not None
    return (low + 2 * leaf.high) / 3 if leaf.high is not None else (now or 0) + 0.5


def _switched(recipe: Recipe, path: str, *, on: bool) -> Recipe:
    switch = declarations()[path].switch
    if switch is None:
        return recipe
    if switch.values:
        choices = declarations()[switch.path].choices
        off = next(word for word in choices if word not in switch.values)
        return edit(recipe, {switch.path: switch.values[0] if on else off})
    if leaf_types()[switch.path] is bool:
        return edit(recipe, {switch.path: on})
    return recipe if on else edit(recipe, {switch.path: 0})


@pytest.mark.parametrize("path", _PATHS)
def test_every_leaf_that_is_on_and_can_change_a_result_is_in(rich: Recipe, path: str) -> None:
    rich = edit(rich, {"augment.randaug_space": "resnet_rs"})  # the one with a Solarize that wraps
    recipe = _switched(rich, path, on=True)
    assert is_on(recipe, path)
    edited = edit(recipe, {path: _other(recipe, path)})
    leaf = declarations()[path]
    assert (fingerprint(edited) != fingerprint(recipe)) == leaf.hashed
    assert (trajectory(edited) != trajectory(recipe)) == (leaf.hashed and leaf.feeds_back)


@pytest.mark.parametrize("path", _DEPENDENT)
def test_dependents_of_a_switch_that_is_off_are_out(rich: Recipe, path: str) -> None:
    recipe = _switched(rich, path, on=False)
    assert not is_on(recipe, path)
    edited = edit(recipe, {path: _other(recipe, path)})
    assert edited != recipe
    assert fingerprint(edited) == fingerprint(recipe)
    assert trajectory(edited) == trajectory(recipe)


def test_defaults_are_out(base: Recipe) -> None:
    assert not set(active(base)) & {p for p in defaults() if value_at(base, p) == defaults()[p]}


def test_required_leaves_are_in(base: Recipe) -> None:
    assert {path for path in declarations() if path not in defaults()} <= set(active(base))


def test_provenance_is_out(base: Recipe) -> None:
    out = {path for path, leaf in declarations().items() if not leaf.hashed}
    assert out == {"optim.base_epochs"}
    assert fingerprint(edit(base, {"optim.base_epochs": 3})) == fingerprint(base)


def test_facts_of_the_backbone_are_out(base: Recipe) -> None:
    facts = Facts(family="ResNet", input_size=224, stages=4, batch_norm=True)
    probed = dataclasses.replace(base, model=dataclasses.replace(base.model, facts=facts))
    assert probed != base
    assert fingerprint(probed) == fingerprint(base)


def test_a_whole_number_is_the_fraction_it_equals(base: Recipe) -> None:
    whole = dataclasses.replace(base.optim, lr=1, warmup_epochs=1)
    fraction = dataclasses.replace(base.optim, lr=1.0, warmup_epochs=1.0)
    first = dataclasses.replace(base, optim=whole)
    second = dataclasses.replace(base, optim=fraction)
    assert first == second
    assert fingerprint(first) == fingerprint(second)


def test_minus_zero_is_zero(base: Recipe) -> None:
    first = edit(base, {"model.dropout": linear(0.5, -0.0), "optim.grad_clip": -0.0})
    second = edit(base, {"model.dropout": linear(0.5, 0)})
    assert first == second
    assert fingerprint(first) == fingerprint(second)
    assert dumps(first) == dumps(second)


@pytest.mark.parametrize("schedule", [linear(0.2), linear(0.2, 0.2), cosine(0.2), step(0.2, 0.2)])
def test_a_constant_schedule_is_the_number(base: Recipe, schedule: Schedule) -> None:
    moving = edit(base, {"loss.label_smoothing": schedule})
    assert fingerprint(moving) == fingerprint(edit(base, {"loss.label_smoothing": 0.2}))


def test_a_constant_schedule_of_the_default_is_off(base: Recipe) -> None:
    assert fingerprint(edit(base, {"model.dropout": linear(0, 0)})) == fingerprint(base)


def test_schedules_that_differ_are_other_recipes(base: Recipe) -> None:
    values = (linear(0.2, 0), cosine(0.2, 0), step(0.2, 0), linear(0.2, 0.1, 0.0), 0.2)
    found = {fingerprint(edit(base, {"model.dropout": value})) for value in values}
    assert len(found) == len(values)


@given(st.floats(0, 0.99))
def test_schedules_however_written_are_the_same(base: Recipe, end: float) -> None:
    short = edit(base, {"model.dropout": linear(0.5, end)})
    points = Schedule("linear", ((0, 0.5), (1, end)))
    assert fingerprint(short) == fingerprint(edit(base, {"model.dropout": points}))


def test_runs_that_differ_in_the_average_share_their_training(base: Recipe) -> None:
    averaged = edit(
        base,
        {
            "optim.ema_decay": 0.9999,
            "optim.ema_warmup": True,
            "evaluate.weights": "ema",
            "model.bn_momentum": 1.0,
        },
    )
    assert fingerprint(averaged) != fingerprint(base)
    assert trajectory(averaged) == trajectory(base)


def test_runs_that_differ_in_the_protocol_share_their_training(base: Recipe) -> None:
    other = edit(base, {"evaluate.split": "minival", "evaluate.crop_fraction": 0.875})
    assert fingerprint(other) != fingerprint(base)
    assert trajectory(other) == trajectory(base)


_HOOK = Hook(name="", hook="loss", target="mine:f", arguments=(("k", 1),), source="0")


@pytest.mark.parametrize(
    "change",
    [
        {"hook": "optimizer"},
        {"target": "mine:g"},
        {"arguments": (("k", 2),)},
        {"arguments": ()},
        {"source": "1"},
    ],
)
def test_everything_of_a_hook_is_in(base: Recipe, change: dict[str, Any]) -> None:
    recipe = edit(base, {"custom.a": _HOOK})
    edited = edit(base, {"custom.a": dataclasses.replace(_HOOK, **change)})
    assert len({fingerprint(r) for r in (base, recipe, edited)}) == 3
    assert len({trajectory(r) for r in (base, recipe, edited)}) == 3


def test_the_name_of_a_hook_is_in_because_it_orders_the_calls(base: Recipe) -> None:
    first, second = edit(base, {"custom.a": _HOOK}), edit(base, {"custom.b": _HOOK})
    assert fingerprint(first) != fingerprint(second)


def test_a_fingerprint_is_twenty_hexadecimal_digits(base: Recipe) -> None:
    for text in (fingerprint(base), trajectory(base)):
        assert len(text) == 20
        int(text, 16)


_WRITTEN_OUT = {
    "augment.randaug_layers": 2,
    "augment.randaug_magnitude": 10.0,
    "augment.randaug_space": "timm",
    "custom.a": ["loss", "mine:f", [["k", 1]], "0"],
    "data.batch_size": 32,
    "data.dataset": "digits",
    "data.flip": True,
    "data.interpolation": "bicubic",
    "data.minival_fraction": 0.1,
    "data.resolution": 16,
    "evaluate.interpolation": "bicubic",
    "evaluate.split": "validation",
    "model.backbone": "resnet18",
    "model.drop_path": 0.1,
    "model.drop_path_rule": "stage",
    "model.layers": [1, 1, 1, 1],
    "optim.decay_factor": 0.1,
    "optim.ema_decay": 0.99,
    "optim.epochs": 9,
    "optim.lr": 0.1,
    "optim.milestones": [0.5, 0.75],
    "optim.momentum": 0.9,
    "optim.optimizer": "sgd",
    "optim.schedule": "step",
    "optim.warmup_epochs": 1.0,
    "optim.weight_decay": "linear(0.0001, 4e-05)",
}


def test_fingerprints_are_pinned(rich: Recipe) -> None:
    # Changing these renames every run that anybody has ever finished: add inert leaves, never
    # change what is hashed. A new meaning of old leaves is RESULTS_VERSION's business.
    recipe = edit(
        rich,
        {
            "optim.weight_decay": linear(1e-4, 4e-5),
            "data.flip": True,
            "model.layers": (1, 1, 1, 1),
            "custom.a": _HOOK,
        },
    )
    assert fingerprint(recipe) == "ed20f63d8513fd848cc2"
    written = json.dumps(_WRITTEN_OUT, sort_keys=True, separators=(",", ":"))
    assert fingerprint(recipe) == hashlib.sha256(written.encode()).hexdigest()[:20]


@pytest.mark.parametrize("seed", ["1", "2"])
def test_fingerprints_do_not_depend_on_the_process(rich: Recipe, seed: str) -> None:
    program = (
        "import sys, recipes; r = recipes.loads(sys.stdin.read());"
        "print(recipes.fingerprint(r), recipes.trajectory(r))"
    )
    root = str(Path(recipes.__file__).parents[1])
    answer = subprocess.run(
        [sys.executable, "-B", "-c", program],
        input=dumps(rich),
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [fingerprint(rich), trajectory(rich)]
