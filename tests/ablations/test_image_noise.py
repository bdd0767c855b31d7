from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from ablations.attribution import analyse
from ablations.image_noise import ImageNoise, Question
from ablations.randomised_block import fit_blocks

STEP = {"a0": -1.0, "a1": 1.0}


@dataclass(frozen=True)
class Table:
    """Images of runs by arm and seed, each a number (1.0 is right)."""

    rows: dict[tuple[str, int], NDArray[np.floating]]

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        return self.rows.get((arm, seed))

    @property
    def values(self) -> dict[str, dict[int, float]]:
        found: dict[str, dict[int, float]] = {}
        for (arm, seed), row in self.rows.items():
            found.setdefault(arm, {})[seed] = 100 * float(row.mean())
        return found


def game(
    generator: np.random.Generator,
    *,
    runs: dict[str, int],
    images: int = 60,
    arm_sd: float = 0.3,
    seed_sd: float = 0.5,
    noise: dict[str, float] | None = None,
) -> Table:
    """Draw images with a main effect per arm (sd `arm_sd`), one per seed that all arms share
    (`seed_sd`: the predictions of one seed are correlated across arms), and noise of each run."""
    image = generator.normal(0, 1, images)  # hard or easy for all: cancels in a contrast
    shared = generator.normal(0, seed_sd, (max(runs.values()), images))
    return Table(
        {
            (arm, seed): (
                0.8
                + image
                + effect
                + shared[seed]
                + generator.normal(0, (noise or {}).get(arm, 0.4), images)
            )
            for arm, count in runs.items()
            for effect in (generator.normal(0, arm_sd, images),)
            for seed in range(count)
        }
    )


def variance_of(table: Table, weights: dict[str, float], mean: bool = False) -> tuple[float, float]:
    """The images' variance of a contrast (or of an arm's mean), and the variance of that."""
    fit = fit_blocks(table.values, {})
    loads = None if mean else fit.loads(weights)
    found = ImageNoise(table, fit, table.values).of({0: Question(weights=weights, loads=loads)})[0]
    return found.variance, found.uncertainty


def test_it_is_the_covariance_over_images_between_different_seeds() -> None:
    table = game(np.random.default_rng(0), runs={"a0": 4, "a1": 3, "a2": 3})
    weights = {"a0": 0.5, "a1": 0.5, "a2": -1.0}
    sums = [
        sum(100 * weight * table.rows[arm, seed] for arm, weight in weights.items())
        for seed in range(3)  # those that all three have
    ]
    covariance = np.cov(np.array(sums))
    pairs = [covariance[s, t] for s in range(3) for t in range(3) if s != t]
    assert variance_of(table, weights)[0] == pytest.approx(np.mean(pairs) / 60, rel=1e-4)


@pytest.mark.parametrize(
    ("runs", "noise"),
    [
        ({"a0": 2, "a1": 2}, {}),
        ({"a0": 5, "a1": 3, "a2": 3}, {}),
        ({"a0": 3, "a1": 3}, {"a0": 0.1, "a1": 1.5}),  # unequal noise
        ({"a0": 1, "a1": 1, "a2": 3, "a3": 3}, {}),  # a screen: the noise is from replicates
    ],
)
def test_it_is_unbiased_whatever_the_seeds_and_the_noise(
    runs: dict[str, int], noise: dict[str, float]
) -> None:
    generator = np.random.default_rng(1)
    weights = {"a0": -1.0, "a1": 1.0}
    # One game of many images holds as much as many games, and none is clipped at 0.
    images = 200_000
    table = game(generator, runs=runs, images=images, noise=noise)
    found, uncertainty = variance_of(table, weights)
    truth = 2 * (100 * 0.3) ** 2 / images
    assert abs(found - truth) < 4 * uncertainty**0.5
    assert uncertainty**0.5 < 0.05 * truth


@pytest.mark.parametrize("runs", [3, 1])
def test_an_arms_mean_has_the_images_main_effect_and_not_the_seeds_part(runs: int) -> None:
    images = 200_000
    table = game(np.random.default_rng(2), runs={"a0": runs, "a1": 3, "a2": 3}, images=images)
    found, uncertainty = variance_of(table, {"a0": 1.0}, mean=True)
    truth = 100**2 * (1 + 0.3**2) / images
    assert abs(found - truth) < 4 * uncertainty**0.5
    assert uncertainty**0.5 < 0.05 * truth


def test_its_uncertainty_is_its_spread_over_games() -> None:
    generator = np.random.default_rng(3)
    pairs = [
        variance_of(game(generator, runs={"a0": 3, "a1": 3}, arm_sd=1.0), STEP) for _ in range(400)
    ]
    spread = np.var([variance for variance, _ in pairs], ddof=1)
    said = np.mean([uncertainty for _, uncertainty in pairs])
    assert said == pytest.approx(spread, rel=0.25)


def test_right_and_wrong_images_have_binomial_noise() -> None:
    generator = np.random.default_rng(4)
    chance = generator.random(20_000)
    rows = {
        (arm, seed): (generator.random(20_000) < chance).astype(float)
        for arm in ("a0", "a1")
        for seed in range(3)
    }
    table = Table(rows)
    # Nothing but luck differs between two arms that are one; an image's chance differs.
    assert variance_of(table, STEP)[0] < 4 * variance_of(table, STEP)[1] ** 0.5
    mean, _ = variance_of(table, {"a0": 1.0}, mean=True)
    assert mean == pytest.approx(100**2 * chance.var() / 20_000, rel=0.05)


def test_many_arms_in_groups_give_what_few_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = game(np.random.default_rng(5), runs={f"a{arm}": 3 for arm in range(12)})
    contrasts = {f"c{arm}": {f"a{arm}": -1.0, f"a{arm + 1}": 1.0} for arm in range(11)}
    contrasts["all"] = {f"a{arm}": (-1.0) ** arm for arm in range(12)}
    at_once = analyse(table.values, {}, contrasts, images=table)
    monkeypatch.setattr("ablations.image_noise._AT_ONCE", 120)  # two rows
    monkeypatch.setattr("ablations.image_noise._HELD", 0)
    in_groups = analyse(table.values, {}, contrasts, images=table)
    for name, one in at_once.estimates.items():
        assert in_groups.estimates[name].image_error == pytest.approx(one.image_error, rel=1e-4)
    for arm, mean in at_once.means.items():
        assert in_groups.means[arm].image_error == pytest.approx(mean.image_error, rel=1e-4)


def test_the_error_is_that_of_seeds_and_images_together() -> None:
    table = game(np.random.default_rng(6), runs={"a0": 4, "a1": 4, "a2": 4})
    alone = analyse(table.values, {}, {"x": STEP}).estimates["x"]
    both = analyse(table.values, {}, {"x": STEP}, images=table)
    one = both.estimates["x"]
    assert one.seed_error == alone.standard_error and alone.image_error is None
    assert one.image_error and one.seed_error and one.standard_error and one.df
    assert one.standard_error**2 == pytest.approx(one.seed_error**2 + one.image_error**2)
    variance, uncertainty = variance_of(table, STEP)
    assert one.image_error**2 == pytest.approx(variance)
    assert alone.df is not None
    whole = one.standard_error**2
    df = whole / (one.seed_error**2 / alone.df + uncertainty / 2 / whole)
    assert one.df == pytest.approx(df)
    assert (one.error_df, both.images) == (6, 60)


def test_what_is_not_known_of_one_arm_leaves_the_others_alone() -> None:
    table = game(np.random.default_rng(7), runs={f"a{arm}": 3 for arm in range(4)})
    values = table.values
    rows = {run: row for run, row in table.rows.items() if run[0] != "a3"}
    rows["a0", 2] = rows["a0", 2][:-1]  # other images than all others
    values["a0"][2] = 100 * float(rows["a0", 2].mean())
    contrasts = {"x": STEP, "y": {"a2": -1.0, "a3": 1.0}}
    found = analyse(values, {}, contrasts, images=Table(rows))
    assert found.images == 60
    assert found.estimates["x"].image_error is not None  # from the two seeds that are known
    assert found.estimates["y"].image_error is None
    alone = analyse(values, {}, contrasts).estimates["y"]
    assert found.estimates["y"].interval == alone.interval
    nothing = analyse(values, {}, contrasts, images=Table({}))
    assert nothing.estimates == analyse(values, {}, contrasts).estimates
    assert nothing.images == 0


@pytest.mark.parametrize("runs", [{"a0": 1, "a1": 1}, {"a0": 1}, {"a0": 3}, {"a0": 2, "a1": 1}])
def test_few_runs_do_no_harm(runs: dict[str, int]) -> None:
    table = game(np.random.default_rng(8), runs=runs)
    contrasts = {"x": STEP} if "a1" in runs else {}
    analyse(table.values, {}, contrasts, images=table)


def test_arms_that_share_a_training_are_charged_no_less() -> None:
    table = game(np.random.default_rng(9), runs={f"a{arm}": 3 for arm in range(4)})
    shared = analyse(
        table.values, {}, {"x": STEP}, images=table, trainings={"a0": "t", "a1": "t"}
    ).estimates["x"]
    apart = analyse(table.values, {}, {"x": STEP}, images=table).estimates["x"]
    assert shared.image_error == apart.image_error


@pytest.mark.parametrize("wrong", [float("nan"), 5.0])
def test_images_that_do_not_give_the_value_are_named(wrong: float) -> None:
    table = game(np.random.default_rng(10), runs={"a0": 3, "a1": 3})
    values = table.values
    table.rows["a1", 2][0] = wrong
    with pytest.raises(ValueError, match="images of arm 'a1', seed 2 have a mean of .* value is"):
        analyse(values, {}, {"x": STEP}, images=table)


def test_an_uncertain_part_of_the_images_never_leaves_fewer_degrees_of_freedom_than_the_seeds() -> (
    None
):
    # Without it 2 % of such contrasts had less than 2, and some an interval of 1e16 points.
    random = np.random.default_rng(5)
    for _ in range(60):
        right = random.random((4, 3, 100)) < 0.9
        table = Table({(f"a{a}", s): right[a, s].astype(float) for a in range(4) for s in range(3)})
        found = analyse(table.values, {}, {"x": STEP}, images=table).estimates["x"]
        assert found.df is not None and found.error_df is not None
        assert found.df >= found.error_df
