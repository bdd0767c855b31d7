"""The notes about uncertainty, through the document; silent where there is nothing to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablations.attribution import Estimate
from ablations.plans import NULL, Outcome, Plan
from ablations.power import smallest_effect
from ablations.report import document
from ablations.report.uncertainty import lack_of_fit
from tests.ablations.report.studies import Evaluated, changed, has_note, study


def note(found: dict[str, list[str]], start: str) -> str:
    (one,) = (one for one in found["notes"] if one.startswith(start))
    return one


def with_null(plan: Plan, outcomes: list[Outcome], shift: float) -> tuple[Plan, list[Outcome]]:
    """Add an arm that is the base again, this far from it."""
    layout, base = plan.layout, plan.layout.arms[0]
    again = replace(base, name="base again")
    first = layout.contrasts[0]
    null = replace(
        first,
        label="base again",
        component=None,
        control="base",
        treatment="base again",
        weights={"base": -1.0, "base again": 1.0},
        family=NULL,
    )
    more = [
        replace(one, run=replace(one.run, arm="base again"), value=one.value + shift + wobble)
        for one in outcomes
        if one.run.arm == "base" and one.value is not None
        for wobble in (0.05 * (-1) ** one.run.seed,)
    ]
    arms = (*layout.arms, again)
    layout = replace(layout, arms=arms, contrasts=(*layout.contrasts, null))
    return replace(plan, layout=layout), [*outcomes, *more]


def test_the_two_families_say_how_they_share_alpha() -> None:
    found = note(document(*study()), "tests: ")
    assert found.startswith("tests: 5 of the split and 4 of the components share alpha 0.05")
    assert not has_note(document(*study("ls,sd", "one-at-a-time")), "share alpha")


def test_a_look_that_may_use_a_part_of_alpha_says_so() -> None:
    plan, outcomes = study()
    whole, part = document(plan, outcomes), document(plan, outcomes, spent=0.25)
    assert has_note(part, "stopped at a look that may use 0.25 of alpha")
    assert not has_note(whole, "may use")
    for one, other in zip(whole["contrasts"], part["contrasts"], strict=True):
        assert other["interval"] == one["interval"]
        assert other["p_holm"] == pytest.approx(min(4 * one["p_holm"], 1.0))


def test_the_noise_of_seeds_and_images_is_told_apart() -> None:
    plan, outcomes = study()
    images = Evaluated(outcomes)
    found = document(plan, images.outcomes, images=images)
    told = note(found, "measured noise: one run differs by sd ")
    assert "by the 1000 images, which more seeds cannot lower" in told
    assert not has_note(found, "seeds alone")
    alone = document(plan, images.outcomes)
    assert "images" not in note(alone, "measured noise: ")
    assert note(alone, "intervals are of seeds alone").endswith("is not known")
    pairs = list(zip(alone["contrasts"], found["contrasts"], strict=True))
    assert all(one["interval"][0] >= other["interval"][0] for one, other in pairs)
    assert any(one["interval"][0] > other["interval"][0] for one, other in pairs)


def test_arms_whose_images_are_not_known_are_named() -> None:
    plan, outcomes = study()
    images = Evaluated(outcomes)
    for seed in range(4):
        images._rows.pop(("ls,sd", seed))
    found = document(plan, images.outcomes, images=images)
    assert has_note(found, "the intervals of +sd, +se are of seeds alone, for these images and no")


def test_one_seed_and_published_numbers_have_nothing_to_tell() -> None:
    found = document(*study(seeds=1))
    for word in ("seeds alone", "measured noise", "share alpha", "hold all at once"):
        assert not has_note(found, word)


def test_arms_that_differ_in_their_spread_are_told() -> None:
    plan, outcomes = study(seeds=8)
    wild = [
        replace(one, value=(one.value or 0) + 4.0 * (-1) ** one.run.seed)
        if one.run.arm == "ls,sd"
        else one
        for one in outcomes
    ]
    found = document(plan, wild)
    assert has_note(found, "arms differ in their spread between seeds (Bartlett, p <0.001)")
    assert not has_note(document(plan, outcomes), "differ in their spread")
    few = document(*_three(plan, wild))
    assert has_note(few, "(Welch); no verdict, fewer than 6 degrees of freedom: +ls, +sd, +se")


def _three(plan: Plan, outcomes: list[Outcome]) -> tuple[Plan, list[Outcome]]:
    runs = tuple(run for run in plan.runs if run.seed < 3)
    kept = [one for one in outcomes if one.run.seed < 3]
    return replace(plan, runs=runs, seeds=(0, 1, 2)), kept


def test_first_in_and_last_in_stand_side_by_side() -> None:
    plan, outcomes = study("ls,ra,se", "factorial")
    bands = []
    for contrast in plan.layout.contrasts:
        key = contrast.component or ""
        full = plan.ends[-1]
        others = ",".join(part for part in full.split(",") if part != key)
        for estimand, control, treatment in (
            ("alone", "base", key),
            ("in_recipe", others, full),
        ):
            weights = {control: -1.0, treatment: 1.0}
            bands.append(replace(contrast, estimand=estimand, weights=weights, family="described"))
    layout = replace(plan.layout, contrasts=(*plan.layout.contrasts, *bands))
    found = document(replace(plan, layout=layout), outcomes)
    told = note(found, "first in to last in: +ls +1.")
    assert told.count("] to +") + told.count("] to -") == 3
    assert "+ra " in told and "+se +" in told
    for one in found["contrasts"][3:]:
        assert (one["verdict"], one["p_holm"]) == (None, None)
        assert one["p"] is not None and one["interval"] is not None


def test_effects_that_sum_to_the_whole_are_no_proof_of_additivity() -> None:
    found = note(document(*study("ls,sd,se", "leave-one-out")), "lack of fit: ")
    assert "the effects (in recipe) sum to" in found
    assert "no evidence against additivity; a gap of " in found
    assert "with 80 % power" in found


def test_effects_that_depend_on_their_context_are_told() -> None:
    plan, outcomes = study("ls,sd,se", "leave-one-out")
    found = document(plan, changed_values(outcomes, "ls,sd,se", 3.0))
    assert "effects do not add" in note(found, "lack of fit: ")


def changed_values(outcomes: list[Outcome], arm: str, shift: float) -> list[Outcome]:
    return [
        replace(one, value=(one.value or 0) + shift) if one.run.arm == arm else one
        for one in outcomes
    ]


def test_the_smallest_gap_is_the_one_that_is_found_four_times_in_five() -> None:
    gap = Estimate(delta=0.1, level=0.95, interval=(-0.3, 0.5), standard_error=0.19, df=12, p=0.6)
    (told,) = lack_of_fit("alone", gap)
    assert f"a gap of {smallest_effect(0.19, 12, 0.05):.2f} would be found" in told
    assert list(lack_of_fit("alone", Estimate(delta=0.1, level=0.95))) == []


@pytest.mark.parametrize(("shift", "called"), [(0.0, 0), (5.0, 1)])
def test_null_contrasts_read_out_how_often_nothing_is_called_something(
    shift: float, called: int
) -> None:
    plan, outcomes = with_null(*study(seeds=10), shift)
    found = document(plan, outcomes)
    told = note(found, "null calibration, what is 0 by construction (base again): ")
    assert f"{called} of 1 called helps or hurts; largest |t| " in told
    without = document(*study(seeds=10))
    assert not has_note(without, "null calibration")
    for one, other in zip(found["contrasts"], without["contrasts"], strict=False):
        assert one["verdict"] == other["verdict"]


def test_a_failed_null_arm_is_not_read_out() -> None:
    plan, outcomes = with_null(*study(), 0.0)
    gone = changed(outcomes, "base again", {0, 1, 2, 3}, status="failed", value=None)
    assert not has_note(document(plan, gone), "null calibration")
