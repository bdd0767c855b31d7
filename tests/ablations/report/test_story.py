"""What pages show of a study: steps that add up, ranges over orders, curves over seeds."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.ledger import Ledger
from ablations.nulls import with_nulls
from ablations.plans import Outcome, Run
from ablations.report.story import REST, ZERO
from tests.ablations.report.studies import changed, story, study


@pytest.mark.parametrize("design", ["ladder", "bracket", "shapley", "factorial"])
def test_steps_add_up_from_the_base_to_the_full_recipe(design: str) -> None:
    told = story(*study("ls,sd,se", design=design))
    level = told.document["base"]["value"]
    for step in told.steps:
        assert step.start == pytest.approx(level)
        level = step.end
    full = max(told.arms, key=lambda arm: len(arm.components))
    assert level == pytest.approx(full.value, abs=0.005)
    assert [step.label for step in told.steps if step.label != REST] == ["+ls", "+sd", "+se"]


def test_a_ladder_s_steps_are_the_document_s_contrasts_and_have_sides() -> None:
    told = story(*study("ls,sd,se,resnetd"))
    for step, contrast in zip(told.steps, told.document["contrasts"], strict=True):
        assert step.end - step.start == pytest.approx(contrast["delta"])
        assert list(step.interval or ()) == contrast["interval"]
    assert [step.side for step in told.steps] == ["training"] * 2 + ["architecture"] * 2


def test_the_band_of_a_step_is_its_range_over_all_pairs_of_trained_arms() -> None:
    told = story(*study("ls,sd,se", design="factorial"))
    value = {frozenset(arm.components): arm.value for arm in told.arms}
    steps = [step for step in told.steps if step.label != REST]
    assert len(steps) == 3
    for step in steps:
        own = step.label[1:]
        others = sorted({"ls", "sd", "se"} - {own})
        subsets = itertools.chain.from_iterable(
            itertools.combinations(others, count) for count in range(3)
        )
        worth = [
            (value[frozenset({*subset, own})] or 0) - (value[frozenset(subset)] or 0)
            for subset in subsets
        ]
        assert len(worth) == 4
        assert step.band == pytest.approx((min(worth), max(worth)))


def test_bands_and_pairs_compare_arms_on_the_seeds_that_they_share() -> None:
    plan, outcomes = study("ls,sd,se", design="factorial")
    apart = [replace(one, value=(one.value or 0) + 1.8 * one.run.seed) for one in outcomes]
    whole = story(plan, apart)
    part = story(plan, changed(apart, "ls,se", {1, 2, 3}, status="missing", value=None))
    for pair, one in whole.pairs.items():  # one seed is noisier, and no seed counts for another
        assert part.pairs[pair].delta == pytest.approx(one.delta, abs=0.5)
    for one, other in zip(whole.steps, part.steps, strict=False):
        assert other.band == pytest.approx(one.band, abs=0.5)
    alone = changed(apart, "ls,se", {0, 1, 2, 3}, status="missing", value=None)
    assert story(plan, alone).pairs["ls", "se"].squares == 1


def test_a_pair_without_a_whole_square_is_what_the_study_asked_for() -> None:
    plan, outcomes = study("ls,sd,se", design="screen", interactions=())
    assert all(pair.squares for pair in story(plan, outcomes).pairs.values())


def test_true_zeros_are_no_changes_and_have_a_side_of_their_own() -> None:
    plan, outcomes = study("ls,se")
    layout = with_nulls(plan.layout)
    values = {one.run.arm: one for one in outcomes if one.run.seed == 0}
    added = [
        Outcome(
            run=Run(id=f"{arm.name}-{seed}", arm=arm.name, seed=seed),
            status="finished",
            value=85.0 + seed,
        )
        for arm in layout.arms
        if arm.name not in values
        for seed in range(4)
    ]
    runs = (*plan.runs, *(one.run for one in added))
    told = story(replace(plan, layout=layout, runs=runs), [*outcomes, *added])
    sides = {arm.name: arm.side for arm in told.arms}
    assert {side for name, side in sides.items() if "null" in name} == {ZERO}
    assert not any("null" in sentence for sentence in told.headline)
    assert not any("null" in name for pair in told.pairs for name in pair)


def test_what_was_trained_in_one_order_has_no_band() -> None:
    told = story(*study("ls,sd,ra", design="ladder"))
    assert [step.band for step in told.steps] == [None] * 3


def test_steps_end_before_one_without_a_number() -> None:
    plan, outcomes = study("ls,sd,se")
    broken = changed(outcomes, "ls,sd", {0, 1, 2, 3}, status="failed", value=None)
    told = story(plan, broken)
    assert [step.label for step in told.steps] == ["+ls"] and told.planned == 3


def test_an_accuracy_s_interval_lies_between_0_and_100() -> None:
    plan, outcomes = study("ls", seeds=2)
    low = [replace(one, value=1.0 + 6 * one.run.seed) for one in outcomes]
    for arm in story(plan, low).arms:
        assert arm.interval is not None and arm.interval[0] == 0.0


def test_arms_say_what_they_change_what_they_cost_and_how_much_of_them_is_there() -> None:
    plan, outcomes = study("ls,se")
    told = story(plan, changed(outcomes, "ls", {1}, status="diverged", value=None))
    arms = {arm.name: arm for arm in told.arms}
    assert arms["base"].changes == () and arms["base"].side == "base"
    assert arms["ls"].changes == (("loss.label_smoothing", "0", "0.1"),)
    assert (arms["ls"].n, arms["ls"].runs, arms["ls"].side) == (3, 4, "training")
    assert (arms["se"].side, arms["ls,se"].side) == ("architecture", "both")
    assert arms["ls,se"].params == 1200 and arms["ls,se"].memory is None
    assert arms["ls,se"].hours == pytest.approx(11.5 / 3600)


def test_interactions_are_means_over_the_squares_of_arms_that_were_trained() -> None:
    told = story(*study("ls,sd,se", design="factorial"))
    value = {frozenset(arm.components): arm.value or 0.0 for arm in told.arms}
    assert list(told.pairs) == [("ls", "sd"), ("ls", "se"), ("sd", "se")]
    for (first, second), pair in told.pairs.items():
        (other,) = {"ls", "sd", "se"} - {first, second}
        squares = [
            value[frozenset({first, second, *rest})]
            - value[frozenset({first, *rest})]
            - value[frozenset({second, *rest})]
            + value[frozenset(rest)]
            for rest in ((), (other,))
        ]
        assert pair.delta == pytest.approx(sum(squares) / 2)
        assert (pair.squares, pair.verdict) == (2, None)


def test_a_pair_that_the_study_asks_for_has_the_contrast_s_number_and_verdict() -> None:
    told = story(*study("ls,se", design="one-at-a-time", interactions=("ls:se",)))
    (contrast,) = [one for one in told.document["contrasts"] if one["label"] == "ls x se"]
    pair = told.pairs["ls", "se"]
    assert (pair.delta, pair.verdict) == (contrast["delta"], contrast["verdict"])


def test_curves_are_means_over_seeds_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    plan, outcomes = study("ls", seeds=3)
    ledger = Ledger(tmp_path)
    ids = {}
    for place, run in enumerate(plan.runs):
        ids[run.id] = f"{place:020x}"
    runs = tuple(type(run)(id=ids[run.id], arm=run.arm, seed=run.seed) for run in plan.runs)
    outcomes = [
        type(one)(**{**vars(one), "run": run}) for one, run in zip(outcomes, runs, strict=True)
    ]
    for run in runs:
        folder = ledger.run_folder(run.id)
        folder.mkdir(parents=True)
        rows = [{"epoch": epoch, "train/loss": run.seed + 10.0 / epoch} for epoch in (1, 2)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if run.seed == 2:  # it is at its second epoch, and writes its row just now
            text = text[: text.index("\n") + 9]
        (folder / "metrics.jsonl").write_text(text)
        (folder / "environment.json").write_text(json.dumps({"python": "3", "cores": run.seed % 2}))
    told = story(plan, outcomes, ledger)
    curve = told.curves["train/loss"]["ls"]
    assert curve.epochs == (1, 2) and curve.n == 3
    assert curve.mean == pytest.approx((11.0, 5.5))
    assert curve.low == pytest.approx((10.0, 5.0)) and curve.high == pytest.approx((12.0, 6.0))
    assert "val/top1" not in told.curves  # nothing was held out
    assert told.environments == ({"cores": 0, "python": "3"}, {"cores": 1, "python": "3"})
    assert [run.environment for run in told.runs][:3] == [0, 1, 0]
