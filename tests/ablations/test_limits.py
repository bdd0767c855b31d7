from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablations.limits import around, satterthwaite, two_sided


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
