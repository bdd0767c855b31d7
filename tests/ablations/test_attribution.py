from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols

from ablations.attribution import MIN_ERROR_DF, analyse

Values = dict[str, dict[int, float]]


def random_values(
    seed: int, *, arms: int = 5, seeds: int = 4, missing: int = 0, seed_sd: float = 0.5
) -> Values:
    """Return a game with effects of about 1 point; arm 0 is `a0`. Keeps every arm connected."""
    generator = np.random.default_rng(seed)
    blocks = generator.normal(0, seed_sd, seeds)
    levels = 80 + generator.normal(0, 1, arms)
    values = {
        f"a{arm}": {
            block: float(levels[arm] + blocks[block] + generator.normal(0, 0.3))
            for block in range(seeds)
        }
        for arm in range(arms)
    }
    for _ in range(missing):
        arm = f"a{generator.integers(1, arms)}"
        if len(values[arm]) > 1:
            values[arm].pop(int(generator.choice(list(values[arm]))))
    return values


def steps(values: Values) -> dict[str, dict[str, float]]:
    names = list(values)
    return {
        after: {before: -1.0, after: 1.0} for before, after in zip(names, names[1:], strict=False)
    }


@pytest.mark.parametrize("missing", [0, 3, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_contrasts_equal_statsmodels_ordinary_least_squares(seed: int, missing: int) -> None:
    values = random_values(seed, arms=6, seeds=4, missing=missing)
    rows = [
        {"arm": arm, "seed": str(block), "value": value}
        for arm, by_seed in values.items()
        for block, value in by_seed.items()
    ]
    fit = ols("value ~ C(arm) + C(seed)", pd.DataFrame(rows)).fit()
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=6)
    weights -= weights.mean()
    found = analyse(values, {}, {"mixed": dict(zip(values, weights.tolist(), strict=True))})

    # With treatment coding the effect of a0 is 0 and the others are coefficients 1 to 5.
    vector = np.zeros(len(fit.params))
    vector[1:6] = weights[1:]
    test = fit.t_test(vector)
    estimate = found.estimates["mixed"]
    assert estimate.delta == pytest.approx(float(test.effect[0]))
    assert estimate.interval == pytest.approx(tuple(test.conf_int(0.05)[0]))
    assert estimate.standard_error == pytest.approx(float(np.squeeze(test.sd)))
    assert estimate.p == pytest.approx(float(test.pvalue))
    assert estimate.error_df == fit.df_resid
    assert found.error_df == fit.df_resid


def test_two_arms_are_the_paired_t_test() -> None:
    values = random_values(3, arms=2, seeds=8)
    first, second = (list(by_seed.values()) for by_seed in values.values())
    reference = stats.ttest_rel(second, first)
    interval = reference.confidence_interval(0.95)
    estimate = analyse(values, {}, steps(values)).estimates["a1"]
    assert estimate.delta == pytest.approx(np.mean(second) - np.mean(first))
    assert estimate.interval == pytest.approx((interval.low, interval.high))
    assert estimate.p == pytest.approx(reference.pvalue)
    assert (estimate.n, estimate.error_df) == (8, 7)


def test_simultaneous_intervals_hold_the_pointwise_ones() -> None:
    values = random_values(6)
    for one in analyse(values, {}, steps(values)).estimates.values():
        assert (
            one.simultaneous and one.interval and one.delta and one.error_df and one.standard_error
        )
        assert one.simultaneous[0] < one.interval[0] < one.interval[1] < one.simultaneous[1]
        reach = stats.t.ppf(1 - 0.05 / 4 / 2, one.error_df) * one.standard_error
        assert one.simultaneous[1] - one.delta == pytest.approx(reach)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 5),
    st.floats(-50, 50),
    st.lists(st.floats(-5, 5), min_size=4, max_size=4),
)
def test_constants_and_seed_effects_change_no_estimate(
    seed: int, missing: int, constant: float, by_seed: list[float]
) -> None:
    values = random_values(seed, missing=missing)
    moved = {
        arm: {block: value + constant + by_seed[block] for block, value in cells.items()}
        for arm, cells in values.items()
    }
    before = analyse(values, {}, steps(values)).estimates
    after = analyse(moved, {}, steps(values)).estimates
    for name, estimate in before.items():
        assert after[name].delta == pytest.approx(estimate.delta, abs=1e-7)
        # Whether arms are pooled is asked of the raw variances too, which hold the seeds' effects.
        if after[name].method == estimate.method:
            assert after[name].interval == pytest.approx(estimate.interval, abs=1e-7)


def test_blocks_sum_to_both_minus_none_and_ladder_steps_to_last_minus_first() -> None:
    values = random_values(8, arms=4)
    none, t, a, both = values
    primary = {
        "training": {t: 0.5, none: -0.5, both: 0.5, a: -0.5},
        "architecture": {a: 0.5, none: -0.5, both: 0.5, t: -0.5},
        "whole": {both: 1.0, none: -1.0},
    }
    found = analyse(values, primary, steps(values)).estimates
    delta = {name: one.delta or 0.0 for name, one in found.items()}
    assert delta["training"] + delta["architecture"] == pytest.approx(delta["whole"])
    assert sum(delta[name] for name in steps(values)) == pytest.approx(delta["whole"])
    assert (found["training"].n, found["whole"].n) == (8, 4)


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(20)
    games, arms, seeds = 400, 8, 3
    covered, means_covered = 0, 0
    for _ in range(games):
        truth = generator.normal(0, 0.5, arms)
        noise = generator.normal(0, 0.2, (arms, seeds)) + generator.normal(0, 0.2, seeds)
        values = {
            str(arm): {seed: 80 + truth[arm] + noise[arm, seed] for seed in range(seeds)}
            for arm in range(arms)
        }
        found = analyse(values, {}, {"step": {"0": -1.0, "1": 1.0}})
        low, high = found.estimates["step"].interval or (0.0, 0.0)
        covered += low <= truth[1] - truth[0] <= high
        low, high = found.means["0"].interval or (0.0, 0.0)
        means_covered += low <= 80 + truth[0] <= high
    # Four standard errors of a share of 400 games: 0.044.
    assert covered / games == pytest.approx(0.95, abs=0.044)
    assert means_covered / games == pytest.approx(0.95, abs=0.044)


def test_the_interval_of_a_single_arm_is_that_of_one_sample() -> None:
    values = [80.1, 80.5, 79.9, 80.2]
    mean = analyse({"base": dict(enumerate(values))}, {}, {}).means["base"]
    reference = stats.ttest_1samp(values, 80).confidence_interval(0.95)
    assert mean.interval == pytest.approx((reference.low, reference.high))
    assert (mean.value, mean.n) == (pytest.approx(np.mean(values)), 4)


def test_one_seed_gives_a_delta_and_nothing_else() -> None:
    found = analyse({"a": {0: 80.0}, "b": {0: 81.5}}, {}, {"b": {"a": -1.0, "b": 1.0}})
    one = found.estimates["b"]
    assert (one.delta, one.interval, one.p, one.verdict) == (1.5, None, None, None)
    assert (one.n, one.error_df) == (1, 0)
    assert found.means["a"].interval is None
    assert found.seed_correlation is None


def test_zero_spread_gives_no_interval_and_no_p_of_zero() -> None:
    values = {arm: {seed: 80.0 + place for seed in range(8)} for place, arm in enumerate("abc")}
    found = analyse(values, {}, {"b": {"a": -1.0, "b": 1.0}})
    one = found.estimates["b"]
    assert (one.delta, one.interval, one.p, one.verdict) == (1.0, None, None, None)
    assert one.notes == ("zero spread",)
    assert found.zero_spread == ("a", "b", "c")


def test_one_deterministic_arm_is_named() -> None:
    values = random_values(1)
    values["a2"] = dict.fromkeys(range(4), 80.0)
    assert analyse(values, {}, {}).zero_spread == ("a2",)


def test_seeds_that_move_all_arms_alike_are_zero_spread() -> None:
    values = {
        arm: {seed: 80.1 + place + 0.3 * seed for seed in range(5)}
        for place, arm in enumerate("abc")
    }
    found = analyse(values, {}, {"b": {"a": -1.0, "b": 1.0}})
    assert found.estimates["b"].interval is None
    assert found.estimates["b"].delta == pytest.approx(1.0)
    assert found.means["a"].interval is not None
    assert found.zero_spread == ()


def test_an_arm_without_runs_makes_its_contrasts_null_and_no_others() -> None:
    values = random_values(2)
    values["a2"] = {}
    found = analyse(values, {}, steps(values)).estimates
    assert [name for name, one in found.items() if one.delta is None] == ["a2", "a3"]
    assert (found["a2"].n, found["a2"].interval, found["a2"].verdict) == (0, None, None)


def test_contrasts_of_a_failed_arm_are_unresolved_whether_or_not_some_runs_finished() -> None:
    values = random_values(2)
    values["a4"] = {seed: 99.0 + seed / 100 for seed in range(2)}
    found = analyse(values, {}, steps(values), failed={"a4"}).estimates
    assert found["a4"].verdict == "unresolved"
    assert found["a4"].delta is not None and found["a4"].n == 2
    values["a4"] = {}
    found = analyse(values, {}, steps(values), failed={"a4"}).estimates
    assert (found["a4"].verdict, found["a4"].delta, found["a4"].n) == ("unresolved", None, 0)


@pytest.mark.parametrize("weights", [{}, {"a0": 0.0, "a1": 0.0}])
def test_a_contrast_without_weights_is_null_and_not_in_the_family(
    weights: dict[str, float],
) -> None:
    values = random_values(2)
    with_it = analyse(values, {}, {"nothing": weights, **steps(values)}).estimates
    without = analyse(values, {}, steps(values)).estimates
    assert (with_it["nothing"].delta, with_it["nothing"].n) == (None, 0)
    assert with_it["a1"] == without["a1"]


def test_arms_that_share_no_seed_get_a_difference_without_interval() -> None:
    values = {"a": {0: 80.0, 1: 81.0}, "b": {0: 81.0, 1: 82.5}, "c": {2: 90.0, 3: 92.0}}
    values["d"] = {2: 91.5, 3: 93.0}
    contrasts = {"ab": {"a": -1.0, "b": 1.0}, "ac": {"a": -1.0, "c": 1.0}}
    found = analyse(values, {}, contrasts).estimates
    assert (found["ac"].delta, found["ac"].interval, found["ac"].method) == (10.5, None, "means")
    assert found["ab"].interval is not None and found["ab"].method == "block"
    assert found["ab"].error_df == 2  # one in each of the two parts


def test_verdicts_need_six_degrees_of_freedom() -> None:
    for seeds, possible in ((6, False), (7, True)):
        values = {
            arm: {
                seed: 80 + 5.0 * place + (0.01 * (-1) ** seed) * (place + 1)
                for seed in range(seeds)
            }
            for place, arm in enumerate("ab")
        }
        one = analyse(values, {}, {"b": {"a": -1.0, "b": 1.0}}).estimates["b"]
        assert (one.error_df or 0) >= MIN_ERROR_DF if possible else one.error_df == 5
        assert one.verdict == ("helps" if possible else None)
        assert one.interval is not None


def pair(delta: float, sd: float = 0.1, seeds: int = 10) -> Values:
    noise = sd * np.tile([1.0, -1.0], seeds // 2)
    return {
        "a": dict(enumerate([80.0] * seeds)),
        "b": dict(enumerate((80 + delta + noise).tolist())),
    }


@pytest.mark.parametrize(
    ("delta", "rope", "verdict"),
    [
        (1.0, None, "helps"),
        (-1.0, None, "hurts"),
        (0.01, None, "unresolved"),
        (0.01, 0.5, "equal"),
        (0.2, 0.5, "equal"),  # and wins over helps
        (0.2, 0.21, "helps"),  # the interval reaches out of the rope
        (0.01, 0.05, "unresolved"),
    ],
)
def test_verdicts(delta: float, rope: float | None, verdict: str) -> None:
    weights = {"b": {"a": -1.0, "b": 1.0}}
    assert analyse(pair(delta), {}, weights, rope=rope).estimates["b"].verdict == verdict


def test_equal_reads_the_interval_of_one_minus_two_alpha() -> None:
    values = pair(0.1)
    one = analyse(values, {}, {"b": {"a": -1.0, "b": 1.0}}).estimates["b"]
    reach = stats.t.ppf(0.95, 9) * (one.standard_error or 0)
    for rope, verdict in ((0.1 + reach + 1e-6, "equal"), (0.1 + reach - 1e-6, "helps")):
        found = analyse(values, {}, {"b": {"a": -1.0, "b": 1.0}}, rope=rope)
        assert found.estimates["b"].verdict == verdict


def test_runs_of_one_training_count_once_per_side() -> None:
    values = random_values(4, arms=4, seeds=3)
    main = {"x": {"a0": -0.5, "a1": -0.5, "a2": 0.5, "a3": 0.5}}
    assert analyse(values, {}, main).estimates["x"].n == 6
    shared = {"a2": "t", "a3": "t"}
    assert analyse(values, {}, main, trainings=shared).estimates["x"].n == 3


def test_intervals_cover_the_truth_when_arms_share_trainings() -> None:
    generator = np.random.default_rng(21)
    games, covered, covered_within = 400, 0, 0
    letters = {"": "0", "l": "1", "s": "2", "ls": "3"}
    trainings = {arm + average: name for arm, name in letters.items() for average in ("", "E")}
    for _ in range(games):
        values: Values = {}
        for arm in letters:
            raw = generator.normal(0, 0.2, 3)
            averaged = 0.9 * raw + np.sqrt(1 - 0.9**2) * generator.normal(0, 0.2, 3)
            values[arm] = dict(enumerate((80 + raw).tolist()))
            values[arm + "E"] = dict(enumerate((80 + averaged).tolist()))
        weights = {
            key: {arm: (0.25 if key in arm else -0.25) for arm in values} for key in ("l", "E")
        }
        found = analyse(values, {}, weights, trainings=trainings).estimates
        low, high = found["l"].interval or (0.0, 0.0)
        covered += low <= 0 <= high
        low, high = found["E"].interval or (0.0, 0.0)
        covered_within += low <= 0 <= high
    assert covered / games == pytest.approx(0.95, abs=0.044)
    assert covered_within / games > 0.95  # conservative: the error within a training is smaller


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    with pytest.raises(ValueError, match="arm 'a', seed 3 is (nan|inf): not finite"):
        analyse({"a": {0: 1.0, 3: value}}, {}, {})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"level": 1.0}, "level 1.0 must lie between"),
        ({"rope": 0.0}, "rope 0.0 must be above 0"),
        ({"secondary": {"x": {"a": 1.0}}}, "weights of contrast 'x' sum to 1.0"),
        ({"secondary": {"x": {"z": 0.0}}}, "'x' weighs 'z', which is no arm of these values: 'a'"),
        ({"primary": {"x": {}}, "secondary": {"x": {}}}, "two families, split and components: x"),
        ({"null": {"x": {}}, "described": {"x": {}}}, "two families, null and described: x"),
        ({"spent": 0.0}, "spent 0.0 must be a share"),
    ],
)
def test_impossible_requests_are_refused(change: dict[str, object], match: str) -> None:
    request = {"values": {"a": {0: 1.0}}, "primary": {}, "secondary": {}} | change
    with pytest.raises(ValueError, match=match):
        analyse(**request)  # type: ignore[arg-type]


def test_a_study_without_a_finished_run_has_null_answers() -> None:
    found = analyse({"a": {}, "b": {}}, {}, {"b": {"a": -1.0, "b": 1.0}})
    assert found.estimates["b"].delta is None
    assert (found.means, found.error_df, found.seed_correlation) == ({}, 0, None)


def test_the_memory_of_an_analysis_grows_with_the_runs_not_their_square() -> None:
    peaks = []
    for arms in (500, 2000):  # of 5 seeds: 2,500 and 10,000 runs
        values = random_values(0, arms=arms, seeds=5)
        tracemalloc.start()
        analyse(values, {}, steps(values))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0]
    assert peaks[1] < 1 << 28


def test_no_heavy_library_is_imported() -> None:
    code = (
        "import sys, ablations.report;"
        "print([m for m in ('torch', 'pandas', 'statsmodels', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_true_zeros_are_not_called_anything_where_seeds_move_all_arms_alike() -> None:
    # A dummy has other random numbers, so what a seed does to the others does not cancel in it.
    random = np.random.default_rng(11)
    called = 0
    for _ in range(400):
        shared = random.normal(0, 1, 5)
        values = {
            arm: dict(enumerate(map(float, 80 + shared + random.normal(0, 0.2, 5))))
            for arm in ("base", "a", "b")
        }
        values["again"] = dict(enumerate(map(float, 80 + random.normal(0, 1.02, 5))))
        steps = {"a": {"base": -1.0, "a": 1.0}, "b": {"a": -1.0, "b": 1.0}}
        found = analyse(values, {}, steps, null={"x": {"base": -1.0, "again": 1.0}})
        without = analyse({arm: values[arm] for arm in ("base", "a", "b")}, {}, steps)
        assert found.estimates["a"].interval == pytest.approx(without.estimates["a"].interval)
        p = found.estimates["x"].p
        assert p is not None
        called += p < 0.05
    assert called / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
