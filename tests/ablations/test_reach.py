from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.attribution import Estimate
from ablations.limits import df_of_sum
from ablations.reach import (
    Hurdle,
    chance_to_decide,
    floor,
    growth_to_decide,
    growth_to_width,
    half_width,
)

RULE = Hurdle(alpha=0.05, size=4)
MANY = 1e9  # degrees of freedom: a normal distribution


def estimate(
    delta: float = 0.3,
    seeds: float = 0.1,
    images: float | None = None,
    df: float = MANY,
    images_df: float = MANY,
) -> Estimate:
    parts = (seeds**2, (images or 0.0) ** 2)
    return Estimate(
        delta=delta,
        level=0.95,
        standard_error=math.sqrt(sum(parts)),
        seed_error=seeds,
        image_error=images,
        error_df=df,
        df=df_of_sum(parts[0], df, parts[1], 2 * parts[1] ** 2 / images_df),
    )


def test_a_decided_contrast_needs_no_more_and_a_near_one_as_much_as_the_square_says() -> None:
    critical = stats.norm.isf(0.05 / 4 / 2)
    assert growth_to_decide(estimate(0.3), RULE) == pytest.approx((critical * 0.1 / 0.3) ** 2)
    assert growth_to_decide(estimate(-0.3), RULE) == growth_to_decide(estimate(0.3), RULE)
    assert growth_to_decide(estimate(0.0), RULE) == math.inf


def test_no_growth_decides_what_the_images_hide() -> None:
    assert growth_to_decide(estimate(0.3, images=0.2), RULE) == math.inf
    assert growth_to_decide(estimate(0.3, images=0.05), RULE) > growth_to_decide(estimate(), RULE)


def test_a_rope_decides_what_is_nothing() -> None:
    rope = Hurdle(alpha=0.05, size=4, rope=0.2)
    wanted = (stats.norm.isf(0.05) * 0.1 / 0.2) ** 2
    assert growth_to_decide(estimate(0.0), rope) == pytest.approx(wanted)
    assert growth_to_decide(estimate(0.2), rope) == growth_to_decide(estimate(0.2), RULE)


@pytest.mark.parametrize("rope", [None, 0.25])
@pytest.mark.parametrize(("delta", "images"), [(0.0, None), (0.2, None), (0.5, 0.1), (0.1, 0.05)])
def test_the_chance_of_a_verdict_is_the_share_of_futures_with_one(
    delta: float, images: float | None, rope: float | None
) -> None:
    rule, growth = Hurdle(alpha=0.05, size=2, rope=rope), 3.0
    random = np.random.default_rng(0)
    # Further seeds average to a truth that today's leave uncertain, and add their own noise.
    truth = random.normal(delta, 0.1, 200_000)
    further = random.normal(truth, 0.1 / math.sqrt(growth - 1))
    later = (delta + (growth - 1) * further) / growth
    error = math.hypot(0.1 / math.sqrt(growth), images or 0.0)
    verdict = np.abs(later) > stats.norm.isf(0.05 / 2 / 2) * error
    if rope is not None:
        verdict |= np.abs(later) + stats.norm.isf(0.05) * error < rope
    found = chance_to_decide(estimate(delta, images=images), rule, growth)
    assert found == pytest.approx(verdict.mean(), abs=0.006)


def test_without_further_runs_what_is_decided_is_decided() -> None:
    assert chance_to_decide(estimate(0.9), RULE, 1.0) == 1.0
    assert chance_to_decide(estimate(0.1), RULE, 1.0) == 0.0


@pytest.mark.parametrize("width", [0.3, 0.12, 0.05])
def test_the_growth_to_a_width_brings_it_and_no_less_does(width: float) -> None:
    one = estimate(seeds=0.1, images=0.02, df=8, images_df=200)
    growth = growth_to_width(one, width)
    assert half_width(one, growth) <= width
    assert growth == 1 or half_width(one, growth * 0.999) > width


def test_without_image_noise_the_growth_is_steins() -> None:
    wanted = (stats.t.isf(0.025, 8) * 0.1 / 0.05) ** 2
    assert growth_to_width(estimate(seeds=0.1, df=8), 0.05) == pytest.approx(wanted)
    assert floor(estimate()) == 0.0


def test_a_width_at_or_below_the_floor_is_never_reached() -> None:
    one = estimate(seeds=0.1, images=0.05)
    assert floor(one) == pytest.approx(stats.norm.isf(0.025) * 0.05)
    assert growth_to_width(one, floor(one)) == math.inf
    assert math.isfinite(growth_to_width(one, floor(one) * 1.1))


def test_the_half_width_of_now_is_that_of_the_interval() -> None:
    one = estimate(seeds=0.1, images=0.08, df=20, images_df=40)
    assert one.df is not None
    whole = stats.t.isf(0.025, one.df) * math.hypot(0.1, 0.08)
    assert half_width(one, 1.0) == pytest.approx(whole)


def test_images_that_are_hardly_measured_are_no_floor_yet() -> None:
    """With one degree of freedom their own interval would be wider than any."""
    one = estimate(seeds=0.1, images=0.001, df=8, images_df=0.1)
    assert floor(one) == pytest.approx(stats.t.isf(0.025, 30) * 0.001)
    assert math.isfinite(growth_to_width(one, 0.01))


@pytest.mark.parametrize(("arms", "first", "width"), [(4, 3, 0.12), (7, 3, 0.1)])
def test_intervals_that_were_narrowed_by_more_runs_still_cover(
    arms: int, first: int, width: float
) -> None:
    """Stein's: all runs make the delta, the first stage makes its error and their number."""
    games, random = 4000, np.random.default_rng(1)
    covered = 0
    df = (arms - 1) * (first - 1)
    for noise in random.normal(0, 0.15, (games, arms, 400)):
        values = noise[:, :first]
        rest = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
        square = float((rest**2).sum()) / df
        growth = growth_to_width(estimate(0.0, math.sqrt(2 * square / first), df=df), width)
        runs = min(math.ceil(growth * first - 1e-9), 400)
        error = math.sqrt(2 * square / runs)
        assert growth_to_width(estimate(0.0, error, df=df), width * (1 + 1e-9)) == 1
        delta = float(noise[1, :runs].mean() - noise[0, :runs].mean())
        covered += abs(delta) <= stats.t.isf(0.025, df) * error
    luck = 3 * math.sqrt(0.05 * 0.95 / games)
    assert 0.95 - luck <= covered / games <= 0.97  # more where the first stage was enough
