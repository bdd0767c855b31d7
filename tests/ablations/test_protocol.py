"""One study has one protocol: arms are evaluated alike, or a component says that it is another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ablations.certificate import check
from ablations.designs import lay_out
from ablations.protocol import check_protocol
from lightning_modules import Execution
from recipes import Component, Kind, Recipe, RecipeError, apply, edit, load, parse
from recipes.component import PROTOCOL
from tests.ablations.certified import certificates


@dataclass(frozen=True)
class Larger(Component):
    """Evaluate at more pixels than were trained at."""

    key, kind, changes_protocol = "larger", Kind.TRAINING, True

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Set how it is evaluated."""
        return {"evaluate.resolution": 20, "evaluate.crop_fraction": 0.9}


@dataclass(frozen=True)
class Quiet(Larger):
    """The same, without saying so."""

    changes_protocol = False


def test_a_component_that_does_not_say_so_may_not_change_the_protocol() -> None:
    with pytest.raises(RecipeError, match="may not write evaluate.res.*changes_protocol = True"):
        apply(Quiet(), load("tiny"))


def test_a_declared_exception_is_noted_and_its_arm_certified(execution: Execution) -> None:
    layout = lay_out("one-at-a-time", load("tiny"), [Larger(), *parse("ls")])
    name = str(Larger())
    assert check_protocol(layout) == [
        f"+{name} is another protocol: evaluate.resolution = 20 where the base has 0",
        f"+{name} is another protocol: evaluate.crop_fraction = 0.9 where the base has 1",
    ]
    found = certificates(layout, execution)
    check(found)
    assert found[1].declared["evaluate.resolution"] == (0, 20)


def test_equal_protocols_need_no_note() -> None:
    assert check_protocol(lay_out("ladder", load("tiny"), parse("ema,ls,se"))) == []


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("evaluate.split", "minival"),
        ("evaluate.resolution", 24),
        ("evaluate.crop_fraction", 0.5),
        ("evaluate.interpolation", "bilinear"),
        ("data.dataset", "cifar10"),
        ("data.minival_fraction", 0.25),
    ],
)
def test_arms_by_another_protocol_are_refused_with_both_values(leaf: str, value: Any) -> None:
    layout = lay_out("ladder", edit(load("tiny"), {"data.minival_fraction": 0.1}), parse("ls,se"))
    base, first, *others = layout.arms
    changed = replace(first, recipe=edit(first.recipe, {leaf: value}))
    with pytest.raises(RecipeError, match=rf"ls sets {leaf} = .* where the base has .*: one study"):
        check_protocol(replace(layout, arms=(base, changed, *others)))


def test_what_is_protocol_is_what_a_plan_shows() -> None:
    leaves = {leaf.partition(".")[2] for leaf in PROTOCOL}
    assert leaves == {"split", "resolution", "crop_fraction", "interpolation"}
