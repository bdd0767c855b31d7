from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.limits import around, critical, df_of_sum, satterthwaite, two_sided


def test_limits_and_p_are_those_of_students_t() -> None:
    assert around(1.0, 0.5, 7, 0.1) == pytest.approx(stats.t.interval(0.9, 7, 1.0, 0.5))
    assert two_sided(-1.3, 0.5, 4.5) == pytest.approx(2 * stats.t.sf(2.6, 4.5))


def test_satterthwaite_matches_the_two_moments_of_a_sum_of_chi_squares() -> None:
    parts = [(0.3, 4.0), (1.2, 9.0), (0.0, 2.0)]
    mean = sum(variance for variance, _ in parts)
    # The variance of an estimated variance with f degrees of freedom is 2 v^2 / f.
    spread = sum(2 * variance**2 / df for variance, df in parts)
    assert satterthwaite(parts) == pytest.approx(2 * mean**2 / spread)
    assert satterthwaite([(0.7, 5.0)]) == pytest.approx(5.0)


def test_two_equal_variances_have_welchs_degrees_of_freedom() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(0, 1, 5), generator.normal(0, 3, 9)
    parts = [(float(x.var(ddof=1)) / len(x), len(x) - 1.0) for x in (a, b)]
    reference = stats.ttest_ind(a, b, equal_var=False)
    assert satterthwaite(parts) == pytest.approx(float(reference.df))


@pytest.mark.parametrize("df", [6, 12, 24])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.05 / 20])
@pytest.mark.parametrize("ratio", [0.05, 0.2, 1.0, 5.0])
def test_a_known_part_beside_a_mean_square_keeps_the_level(
    df: int, alpha: float, ratio: float
) -> None:
    # The error of the first kind, integrated over what the mean square of variance 1 may be.
    squares = stats.chi2.ppf((np.arange(400) + 0.5) / 400, df) / df
    reach = [
        critical(df_of_sum(square, df, ratio, 0.0), alpha) * math.sqrt(square + ratio)
        for square in squares.tolist()
    ]
    level = float((2 * stats.norm.sf(np.array(reach) / math.sqrt(1 + ratio))).mean())
    assert 0.55 * alpha < level < 1.1 * alpha


def test_degrees_of_freedom_of_a_sum_lie_between_those_of_its_parts() -> None:
    assert df_of_sum(0.5, 6, 0.0, 0.0) == pytest.approx(6)
    assert df_of_sum(0.5, 6, 0.5, 0.0) == pytest.approx(12)
    # An images' part that may be anything leaves what the seeds have.
    assert df_of_sum(0.5, 6, 0.0, 1.0) == 6
    # Of images alone: 2 v^2 over the variance of v.
    assert df_of_sum(1e-12, 6, 0.5, 0.01) == pytest.approx(2 * 0.5**2 / 0.01, rel=1e-6)
