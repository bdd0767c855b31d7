"""What a plan knows of its noise: from runs that are written here, against formulas by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ablations import plan
from ablations.frozen import freeze
from ablations.ledger import Ledger
from ablations.noise import known_noise
from ablations.plans import Plan
from ablations.priors import DISAGREEMENT, IMAGE_VARIANCE, SEED_SD
from ablations.study import Prepared
from recipes import edit
from tests.ablations.conftest import snapshot

Value = Callable[[str, int], float]


def prepared(home: Path, add: str = "ls,sd,se", study: str = "mine", **more: object) -> Prepared:
    return plan("tiny", add, home=home, study=study, **more)  # type: ignore[arg-type]


def finish(made: Prepared, home: Path, value: Value, study: Plan | None = None) -> Plan:
    """Freeze a plan and record all its runs as finished with these accuracies."""
    found = study or made.plan
    ledger = Ledger(home)
    freeze(found, made.request, ledger.study_folder(found.study))
    for run in found.runs:
        ledger.begin(run.id, found.layout.arm(run.arm).recipe, run.seed, found.data)
        ledger.finish(run.id, "finished", {"top1": value(run.arm, run.seed)}, "")
    return found


def random_values(sd: float, seed: int = 0) -> Value:
    random, known = np.random.default_rng(seed), {}

    def value(arm: str, seed: int) -> float:
        return known.setdefault((arm, seed), 80 + random.normal(0, sd))

    return value


def test_without_runs_it_is_assumed_and_follows_the_number_of_images(tmp_path: Path) -> None:
    made = prepared(tmp_path).plan
    few, many = (known_noise(made, images, Ledger(tmp_path)) for images in (599, 50_000))
    # Two runs that disagree on a share of the images, by chance, have half of it as p (1 - p).
    assert few.seed_sd == pytest.approx(100 * math.sqrt(DISAGREEMENT / 2 / 599))
    assert many.seed_sd == pytest.approx(SEED_SD)
    assert few.image_sd == pytest.approx(math.sqrt(IMAGE_VARIANCE / 599))
    assert few.seed_df is None
    assert "assumed: the home has too few runs" in few.source and few.source.endswith("(assumed)")


def test_what_is_given_counts(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    finish(made, tmp_path, random_values(1.0))
    found = known_noise(made.plan, 599, Ledger(tmp_path), 0.25)
    assert found.seed_sd == pytest.approx(0.25)
    assert "0.25 points between seeds (as --noise 0.25 says)" in found.source


def test_the_plan_s_own_runs_say_what_the_answer_will(tmp_path: Path) -> None:
    value = random_values(1.0)
    made = prepared(tmp_path, seeds=4)
    study = finish(made, tmp_path, value)
    table = np.array([[value(arm.name, seed) for seed in range(4)] for arm in study.layout.arms])
    centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    df = (len(table) - 1) * 3
    found = known_noise(study, 599, Ledger(tmp_path))
    assert (found.seed_variance, found.seed_df) == (pytest.approx((centred**2).sum() / df), df)
    assert f"measured: {table.size} runs of this plan's arms, {df} degrees" in found.source
    again = known_noise(study, 599, Ledger(tmp_path))
    assert again == found


def test_dummies_are_no_measure_of_runs_that_share_their_seeds(tmp_path: Path) -> None:
    value = random_values(1.0)
    with_nulls = prepared(tmp_path, null=True)
    study = finish(with_nulls, tmp_path, lambda arm, seed: value(arm, seed) * (1 - ("null" in arm)))
    found = known_noise(study, 599, Ledger(tmp_path))
    assert found.seed_df == (len(study.layout.arms) - len(study.layout.dummies) - 1) * 2


def test_other_studies_are_asked_where_the_plan_has_no_runs(tmp_path: Path) -> None:
    value = random_values(1.0)
    finish(prepared(tmp_path, "ra,do,se", study="other"), tmp_path, value)
    before = snapshot(tmp_path)
    made = prepared(tmp_path, "ls", settings=("optim.lr=0.3",)).plan
    found = known_noise(made, 599, Ledger(tmp_path))
    assert found.seed_df == 8  # five arms on three seeds
    assert "measured: 15 runs of resnet18 on these data, 8 degrees" in found.source
    assert snapshot(tmp_path) == before


def test_other_protocols_and_other_data_say_nothing(tmp_path: Path) -> None:
    value = random_values(1.0)
    finish(
        prepared(tmp_path, study="crop", settings=("evaluate.crop_fraction=0.9",)), tmp_path, value
    )
    made = prepared(tmp_path, "ra,do,se", study="elsewhere")
    elsewhere = dataclasses.replace(made.plan, data_fingerprint="0" * 20)
    finish(made, tmp_path, value, elsewhere)
    asked = prepared(tmp_path, "ls", settings=("optim.lr=0.3",)).plan
    assert known_noise(asked, 599, Ledger(tmp_path)).seed_df is None


def test_the_same_backbone_is_asked_before_others(tmp_path: Path) -> None:
    made = prepared(tmp_path, "ra,do,se", study="large")
    arms = tuple(
        dataclasses.replace(arm, recipe=edit(arm.recipe, {"model.backbone": "resnet34"}))
        for arm in made.plan.layout.arms
    )
    runs = tuple(dataclasses.replace(run, id=f"large{run.id}"[:20]) for run in made.plan.runs)
    layout = dataclasses.replace(made.plan.layout, arms=arms)
    large = dataclasses.replace(made.plan, layout=layout, runs=runs)
    finish(made, tmp_path, random_values(5.0, 1), large)
    asked = prepared(tmp_path, "ls", settings=("optim.lr=0.3",)).plan
    only_others = known_noise(asked, 599, Ledger(tmp_path))
    assert "15 runs of this home on these data" in only_others.source
    finish(prepared(tmp_path, "ra,do,se", study="small"), tmp_path, random_values(0.5, 2))
    both = known_noise(asked, 599, Ledger(tmp_path))
    assert "15 runs of resnet18 on these data" in both.source
    assert both.seed_sd < 1 < only_others.seed_sd


def test_zero_spread_is_no_measure(tmp_path: Path) -> None:
    study = finish(prepared(tmp_path), tmp_path, lambda arm, seed: 90.0)
    assert known_noise(study, 599, Ledger(tmp_path)).seed_df is None


def answer(study: Plan, home: Path, images: int, seed: int, how: str) -> float:
    """Write predictions of runs whose chance of being right differs by image; return its variance.

    Every component moves the chance of each image, by amounts of its own.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, images)
    chance = {"": random.uniform(0.3, 0.7, images)}
    moved = {one.key: random.normal(0, 0.1, images) for one in study.layout.full.components}
    ledger = Ledger(home)
    for run in study.runs:
        inside = [one.key for one in study.layout.arm(run.arm).components]
        p = np.clip(chance[""] + sum((moved[key] for key in inside), np.zeros(images)), 0, 1)
        right = random.random(images) < p
        folder = ledger.run_folder(run.id)
        if how == "correct":
            np.save(folder / "correct.npy", np.packbits(right))
        else:  # wrong in one way, so that predictions differ where being right does
            predicted = np.where(right, labels, (labels + 1) % 10)
            np.savez_compressed(folder / "predictions.npz", predicted=predicted)
        result = {"top1": 100 * float(right.mean()), "evaluated_images": images}
        ledger.finish(run.id, "finished", result, "")
    return float(np.mean([np.var(100 * move) for move in moved.values()]))


@pytest.mark.parametrize("how", ["correct", "predicted"])
def test_the_image_part_is_the_variance_of_what_changes_are_worth_by_image(
    tmp_path: Path, how: str
) -> None:
    study = finish(prepared(tmp_path, "ls,sd,do"), tmp_path, random_values(1.0))
    wanted = answer(study, tmp_path, 40_000, 0, how)
    found = known_noise(study, 40_000, Ledger(tmp_path))
    assert found.image_variance == pytest.approx(wanted, rel=0.25)  # clipped, and of 9 pairs
    assert found.source.endswith("(measured in the same runs)")
    given = known_noise(study, 40_000, Ledger(tmp_path), 0.2)
    assert given.image_variance == found.image_variance
    assert given.source.endswith("(measured in 12 runs)")


def test_damage_elsewhere_costs_no_plan(tmp_path: Path) -> None:
    other = finish(prepared(tmp_path, "ra,do,se", study="other"), tmp_path, random_values(1.0))
    asked = prepared(tmp_path, "ls", settings=("optim.lr=0.3",)).plan
    ledger = Ledger(tmp_path)
    for run in other.runs:
        (ledger.run_folder(run.id) / "predictions.npz").write_bytes(b"PK\x03\x04 damaged")
    found = known_noise(asked, 599, ledger)
    assert found.seed_df == 8 and found.image_variance == IMAGE_VARIANCE
    (ledger.run_folder(other.runs[0].id) / "result.json").write_text("{")
    assert known_noise(asked, 599, ledger).seed_df is None
    (ledger.study_folder("other") / "plan.yaml").write_text(
        f"data_fingerprint: {asked.data_fingerprint}\n"
    )
    assert known_noise(asked, 599, ledger).seed_df is None
