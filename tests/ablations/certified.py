"""Layouts and their certificates, made in this process: for the tests of what is certified."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest

from ablations.bases import fit_to_data, resolve
from ablations.certificate import Certificate, certify
from ablations.designs import lay_out
from ablations.plans import Arm, Layout, Split
from lightning_modules import Execution
from lightning_modules.data import data_facts, parse_data
from lightning_modules.probe import observe
from recipes import Component, Kind, Recipe, edit, load, parse


@functools.cache
def on_digits(base: str) -> Recipe:
    return fit_to_data(resolve(base), data_facts(parse_data("digits"), None))[0]


def certificates(layout: Layout, execution: Execution) -> list[Certificate]:
    return certify(layout, {arm.name: observe(arm.recipe, execution) for arm in layout.arms})


def alone(spec: str, base: Recipe | None = None) -> Layout:
    return lay_out("one-at-a-time", base or load("tiny"), parse(spec))


@dataclass(frozen=True)
class Sets(Component):
    """Sets leaves."""

    key = "sets"
    leaves: tuple[tuple[str, Any], ...] = ()
    kind = Kind.TRAINING

    def edits(self, recipe: Recipe) -> Any:
        return dict(self.leaves)


def setting(leaves: dict[str, Any], base: Recipe) -> Layout:
    """The layout of one arm with these leaves, of whichever kind."""
    component = Sets(tuple(leaves.items()))
    arms = (
        Arm(name="base", recipe=base),
        Arm(name="sets", recipe=edit(base, leaves), components=(component,)),
    )
    return Layout(
        design="one-at-a-time",
        arms=arms,
        contrasts=(),
        split=Split(by_ladder={"training": {}, "architecture": {}}, by_blocks=None),
    )


def seen_and_judged(layout: Layout, execution: Execution) -> Certificate:
    with pytest.MonkeyPatch.context() as patch:  # of any kind, for the sake of the test
        patch.setattr("recipes.component._check_kind", lambda *_: None)
        return certificates(layout, execution)[1]


def judged(spec: str, base_seen: Any, execution: Execution) -> list[Certificate]:
    layout = alone(spec)
    arm = layout.arms[1]
    return certify(layout, {"base": base_seen, arm.name: observe(arm.recipe, execution)})
