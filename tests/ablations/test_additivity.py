from __future__ import annotations

from dataclasses import replace

import pytest

from ablations.additivity import gaps
from ablations.designs import lay_out
from ablations.plans import DESCRIBED, Layout
from recipes import load, parse


def layout(design: str, spec: str = "ls,sd,se") -> Layout:
    return lay_out(design, load("tiny"), parse(spec))


def value(weights: dict[str, float], layout: Layout, worth: dict[frozenset[str], float]) -> float:
    """A contrast of arms whose means are sums over the sets of components that are in them."""
    total = 0.0
    for arm in layout.arms:
        inside = {component.key for component in arm.components}
        mean = sum(points for keys, points in worth.items() if keys <= inside)
        total += weights.get(arm.name, 0.0) * mean
    return total


ALONE = {frozenset({"ls"}): 1.0, frozenset({"sd"}): -0.5, frozenset({"se"}): 2.0}


@pytest.mark.parametrize("design", ["leave-one-out", "factorial"])
def test_effects_that_add_leave_no_gap(design: str) -> None:
    found = layout(design)
    for gap in gaps(found).values():
        assert sum(gap.values()) == pytest.approx(0.0)
        assert value(gap, found, ALONE) == pytest.approx(0.0)


@pytest.mark.parametrize("design", ["leave-one-out", "bracket", "factorial"])
def test_interactions_that_are_asked_for_are_no_effects_to_sum(design: str) -> None:
    asked = lay_out(design, load("tiny"), parse("ls,sd,se"), interactions=["ls:sd"])
    assert len(asked.contrasts) > len(layout(design).contrasts)
    assert gaps(asked) == gaps(layout(design)) != {}


def test_an_interaction_of_two_opens_a_gap_in_the_recipe_and_none_on_average() -> None:
    pair = {**ALONE, frozenset({"ls", "se"}): 0.7}
    last, average = layout("leave-one-out"), layout("factorial")
    # Each of the two is worth 0.7 more beside the other, which the whole holds once.
    assert value(gaps(last)["in_recipe"], last, pair) == pytest.approx(0.7)
    assert value(gaps(average)["average_over_others"], average, pair) == pytest.approx(0.0)


def test_an_interaction_of_three_opens_a_gap_on_average() -> None:
    three = {**ALONE, frozenset({"ls", "sd", "se"}): 0.8}
    average = layout("factorial")
    # Each effect holds a quarter of it, and the whole all of it.
    gap = value(gaps(average)["average_over_others"], average, three)
    assert gap == pytest.approx(3 * 0.2 - 0.8)


def test_a_ladder_sums_to_the_whole_by_construction() -> None:
    assert gaps(layout("ladder")) == {}


def test_effects_without_an_arm_of_all_components_are_not_summed() -> None:
    assert gaps(layout("one-at-a-time")) == {}
    assert gaps(layout("leave-one-out", "ls")) == {}


def test_what_is_only_described_is_not_summed() -> None:
    found = layout("leave-one-out")
    told = tuple(replace(one, family=DESCRIBED) for one in found.contrasts)
    assert gaps(replace(found, contrasts=told)) == {}


def test_a_component_that_is_asked_about_twice_is_not_summed() -> None:
    found = layout("leave-one-out")
    assert gaps(replace(found, contrasts=(*found.contrasts, found.contrasts[0]))) == {}
