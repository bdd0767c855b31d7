"""Power against a direct integral, statsmodels, simulation and a table that was made without it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import gammaln, ndtr, stdtrit
from statsmodels.stats.power import TTestIndPower, TTestPower

from ablations.power import power_of, smallest_effect

# sd of a run, runs by arm: two arms with their own errors, the same at 1/10 of the level, and on
# shared seeds with a correlation of 0 and of 0.5. Points, 80 % power, two-sided 5 %.
TABLE = [
    (0.1, 3, 0.31, 0.58, 0.46, 0.33),
    (0.1, 5, 0.20, 0.31, 0.24, 0.17),
    (0.2, 3, 0.61, 1.16, 0.92, 0.66),
    (0.2, 5, 0.40, 0.61, 0.47, 0.34),
    (0.2, 10, 0.27, 0.37, 0.28, 0.20),
]


def by_integral(noncentrality: float, df: float, alpha: float) -> float:
    """The definition: a normal over the root of a chi-squared, integrated over the latter."""
    reach = stdtrit(df, 1 - alpha / 2)
    u = np.linspace(1e-7, 8, 200_001)
    log_density = math.log(2) + df / 2 * math.log(df / 2) - gammaln(df / 2)
    density = np.exp(log_density + (df - 1) * np.log(u) - df * u * u / 2)
    found = 1 - ndtr(reach * u - noncentrality) + ndtr(-reach * u - noncentrality)
    return float(np.trapezoid(density * found, u))


@pytest.mark.parametrize("df", [1, 2.5, 6, 30, 599])
@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.05 / 44])
def test_power_is_the_integral_of_its_definition(df: float, alpha: float) -> None:
    for noncentrality in (0, 0.5, 2, 5, 7, 12):  # scipy's far tail is nan in places
        wanted = by_integral(noncentrality, df, alpha)
        assert power_of(noncentrality, df, alpha) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("sd", "n", "unpaired", "tenth", "paired", "correlated"), TABLE)
def test_the_published_table_comes_out(
    sd: float, n: int, unpaired: float, tenth: float, paired: float, correlated: float
) -> None:
    two = sd * math.sqrt(2 / n)
    for found, wanted in (
        (smallest_effect(two, 2 * n - 2, 0.05), unpaired),
        (smallest_effect(two, 2 * n - 2, 0.05 / 10), tenth),
        (smallest_effect(two, n - 1, 0.05), paired),
        (smallest_effect(two * math.sqrt(0.5), n - 1, 0.05), correlated),
    ):
        assert found == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_it_is_statsmodels_answer(n: int, power: float) -> None:
    words = {"alpha": 0.05, "power": power}
    unpaired = TTestIndPower().solve_power(nobs1=n, **words)
    paired = TTestPower().solve_power(nobs=n, **words)
    mine = smallest_effect(math.sqrt(2 / n), 2 * n - 2, 0.05, power)
    assert mine == pytest.approx(unpaired, rel=1e-4)
    assert smallest_effect(math.sqrt(1 / n), n - 1, 0.05, power) == pytest.approx(paired, rel=1e-4)


def test_effects_of_that_size_are_found_that_often() -> None:
    effect, random, games = smallest_effect(0.1 * math.sqrt(2 / 4), 6, 0.01), 0, 20_000
    draws = np.random.default_rng(random).normal(0, 0.1, (2, games, 4))
    draws[1] += effect
    spread = np.sqrt(draws.var(axis=2, ddof=1).sum(axis=0) / 4)
    t = (draws[1] - draws[0]).mean(axis=1) / spread
    found = np.mean(np.abs(t) > stdtrit(6, 0.995))
    assert abs(found - 0.8) < 4 * math.sqrt(0.8 * 0.2 / games)


def test_it_scales_with_the_error_and_shrinks_with_df() -> None:
    assert smallest_effect(0.3, 12, 0.05) == pytest.approx(3 * smallest_effect(0.1, 12, 0.05))
    sizes = [smallest_effect(1, df, 0.05) for df in (1, 2, 4, 8, 100, 1e6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == pytest.approx(1.959964 + 0.841621, abs=1e-4)  # the normal's quantiles
    assert smallest_effect(0, 12, 0.05) == 0


@pytest.mark.parametrize(
    ("error", "df", "alpha", "power"),
    [(-1, 5, 0.05, 0.8), (1, 0, 0.05, 0.8), (1, 5, 0, 0.8), (1, 5, 0.9, 0.8), (1, 5, 0.05, 1)],
)
def test_what_has_no_answer_is_refused(error: float, df: float, alpha: float, power: float) -> None:
    with pytest.raises(ValueError, match="must be above 0|needs 0 < alpha < power < 1"):
        smallest_effect(error, df, alpha, power)
