from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ablations import RequestError
from ablations.designs import DESIGNS, lay_out
from ablations.plans import Outcome, Run
from ablations.report import TEXTS, document, render
from recipes import parse
from tests.ablations.report.studies import base_recipe, changed, contrast, has_note, study


def test_the_keys_are_the_contract() -> None:
    found = document(*study())
    assert list(found) == [
        "schema_version", "study", "design", "metric", "protocol", "data", "seeds", "base", "bases",
        "contrasts", "split", "runs", "notes",
    ]  # fmt: skip
    assert list(found["base"]) == ["recipe", "value", "interval", "n"]
    for one in found["contrasts"]:
        assert list(one) == [
            "label", "base", "component", "kind", "outcome", "edits", "control", "treatment",
            "estimand", "delta", "interval", "level", "n", "error_df", "verdict", "p", "p_holm",
            "cost",
        ]  # fmt: skip
        assert list(one["cost"]) == [
            "params", "macs", "train_images_per_second", "peak_memory_bytes", "seconds",
        ]  # fmt: skip
    assert list(found["split"]) == ["by_ladder", "by_blocks"]
    assert list(found["split"]["by_ladder"]) == ["training", "architecture"]
    assert list(found["split"]["by_blocks"]) == ["training", "architecture", "interaction"]
    for sides in found["split"].values():
        for side in sides.values():
            assert list(side) == ["delta", "interval", "n", "verdict"]
    for run in found["runs"]:
        assert list(run) == ["id", "arm", "seed", "status", "value", "seconds"]


@pytest.mark.parametrize("design", ["ladder", "one-at-a-time", "leave-one-out", "factorial"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_document_is_strict_json(design: str, seeds: int) -> None:
    found = document(*study("ls(linear(0.1, 0)),se", design, seeds))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["contrasts"][0]["edits"] == {"loss.label_smoothing": "linear(0.1, 0.0)"}


def test_deltas_values_and_costs_are_those_of_the_runs() -> None:
    plan, outcomes = study()
    found = document(plan, outcomes)
    means = {
        arm.name: np.mean([one.value for one in outcomes if one.run.arm == arm.name])
        for arm in plan.layout.arms
    }
    assert found["base"]["value"] == pytest.approx(means["base"])
    assert found["base"]["n"] == 4 and found["bases"] == [found["base"]]
    for one in found["contrasts"]:
        assert one["delta"] == pytest.approx(means[one["treatment"]] - means[one["control"]])
        low, high = one["interval"]
        assert low < one["delta"] < high
        assert (one["n"], one["error_df"], one["level"]) == (4, (6 - 1) * 3, 0.95)
    assert contrast(found, "+sd")["cost"] == {
        "params": 1200,
        "macs": 5e6,
        "train_images_per_second": None,
        "peak_memory_bytes": None,
        "seconds": 11.5,
    }
    verdicts = {one["component"]: one["verdict"] for one in found["contrasts"]}
    assert verdicts == {"ls": "helps", "sd": "helps", "se": "helps", "resnetd": "hurts"}


def test_the_split_sums_to_the_whole() -> None:
    found = document(*study())
    whole = sum(one["delta"] for one in found["contrasts"])
    ladder, blocks = found["split"]["by_ladder"], found["split"]["by_blocks"]
    for sides in (ladder, blocks):
        total = sides["training"]["delta"] + sides["architecture"]["delta"]
        assert total == pytest.approx(whole)
    assert ladder["training"]["delta"] == pytest.approx(
        contrast(found, "+ls")["delta"] + contrast(found, "+sd")["delta"]
    )
    assert (ladder["training"]["n"], blocks["training"]["n"]) == (4, 8)
    assert blocks["interaction"]["verdict"] == "unresolved"


@pytest.mark.parametrize(("spec", "side"), [("ls,sd", "architecture"), ("se", "training")])
def test_without_both_sides_there_are_no_blocks(spec: str, side: str) -> None:
    split = document(*study(spec))["split"]
    assert split["by_blocks"] is None
    assert split["by_ladder"][side] == {"delta": None, "interval": None, "n": 0, "verdict": None}


@pytest.mark.parametrize(
    ("status", "outcome"), [("present", "already_present"), ("cannot", "not_applicable")]
)
def test_what_was_not_trained_has_null_answers_and_a_reason(status: str, outcome: str) -> None:
    found = document(*study("ls,se", se_ratio=status))
    one = contrast(found, "+se")
    assert one["outcome"] == outcome
    nulls = ("delta", "interval", "verdict", "p", "p_holm", "error_df", "control", "treatment")
    assert [one[key] for key in nulls] == [None] * len(nulls)
    assert one["n"] == 0 and set(one["cost"].values()) == {None}
    assert has_note(found, "+se", outcome.replace("_", " "), f"the backbone's se_ratio: {status}")


def test_a_failed_run_is_shown_and_its_contrasts_are_unresolved() -> None:
    plan, outcomes = study()
    trace = "Traceback (most recent call last):\n  File x\nRuntimeError: loss is\tNaN\n"
    outcomes = changed(outcomes, "ls,sd", {1}, status="diverged", value=None, error=trace)
    found = document(plan, outcomes)
    assert has_note(found, "ls,sd, seed 1: diverged: RuntimeError: loss is NaN")
    assert has_note(found, "some arms lack seeds")
    assert {one["label"] for one in found["contrasts"] if one["verdict"] == "unresolved"} == {
        "+sd",
        "+se",
    }
    assert contrast(found, "+sd")["n"] == 3
    run = next(one for one in found["runs"] if one["arm"] == "ls,sd" and one["seed"] == 1)
    assert (run["status"], run["value"]) == ("diverged", None)


def test_a_failed_arm_has_null_deltas_that_are_unresolved() -> None:
    plan, outcomes = study()
    outcomes = changed(outcomes, "ls,sd", {0, 1, 2, 3}, status="out_of_memory", value=None)
    found = document(plan, outcomes)
    one = contrast(found, "+sd")
    assert (one["delta"], one["n"], one["verdict"]) == (None, 0, "unresolved")
    assert has_note(found, "ls,sd, seed 0: out of memory")
    assert found["split"]["by_blocks"]["training"]["delta"] is None
    assert contrast(found, "+ls")["verdict"] == "helps"


def test_runs_that_are_left_are_counted_and_their_contrasts_null() -> None:
    plan, outcomes = study()
    last = plan.layout.contrasts[-1].treatment or ""
    outcomes = changed(outcomes, last, {0, 1, 2, 3}, status="missing", value=None, seconds=None)
    found = document(plan, outcomes)
    one = contrast(found, "+resnetd")
    assert (one["delta"], one["n"], one["verdict"]) == (None, 0, None)
    assert has_note(found, "4 of 24 runs have not finished")


def test_a_study_before_its_first_run_is_a_document() -> None:
    plan, _ = study()
    found = document(plan, [Outcome(run=run, status="missing") for run in plan.runs])
    assert found["base"] == {"recipe": "tiny", "value": None, "interval": None, "n": 0}
    json.dumps(found, allow_nan=False)


def test_too_few_seeds_give_numbers_without_verdicts_and_say_how_many_would_do() -> None:
    found = document(*study("ls,ra", seeds=3))
    assert contrast(found, "+ls")["interval"] is not None
    assert contrast(found, "+ls")["verdict"] is None
    assert has_note(found, "no verdicts: 4 error degrees of freedom, 6 are needed: 4 seeds")
    enough = document(*study("ls,ra", seeds=4))
    assert contrast(enough, "+ls")["verdict"] == "helps"


def test_one_seed_gives_numbers_without_intervals() -> None:
    found = document(*study(seeds=1))
    assert all(one["delta"] is not None for one in found["contrasts"])
    assert all(one["interval"] is None for one in found["contrasts"])
    assert has_note(found, "no verdicts: 0 error degrees of freedom")


def test_unresolved_equal_and_late_contrasts_are_told() -> None:
    plan, outcomes = study("ls,ra,se")
    found = document(replace(plan, late=frozenset({"+se"}), notes=("from the plan",)), outcomes)
    assert has_note(found, "unresolved with the runs so far: +ra;")
    assert has_note(found, "exploratory: +se")
    assert "from the plan" in found["notes"]
    assert has_note(found, "measured correlation of arms on one seed: 0.9")
    assert has_note(found, "95 % intervals that hold all at once", "+ls [", "+ra [", "+se [")
    equal = document(plan, outcomes, rope=0.5)
    assert contrast(equal, "+ra")["verdict"] == "equal"
    assert has_note(equal, "equal means: within 0.5 points; +ra")


def test_level_is_that_of_the_intervals() -> None:
    plan, outcomes = study()
    wide, narrow = (document(plan, outcomes, level=level) for level in (0.99, 0.8))
    for one, other in zip(wide["contrasts"], narrow["contrasts"], strict=True):
        assert (one["level"], other["level"]) == (0.99, 0.8)
        assert one["interval"][0] < other["interval"][0] < other["interval"][1] < one["interval"][1]


def test_zero_spread_is_told() -> None:
    plan, outcomes = study()
    outcomes = changed(outcomes, "base", {0, 1, 2, 3}, value=85.0)
    found = document(plan, outcomes)
    assert has_note(found, "zero spread: all seeds of base gave 85.00")
    flat = [replace(one, value=80.0 + len(one.run.arm)) for one in outcomes]
    found = document(plan, flat)
    assert {one["interval"] for one in found["contrasts"]} == {None}
    assert has_note(found, "zero spread: the seeds change nothing")


def test_arms_that_share_one_training_are_not_counted_twice() -> None:
    # With and without the average is one training, so ls stands on 3 trainings a side, not 6.
    found = document(*study("ls,ema", "factorial", seeds=3))
    assert contrast(found, "+ls")["n"] == 3
    assert has_note(found, "counted once: base and ema")
    assert has_note(found, "counted once: ls and ls,ema")
    assert document(*study("ls,sd", "factorial", seeds=3))["contrasts"][0]["n"] == 6


def test_two_contrasts_of_one_label_keep_their_own_numbers() -> None:
    plan, outcomes = study()
    first = plan.layout.contrasts[0]
    again = replace(first, weights={arm: -weight for arm, weight in first.weights.items()})
    layout = replace(plan.layout, contrasts=(*plan.layout.contrasts, again))
    found = document(replace(plan, layout=layout), outcomes)["contrasts"]
    assert found[0]["label"] == found[-1]["label"]
    assert found[0]["delta"] == -found[-1]["delta"]


def test_costs_and_times_that_are_not_finite_are_null() -> None:
    plan, outcomes = study()
    bad = [replace(one, seconds=float("nan"), cost={"macs": float("inf")}) for one in outcomes]
    found = document(plan, bad)
    json.dumps(found, allow_nan=False)
    assert set(found["contrasts"][0]["cost"].values()) == {None}


def test_runs_of_other_data_or_of_several_versions_are_refused() -> None:
    plan, outcomes = study()
    told = [replace(one, data_fingerprint="0" * 20, results_version=2) for one in outcomes]
    assert document(plan, told) == document(plan, outcomes)
    other = changed(told, "ls,sd", {1}, data_fingerprint="1" * 20)
    with pytest.raises(RequestError, match=r"run 2-1 \(ls,sd, seed 1\) was made on other data"):
        document(plan, other)
    with pytest.raises(RequestError, match=r"several results versions \(1, 2\)"):
        document(plan, changed(told, "base", {0}, results_version=1))


def test_weights_that_are_no_contrast_are_refused_by_name() -> None:
    plan, outcomes = study()
    for weights, match in (
        (
            {"base": 1.0},
            r"study demo cannot be analysed: the weights of contrast '0 \+ls' sum to 1",
        ),
        ({"base": -1.0, "lz": 1.0}, "'0 .ls' weighs 'lz', which is no arm"),
    ):
        first, *others = plan.layout.contrasts
        layout = replace(plan.layout, contrasts=(replace(first, weights=weights), *others))
        with pytest.raises(RequestError, match=match):
            document(replace(plan, layout=layout), outcomes)


def test_a_finished_run_without_a_finite_value_is_refused_by_name() -> None:
    plan, outcomes = study()
    with pytest.raises(RequestError, match="arm 'base', seed 0 is nan"):
        document(plan, changed(outcomes, "base", {0}, value=float("nan")))


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_is_reported_in_every_format(design: str, form: str) -> None:
    plan, outcomes = study(design=design)
    found = document(plan, outcomes)
    text = render(found, form)
    assert all(one["label"] in text or form == "markdown" for one in found["contrasts"])
    assert [one["verdict"] for one in found["contrasts"] if one["interval"] is None] == []
    assert all(alias in found["notes"] for alias in plan.layout.aliases)


def test_interactions_stand_under_a_heading_of_their_own() -> None:
    plan, outcomes = study()
    layout = lay_out("factorial", base_recipe(), parse("ls,sd,se,resnetd"), interactions=["ls:se"])
    runs = tuple(
        Run(id=f"{arm.name}-{seed}", arm=arm.name, seed=seed)
        for arm in layout.arms
        for seed in range(2)
    )
    plan = replace(plan, layout=layout, runs=runs, seeds=(0, 1))
    values = {run: 80 + 3 * (run.arm in ("ls,se", "base")) + 0.1 * run.seed for run in runs}
    found = document(plan, [Outcome(run=run, status="finished", value=values[run]) for run in runs])
    row = found["contrasts"][-1]
    assert (row["label"], row["component"], row["kind"]) == ("ls x se", None, None)
    assert row["delta"] == pytest.approx((3 + 3) / 4)  # of four contexts, one has both ends
    text = render(found, "table")
    assert (
        text.index("average over others:")
        < text.index("interactions: two together")
        < (text.index("ls x se"))
    )
