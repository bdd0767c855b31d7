"""What a plan can resolve, against formulas by hand and against the answer's own intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

from ablations import plan
from ablations.attribution import analyse
from ablations.detectable import Prospect, prospect
from ablations.noise import Noise
from ablations.plans import DESCRIBED, Plan, Run, Stopping
from ablations.power import smallest_effect


def noise(seed_sd: float = 1.0, image_variance: float = 0.0, images: int = 600) -> Noise:
    return Noise(
        seed_variance=seed_sd**2,
        seed_df=None,
        image_variance=image_variance,
        images=images,
        source="",
    )


def made(home: Path, add: str = "ls,sd,se,resnetd", seeds: int = 3, **more: object) -> Plan:
    return plan("tiny", add, seeds=seeds, home=home, **more).plan  # type: ignore[arg-type]


def test_a_step_of_a_ladder_is_two_arms_under_the_pooled_error(tmp_path: Path) -> None:
    found = prospect(made(tmp_path), noise(1.5))
    arms, seeds = 6, 3  # base, four rungs, the architecture alone
    df, error = (arms - 1) * (seeds - 1), 1.5 * math.sqrt(2 / seeds)
    assert found.error_df == df
    for one in found.contrasts:
        assert one is not None
        assert one.pointwise == pytest.approx(smallest_effect(error, df, 0.05))
        # Half of alpha for the components, and Holm's first of four steps.
        assert one.verdict == pytest.approx(smallest_effect(error, df, 0.05 / 2 / 4))
        assert one.image_floor == 0
    training = found.split["by_blocks"]["training"]
    assert training.pointwise == pytest.approx(
        smallest_effect(error / math.sqrt(2), df, 0.05), rel=1e-9
    )
    assert training.verdict == pytest.approx(
        smallest_effect(error / math.sqrt(2), df, 0.05 / 2 / 5)  # five sides, by either way
    )
    interaction = found.split["by_blocks"]["interaction"].pointwise
    assert interaction == pytest.approx(smallest_effect(1.5 * math.sqrt(4 / seeds), df, 0.05))


def test_a_factorial_counts_every_run_for_every_effect(tmp_path: Path) -> None:
    found = prospect(made(tmp_path, "ls,sd,se", design="factorial"), noise(1.0))
    error = math.sqrt(4 / (8 * 3))  # the difference of two means of 12 runs
    assert found.contrasts[0] is not None
    assert found.contrasts[0].pointwise == pytest.approx(smallest_effect(error, 14, 0.05))


def test_it_is_what_intervals_of_such_data_would_need(tmp_path: Path) -> None:
    study = made(tmp_path)
    random, widths = np.random.default_rng(0), []
    for _ in range(200):
        seeds = random.normal(0, 0.5, 3)
        values = {
            arm.name: {seed: seeds[seed] + random.normal(0, 1.0) for seed in range(3)}
            for arm in study.layout.arms
        }
        weights = study.layout.contrasts[0].weights
        estimate = analyse(values, {}, {"+ls": weights}).estimates["+ls"]
        assert estimate.standard_error is not None
        widths.append(estimate.standard_error**2)
    error = math.sqrt(np.mean(widths))
    found = prospect(study, noise(1.0)).contrasts[0]
    assert found is not None and found.pointwise is not None
    assert found.pointwise == pytest.approx(smallest_effect(error, 10, 0.05), rel=0.06)


def test_images_are_a_floor_that_seeds_do_not_lower(tmp_path: Path) -> None:
    few, many = (
        prospect(made(tmp_path, "ls,se", seeds), noise(0.3, 50.0, 600)).contrasts[0]
        for seeds in (3, 100)
    )
    assert few is not None and many is not None
    assert few.pointwise is not None and many.pointwise is not None
    floor = smallest_effect(math.sqrt(50 / 600), 599, 0.05)
    assert few.image_floor == many.image_floor == pytest.approx(floor)
    assert floor < many.pointwise < few.pointwise
    assert many.pointwise == pytest.approx(floor, rel=0.02)
    alone = prospect(made(tmp_path, "ls,se"), noise(0.3)).contrasts[0]
    assert alone is not None and alone.pointwise is not None and few.pointwise > alone.pointwise


@pytest.mark.parametrize("seeds", [21, 60])
def test_many_seeds_are_counted_as_few_are(tmp_path: Path, seeds: int) -> None:
    found = prospect(made(tmp_path, seeds=seeds), noise(1.0))
    assert found.error_df == 5 * (seeds - 1)
    assert found.contrasts[0] is not None
    error = math.sqrt(2 / seeds)
    assert found.contrasts[0].pointwise == pytest.approx(
        smallest_effect(error, found.error_df, 0.05)
    )


@pytest.mark.parametrize(
    ("add", "seeds", "df", "enough"),
    [
        ("ls", 1, 0, 7),
        ("ls", 6, 5, 7),
        ("ls,sd", 3, 4, 4),
        ("ls,sd,se", 2, 4, 3),
        ("ls", 7, 6, None),
    ],
)
def test_too_few_errors_for_verdicts_are_told_with_the_remedy(
    tmp_path: Path, add: str, seeds: int, df: int, enough: int | None
) -> None:
    found = prospect(made(tmp_path, add, seeds), noise())
    assert (found.error_df, found.enough_seeds) == (df, enough)
    for one in found.contrasts:
        assert one is not None
        assert (one.verdict is None) == (df < 6)
        assert (one.pointwise is None) == (df == 0)
    if enough is not None:
        assert prospect(made(tmp_path, add, enough), noise()).error_df >= 6
        assert prospect(made(tmp_path, add, enough - 1), noise()).error_df < 6


def test_replicates_of_a_screen_give_its_error(tmp_path: Path) -> None:
    study = made(tmp_path, "ls,sd,se", seeds=1, design="factorial")
    more = [
        Run(id=f"{arm}{seed}", arm=arm, seed=seed)
        for arm in ("base", "ls,sd,se")
        for seed in range(1, 8)
    ]
    found = prospect(replace(study, runs=(*study.runs, *more)), noise(1.0))
    assert found.error_df == 7  # two arms on eight seeds
    assert found.seeds == {"base": 8, "ls,sd,se": 8} | {
        arm: 1 for arm in found.seeds if arm not in ("base", "ls,sd,se")
    }
    # Single runs on seed 0, held against base and full there; their other runs say what seed 0 is.
    effects = [one.pointwise for one in found.contrasts if one is not None]
    assert all(effect is not None for effect in effects)
    assert found.enough_seeds is None


def test_an_average_of_the_same_training_adds_no_error(tmp_path: Path) -> None:
    found = prospect(made(tmp_path, "ls,ema"), noise())
    assert found.error_df == 2  # base and ls; ls,ema is ls again


def test_a_null_contrast_is_tested_by_itself_and_a_described_one_not(tmp_path: Path) -> None:
    study = made(tmp_path, "ls,se", null=True)
    described = replace(study.layout.contrasts[0], family=DESCRIBED)
    layout = replace(study.layout, contrasts=(described, *study.layout.contrasts[1:]))
    found = prospect(replace(study, layout=layout), noise(1.0))
    first, second, *nulls = found.contrasts
    assert first is not None and first.verdict is None and first.pointwise is not None
    error, df = math.sqrt(2 / 3), 12
    assert second is not None  # the only one of its family, which shares with the split
    assert second.verdict == pytest.approx(smallest_effect(error, df, 0.05 / 2))
    assert [one.verdict for one in nulls if one is not None] == pytest.approx(
        [smallest_effect(error, df, 0.05 / 3)] * 3
    )


def test_the_last_look_has_its_seeds_and_its_share_of_alpha(tmp_path: Path) -> None:
    def stopped(most: int | None) -> Prospect:
        stopping = Stopping(until="verdicts", stages=(3, 6), shares=(0.25, 0.75), max_runs=most)
        return prospect(replace(made(tmp_path, "ls,sd"), stopping=stopping), noise(1.0))

    found = stopped(None).contrasts[0]
    assert found is not None
    error, df = math.sqrt(2 / 6), 10
    assert found.pointwise == pytest.approx(smallest_effect(error, df, 0.05))
    assert found.verdict == pytest.approx(smallest_effect(error, df, 0.75 * 0.05 / 2 / 2))
    assert stopped(15).seeds == {"base": 5, "ls": 5, "ls,sd": 5}
    assert stopped(1).seeds == {"base": 3, "ls": 3, "ls,sd": 3}  # that are planned anyway
    width = Stopping(until="0.2", stages=(3, 40), shares=(0.0, 1.0))
    fixed = prospect(replace(made(tmp_path, "ls,sd"), stopping=width), noise(1.0))
    assert fixed == prospect(made(tmp_path, "ls,sd"), noise(1.0))


def test_what_is_not_trained_has_no_size(tmp_path: Path) -> None:
    found = prospect(made(tmp_path, "ls,wd(1e-4),se"), noise())
    assert [one is None for one in found.contrasts] == [False, True, False]


def test_the_power_is_real(tmp_path: Path) -> None:
    """Of effects of the size that is named, four of five are found by the answer's own test."""
    study = made(tmp_path, "ls,sd,ra")
    named = prospect(study, noise(1.0)).contrasts[0]
    assert named is not None and named.pointwise is not None
    random, found, games = np.random.default_rng(1), 0, 500
    weights = study.layout.contrasts[0].weights
    for _ in range(games):
        values = {
            arm.name: {
                seed: random.normal() + named.pointwise * (arm.name == "ls") for seed in range(3)
            }
            for arm in study.layout.arms
        }
        estimate = analyse(values, {}, {"+ls": weights}).estimates["+ls"]
        assert estimate.delta is not None and estimate.standard_error is not None
        found += abs(estimate.delta) > stdtrit(6, 0.975) * estimate.standard_error
    assert abs(found / games - 0.8) < 4 * math.sqrt(0.16 / games)
