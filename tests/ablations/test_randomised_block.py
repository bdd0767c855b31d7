from __future__ import annotations

import numpy as np
import pytest

from ablations.randomised_block import BlockFit, fit_blocks


def random_values(arms: int, seeds: int) -> dict[str, dict[int, float]]:
    generator = np.random.default_rng(arms)
    table = generator.normal(80, 1, (arms, 1)) + generator.normal(0, 0.5, (arms, seeds))
    table += generator.normal(0, 0.5, seeds)
    return {f"a{arm}": dict(enumerate(row.tolist())) for arm, row in enumerate(table)}


def contrast(fit: BlockFit, weights: dict[str, float]) -> tuple[float, float] | None:
    """The estimate and its variance in units of a run's, or None."""
    loads = fit.loads(weights)
    return None if loads is None else (fit.estimate(loads), loads.variance)


def test_balanced_runs_have_arms_minus_one_times_seeds_minus_one_degrees_of_freedom() -> None:
    spread = fit_blocks(random_values(7, 3), {}).spread
    assert (spread.error_df, spread.seed_df) == (6 * 2, 2)


def test_seed_correlation_is_the_intraclass_correlation_of_two_way_mean_squares() -> None:
    values = random_values(5, 6)
    table = np.array([list(by_seed.values()) for by_seed in values.values()])
    arms, seeds = table.shape
    by_seed = arms * ((table.mean(axis=0) - table.mean()) ** 2).sum() / (seeds - 1)
    rest = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + table.mean()
    residual = (rest**2).sum() / ((arms - 1) * (seeds - 1))
    expected = (by_seed - residual) / (by_seed + (arms - 1) * residual)
    assert fit_blocks(values, {}).seed_correlation == pytest.approx(expected)


def test_arms_joined_only_through_a_third_are_compared() -> None:
    # b lies 1 above a and c 2 above b; the seeds differ by 10.
    values = {"a": {0: 80.0}, "b": {0: 81.0, 1: 91.0}, "c": {1: 93.0}}
    found = contrast(fit_blocks(values, {}), {"a": -1.0, "c": 1.0})
    assert found == pytest.approx((3.0, 4.0))  # the variance of c - b + b - a


def test_arms_that_no_chain_of_seeds_joins_are_not_compared() -> None:
    values = {"a": {0: 80.0}, "b": {0: 81.0, 1: 91.0}, "c": {2: 93.0}}
    assert contrast(fit_blocks(values, {}), {"a": -1.0, "c": 1.0}) is None


def test_the_error_is_measured_on_one_arm_of_each_training() -> None:
    values = random_values(4, 5)
    alone = {arm: by_seed for arm, by_seed in values.items() if arm != "a3"}
    shared = fit_blocks(values, {"a2": "t", "a3": "t"})
    assert shared.spread == fit_blocks(alone, {}).spread


def test_a_contrast_is_charged_the_larger_of_independent_and_equal_errors() -> None:
    values = random_values(4, 5)
    shared = {"a0": "t", "a1": "t", "a2": "u", "a3": "u"}
    between = {"a0": 0.5, "a1": 0.5, "a2": -0.5, "a3": -0.5}
    within = {"a0": 0.5, "a1": -0.5, "a2": 0.5, "a3": -0.5}
    for weights, trainings, variance in (
        (between, {}, 4 * 0.5**2 / 5),
        (between, shared, 2 * 1.0**2 / 5),  # as of two runs, not four
        (within, shared, 4 * 0.5**2 / 5),
    ):
        found = contrast(fit_blocks(values, trainings), weights)
        assert found is not None and found[1] == pytest.approx(variance)


def test_arms_of_one_training_only_are_compared_by_what_differs_between_them() -> None:
    values = random_values(2, 8)
    shared, apart = fit_blocks(values, {"a0": "t", "a1": "t"}), fit_blocks(values, {})
    weights = {"a0": -1.0, "a1": 1.0}
    assert shared.spread == apart.spread
    assert contrast(shared, weights) == pytest.approx(contrast(apart, weights))


def test_no_values_are_no_arms() -> None:
    fit = fit_blocks({}, {})
    assert (dict(fit.arms), fit.spread.error_df, fit.seed_correlation) == ({}, 0, None)


def test_a_contrast_is_the_sum_of_the_runs_by_its_coefficients() -> None:
    values = random_values(5, 4)
    del values["a1"][2], values["a3"][0], values["a3"][1]
    fit = fit_blocks(values, {})
    loads = fit.loads({"a1": -1.0, "a3": 1.0})
    assert loads is not None
    names, total = list(fit.arms), 0.0
    for row, by_seed in zip(loads.rows, loads.coefficients, strict=True):
        for column, coefficient in enumerate(by_seed):
            total += coefficient * values[names[row]].get(fit.seeds[column], 0.0)
    assert total == pytest.approx(fit.estimate(loads))
    assert (loads.coefficients**2).sum() == pytest.approx(loads.variance)


def test_all_cells_give_what_the_general_form_gives() -> None:
    geometry = fit_blocks(random_values(3, 4), {}).geometry
    general = np.linalg.pinv(geometry.information, rcond=1e-10, hermitian=True)
    assert geometry.covariance == pytest.approx(general)


def test_the_same_runs_have_one_geometry_whatever_their_values() -> None:
    first, second = (
        fit_blocks(random_values(4, 5), {}),
        fit_blocks(random_values(4, 5), {"a1": "x"}),
    )
    assert first.geometry is second.geometry  # a training of its own changes nothing
    assert first.geometry is not fit_blocks(random_values(4, 5), {"a1": "a0"}).geometry
