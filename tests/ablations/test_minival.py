"""What choices read of minival, and what they do without where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ablations.image_noise import ImageNoise, Question
from ablations.ledger import Ledger
from ablations.minival import MinivalImages
from ablations.plans import Plan, minival_by_arm
from ablations.randomised_block import fit_blocks
from ablations.sequential import next_runs
from ablations.stages import decide, stages_of
from tests.ablations.made_up import IMAGES, finish
from tests.ablations.test_stages import CLEAR, frozen


@pytest.fixture
def made(tmp_path: Path) -> tuple[Plan, Ledger]:
    one, ledger = frozen(tmp_path)
    finish(ledger, one, one.runs, CLEAR)
    return one, ledger


def damage(path: Path, how: str) -> None:
    right = np.load(path)
    arrays = {
        "other images": ~right,
        "fewer": right[: len(right) // 2 + 1],
        "a table": right[None],
        "numbers": np.full(len(right), np.nan),
        "none": right[:0],
        "words": np.array(["right"] * len(right)),
    }
    if how in arrays:
        np.save(path, arrays[how])
    elif how == "an archive":
        with path.open("wb") as file:
            np.savez(file, right)
    else:
        path.write_bytes(path.read_bytes()[:50] if how == "cut off" else b"")


@pytest.mark.parametrize(
    "how",
    [
        *("other images", "fewer", "a table", "numbers", "none", "words"),
        *("an archive", "cut off", "empty"),
    ],
)
def test_damaged_images_cost_no_decision(made: tuple[Plan, Ledger], how: str) -> None:
    one, ledger = made
    for run in one.runs:
        damage(ledger.run_folder(run.id) / "minival_correct.npy", how)
    outcomes = [ledger.outcome(run) for run in one.runs]
    images = MinivalImages(ledger, outcomes)
    assert [images.of(run.arm, run.seed) for run in one.runs] == [None] * len(one.runs)
    assert decide(one, ledger)
    closed, _ = next_runs(one, 0, minival_by_arm(outcomes))  # with seeds alone
    assert stages_of(one, ledger).closed == closed


def test_one_damaged_file_of_many_is_left_out(made: tuple[Plan, Ledger]) -> None:
    one, ledger = made
    damage(ledger.run_folder(one.runs[0].id) / "minival_correct.npy", "fewer")
    assert decide(one, ledger)


def test_minival_stands_for_the_evaluated_images_and_is_no_better_known(
    made: tuple[Plan, Ledger],
) -> None:
    """The variance is that of more images; how sure it is comes from those that there are."""
    one, ledger = made
    outcomes = [ledger.outcome(run) for run in one.runs]
    values = minival_by_arm(outcomes)
    images = MinivalImages(ledger, outcomes)
    assert images.stands_for == 2 * IMAGES
    weights = {"ls": 1.0, "base": -1.0}
    fit = fit_blocks(values, {})
    found = ImageNoise(images, fit, values).of({"x": Question(weights=weights)})["x"]
    rows = (
        [images.of("ls", seed) for seed in range(3)],
        [images.of("base", seed) for seed in range(3)],
    )
    effects = [
        100 * (ls - base)
        for ls, base in zip(*rows, strict=True)
        if ls is not None and base is not None
    ]
    centred = [one - one.mean() for one in effects]
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    products = sum(centred[a] * centred[b] for a, b in pairs) / len(pairs)
    known = products.sum() / (IMAGES - 1)
    assert found.variance == pytest.approx(known / (2 * IMAGES), rel=1e-4)
    spread = products.var(ddof=1) / IMAGES  # of K, a mean over the minival images
    assert found.uncertainty == pytest.approx(spread / (2 * IMAGES) ** 2, rel=0.02)
