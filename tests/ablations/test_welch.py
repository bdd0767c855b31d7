from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablations.attribution import analyse
from ablations.randomised_block import fit_blocks
from ablations.welch import DIFFERENT, arm_errors, bartlett

Values = dict[str, dict[int, float]]
STEP = {"step": {"a0": -1.0, "a1": 1.0}}


def table(generator: np.random.Generator, sd: list[float], seeds: int, seed_sd: float) -> Values:
    noise = generator.normal(0, 1, (len(sd), seeds)) * np.array(sd)[:, None]
    rows = 80 + generator.normal(0, seed_sd, seeds) + noise
    return {f"a{arm}": dict(enumerate(row.tolist())) for arm, row in enumerate(rows)}


@pytest.mark.parametrize("seed", range(5))
def test_bartlett_equals_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    samples = [generator.normal(0, 1 + arm, 3 + 2 * arm) for arm in range(4)]
    variances = np.array([sample.var(ddof=1) for sample in samples])
    df = np.array([len(sample) - 1.0 for sample in samples])
    assert bartlett(variances, df) == pytest.approx(stats.bartlett(*samples).pvalue)


def test_bartlett_of_one_arm_or_without_spread_finds_nothing() -> None:
    assert bartlett(np.array([2.0]), np.array([3.0])) == 1.0
    assert bartlett(np.zeros(3), np.full(3, 2.0)) == 1.0
    assert bartlett(np.array([0.0, 1.0]), np.full(2, 2.0)) == 0.0


def test_the_arms_own_variances_pool_to_the_mean_square() -> None:
    values = table(np.random.default_rng(1), [0.1, 0.2, 0.3, 1.0], 6, 0.5)
    del values["a1"][4], values["a2"][0]
    fit = fit_blocks(values, {})
    errors = arm_errors(fit)
    assert errors is not None
    assert errors.df.sum() == pytest.approx(fit.spread.error_df)
    pooled = float(errors.df @ errors.variance) / fit.spread.error_df
    assert pooled == pytest.approx(fit.spread.error_variance)


def test_a_noisy_arm_does_not_widen_the_others() -> None:
    values = table(np.random.default_rng(2), [0.1] * 9 + [3.0], 8, 0.0)
    found = analyse(values, {}, {**STEP, "noisy": {"a0": -1.0, "a9": 1.0}})
    assert found.bartlett is not None and found.bartlett < DIFFERENT
    step, noisy = found.estimates["step"], found.estimates["noisy"]
    assert (step.method, noisy.method) == ("welch", "welch")
    assert (step.standard_error or 9) < 0.5 * (noisy.standard_error or 0)
    assert noisy.error_df == pytest.approx(7, abs=1)  # almost all of it is one arm's
    mean = found.means["a9"]
    reference = stats.ttest_1samp(list(values["a9"].values()), 80).confidence_interval(0.95)
    assert mean.interval == pytest.approx((reference.low, reference.high))


def test_an_arm_with_one_run_stays_pooled() -> None:
    values = table(np.random.default_rng(2), [0.1] * 9 + [3.0], 8, 0.0)
    values["a0"] = {0: values["a0"][0]}
    found = analyse(values, {}, {**STEP, "others": {"a2": -1.0, "a1": 1.0}}).estimates
    assert (found["step"].method, found["others"].method) == ("block", "welch")


def test_two_arms_never_differ() -> None:
    values = table(np.random.default_rng(3), [0.01, 5.0], 12, 0.0)
    found = analyse(values, {}, STEP)
    assert (found.bartlett, found.estimates["step"].method) == (1.0, "block")


def test_equal_arms_are_seldom_called_different_whatever_the_seeds_do() -> None:
    generator = np.random.default_rng(4)
    for seed_sd in (0.0, 2.0):
        found = []
        for _ in range(500):
            errors = arm_errors(fit_blocks(table(generator, [0.3] * 7, 3, seed_sd), {}))
            found.append(errors is not None and errors.differ)
        assert np.mean(found) < DIFFERENT + 3 * (DIFFERENT / 500) ** 0.5


def test_runs_that_agree_by_chance_do_not_make_arms_differ() -> None:
    values = table(np.random.default_rng(5), [0.5] * 6, 3, 0.0)
    values["a3"] = dict.fromkeys(range(3), 80.0)
    found = analyse(values, {}, STEP)
    assert found.zero_spread == ("a3",)
    assert found.bartlett is not None and found.bartlett > DIFFERENT


def test_both_arms_are_covered_where_they_differ() -> None:
    generator, games = np.random.default_rng(6), 400
    contrasts = {**STEP, "noisy": {"a0": -1.0, "a7": 1.0}}
    covered = dict.fromkeys(contrasts, 0)
    for _ in range(games):
        found = analyse(table(generator, [0.1] * 7 + [1.0], 6, 0.5), {}, contrasts).estimates
        for name in covered:
            low, high = found[name].interval or (0.0, 0.0)
            covered[name] += low <= 0 <= high
    for count in covered.values():  # a pooled variance covers the noisy arm in 71 % (measured)
        assert 0.93 - 0.033 < count / games < 0.99 + 0.015
