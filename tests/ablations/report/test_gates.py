"""The sanity gates: each at its boundary, by an independent formula; silent where all is well."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import binomtest

from ablations.attribution import analyse
from ablations.designs import lay_out
from ablations.plans import Outcome, Plan, Run, values_by_arm
from ablations.report import document
from ablations.report.gates import (
    Finished,
    at_ceiling,
    at_chance,
    finished,
    gates,
    is_at_ceiling,
    is_at_chance,
    loader_bound,
    outside_band,
    without_spread,
)
from recipes import edit, load, parse
from recipes.library import about, names

WELL = {
    "loss": 0.5,
    "evaluated_images": 599,
    "chance_top1": 10.18,
    "train_seconds": 10.0,
    "data_seconds": 1.0,
}


def arm(name: str, *values: float, **known: Any) -> Finished:
    return Finished(
        arm=name,
        values=tuple(enumerate(values)),
        losses=known.pop("losses", (None,) * len(values)),
        **{"images": 599, "chance": 10.18} | known,
    )


def study(base: str = "tiny", spec: str = "ls,se", seeds: int = 2, **edits: Any) -> Plan:
    layout = lay_out("ladder", edit(load(base), edits), parse(spec))
    runs = [
        Run(id=f"{place}-{seed}", arm=one.name, seed=seed)
        for place, one in enumerate(layout.arms)
        for seed in range(seeds)
    ]
    return Plan(
        study="demo",
        base=base,
        layout=layout,
        seeds=tuple(range(seeds)),
        runs=tuple(runs),
        data=layout.arms[0].recipe.data.dataset,
        data_fingerprint="0" * 20,
    )


def made(plan: Plan, value: float = 92.0, **known: Any) -> list[Outcome]:
    """Return finished runs with a little spread, of which all else is `known`."""
    return [
        Outcome(run=run, status="finished", value=value + 0.5 * run.seed, **known)
        for run in plan.runs
    ]


def notes(plan: Plan, outcomes: list[Outcome]) -> list[str]:
    zero_spread = analyse(values_by_arm(outcomes), {}, {}).zero_spread
    found = gates(plan, outcomes, zero_spread)
    assert set(found) <= set(document(plan, outcomes)["notes"])
    return found


# Nothing to say ---------------------------------------------------------------------------------


def test_a_study_in_which_all_is_well_has_no_note() -> None:
    plan = study()
    assert notes(plan, made(plan, **WELL)) == []


@pytest.mark.parametrize("missing", WELL)
def test_what_an_older_version_did_not_record_opens_no_gate(missing: str) -> None:
    plan = study()
    known = {name: value for name, value in WELL.items() if name != missing}
    assert notes(plan, made(plan, **known)) == []
    assert notes(plan, made(plan)) == []


def test_runs_without_a_result_are_not_judged() -> None:
    plan = study()
    outcomes = [Outcome(run=run, status="diverged", **WELL) for run in plan.runs]
    assert gates(plan, outcomes, ()) == []
    assert finished(outcomes) == []


# Chance -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "percent"), [(8, 50), (100, 25), (599, 10), (2000, 1)])
def test_chance_is_the_exact_binomial_tail(images: int, percent: int) -> None:
    p = percent / 100
    tail = 0.0
    limit = 0.5 * math.erfc(3 / math.sqrt(2))  # beyond three standard errors
    for right in range(images, -1, -1):
        tail += math.exp(
            math.lgamma(images + 1)
            - math.lgamma(right + 1)
            - math.lgamma(images - right + 1)
            + right * math.log(p)
            + (images - right) * math.log(1 - p)
        )
        assert is_at_chance(100 * right / images, percent, images) == (tail >= limit), right


@pytest.mark.parametrize(("images", "chance"), [(10_000, 10.0), (50_000, 10.0), (50_000, 50.0)])
def test_on_many_images_the_limit_is_three_standard_errors(images: int, chance: float) -> None:
    error = math.sqrt(chance * (100 - chance) / images)
    assert is_at_chance(chance + 2.95 * error, chance, images)
    assert not is_at_chance(chance + 3.05 * error, chance, images)


@pytest.mark.parametrize("images", [1, 8, 100, 50_000])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.6, 1.0])
def test_a_constant_answer_and_less_is_at_chance(images: int, share: float) -> None:
    chance = 100 * math.ceil(share * images) / images  # of a class that has an image at least
    assert all(is_at_chance(part * chance, chance, images) for part in (0.0, 0.5, 1.0))


def test_an_unbalanced_set_has_a_higher_chance() -> None:
    assert is_at_chance(90.0, 90.0, 1000)
    assert not is_at_chance(90.0, 50.0, 1000)


def test_all_arms_at_chance_are_told_once() -> None:
    found = list(at_chance([arm("base", 9.0, 10.0), arm("ls", 11.0, 10.0)]))
    assert found == [
        "all arms are at chance, not clearly above the 10.18 that a constant answer gets on these"
        " 599 images: base 9.50, ls 10.50; no difference between them means anything"
    ]


def test_an_arm_at_chance_is_named_with_its_number() -> None:
    (found,) = at_chance([arm("base", 92.0, 93.0), arm("ls", 11.0, 10.0)])
    assert found.startswith("at chance, not clearly above the 10.18 that a constant answer gets")
    assert "599 images: ls 10.50; a delta to or from there says whether a network learned" in found
    assert "base" not in found
    (alone,) = at_chance([arm("base", 10.0)])  # nothing else has finished
    assert "base 10.00" in alone
    assert not alone.startswith("all arms")


def test_a_run_at_chance_in_an_arm_that_is_not_is_told() -> None:
    (found,) = at_chance([arm("base", 92.0, 93.0), arm("ls", 91.0, 10.0, 90.0)])
    assert found.startswith("runs at chance in arms that are not, not clearly above the 10.18")
    assert "images: ls, seed 1 10.00; they widen every interval" in found


# The ceiling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "images", "full"),
    [
        (94.0, 100, False),  # 6 wrong
        (95.0, 100, True),
        (94.1, 100, True),  # 5.9 wrong on average
        (99.4, 1000, False),
        (99.49, 50_000, False),  # 255 wrong
        (99.5, 50_000, True),
        (100.0, 1, True),
    ],
)
def test_the_ceiling_is_too_few_errors_or_too_small_a_share(
    value: float, images: int, full: bool
) -> None:
    assert is_at_ceiling(value, images) == full


@pytest.mark.parametrize("wrong", range(1, 12))
def test_on_few_images_the_ceiling_is_where_a_perfect_arm_could_not_be_told(wrong: int) -> None:
    p = float(binomtest(wrong, wrong).pvalue)  # all differences in one direction
    assert is_at_ceiling(100 - wrong, 100) == (p > 0.05)


def test_arms_at_the_ceiling_are_named_with_their_errors() -> None:
    (found,) = at_ceiling([arm("base", 99.5, 99.7), arm("ls", 97.0), arm("se", 100.0)])
    assert found.startswith("at the ceiling: base 99.60 (2.4 of 599 wrong), se 100.00 (0.0 of 599")
    assert "ls" not in found.partition(";")[0]
    assert "more or harder images, or train on fewer (data.train_fraction)" in found


def test_half_of_a_few_images_is_chance_and_not_the_ceiling() -> None:
    few = [arm("base", 50.0, images=8, chance=50.0)]
    assert list(at_ceiling(few)) == []
    assert len(list(at_chance(few))) == 1
    all_right = [arm("base", 100.0, images=8, chance=50.0)]
    assert len(list(at_ceiling(all_right))) == 1
    assert list(at_chance(all_right)) == []


# The band of the base ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 50.0, 100.0])
@pytest.mark.parametrize("name", names())
def test_a_base_of_the_library_is_held_against_what_it_says_of_itself(
    name: str, value: float
) -> None:
    expected = about(name).get("expected_top1")
    found = list(outside_band(study(name, "ls"), [arm("base", value)]))
    outside = expected is not None and not expected["low"] <= value <= expected["high"]
    assert len(found) == outside


def test_the_band_includes_its_ends_and_is_told_with_the_number() -> None:
    plan, expected = study(), about("tiny")["expected_top1"]
    low, high = expected["low"], expected["high"]
    for value in (low, expected["value"], high):
        assert list(outside_band(plan, [arm("base", value)])) == []
    (found,) = outside_band(plan, [arm("base", low - 2.0, low - 1.0), arm("ls", 0.0)])
    assert f"tiny gives {low - 1.5:.2f}, expected is {expected['value']:g} [{low:g}" in found
    assert "environment.json" in found
    (found,) = outside_band(plan, [arm("base", high + 0.01)])
    assert found.startswith("the base is outside its expected band")
    assert list(outside_band(plan, [arm("ls", 0.0)])) == []  # the base has not finished


def test_the_precision_of_the_hardware_leaves_the_base_what_it_is() -> None:
    plan = study(**{"optim.precision": "bf16"})
    assert len(list(outside_band(plan, [arm("base", 50.0)]))) == 1


@pytest.mark.parametrize(
    "plan",
    [
        study(**{"optim.epochs": 50}),
        study(**{"data.dataset": "cifar10"}),
        replace(study(), base="mine.yaml"),
        replace(study(), base="resnet18"),  # of timm
    ],
)
def test_nothing_is_expected_of_another_base_or_other_data(plan: Plan) -> None:
    assert list(outside_band(plan, [arm("base", 50.0)])) == []


# Spread -----------------------------------------------------------------------------------------


def test_an_arm_whose_seeds_agree_is_told_with_what_the_losses_say() -> None:
    same, other = (0.5, 0.5), (0.5, 0.4)
    arms = [
        arm("base", 80.0, 80.0, losses=same),
        arm("ls", 81.0, 81.0, losses=other),
        arm("se", 82.0, 82.0),
        arm("ls,se", 83.0, 83.0, losses=same),
    ]
    assert list(without_spread(arms)) == [
        "zero spread: all seeds of base gave 80.00, of ls,se gave 83.00, and one loss: the seed"
        " changes nothing",
        "zero spread: all seeds of ls gave 81.00; their losses differ",
        "zero spread: all seeds of se gave 82.00",
    ]


def test_a_deterministic_arm_among_others_and_all_of_them_are_noted() -> None:
    plan = study()
    outcomes = made(plan, **WELL)
    flat = [replace(one, value=92.0) if one.run.arm == "ls" else one for one in outcomes]
    (found,) = notes(plan, flat)
    assert (
        found == "zero spread: all seeds of ls gave 92.00, and one loss: the seed changes nothing"
    )
    (found,) = notes(plan, [replace(one, value=92.0) for one in outcomes])
    assert found.count(" gave ") == len(plan.layout.arms)


# The loader -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "told"), [(0.0, 0), (0.5, 0), (0.51, 1), (1.0, 1)])
def test_waiting_for_more_than_half_of_training_is_told(share: float, told: int) -> None:
    assert len(list(loader_bound([arm("base", 90.0, waiting=share)]))) == told


def test_the_share_is_that_of_all_runs_that_recorded_it() -> None:
    plan = study(seeds=3)
    times = {0: (9.0, 10.0), 1: (30.0, 90.0), 2: (None, 50.0)}
    outcomes = [
        replace(one, data_seconds=times[one.run.seed][0], train_seconds=times[one.run.seed][1])
        for one in made(plan)
    ]
    assert {one.waiting for one in finished(outcomes)} == {39 / 100}
    assert notes(plan, outcomes) == []
    slow = [
        replace(one, data_seconds=62.0) if (one.run.arm, one.run.seed) == ("ls", 1) else one
        for one in outcomes
    ]
    (found,) = notes(plan, slow)
    assert "is most of the training: 71.0 % in ls; images per second are the loader's" in found
    assert finished([replace(one, train_seconds=0.0) for one in outcomes])[0].waiting is None
