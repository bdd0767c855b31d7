"""The randomised-block fit: value = arm + seed + error, by least squares, with any cells missing.

Only the arithmetic: sums of squares, degrees of freedom, contrasts and their variance. The arms are
eliminated first, so that nothing is larger than seeds x seeds whatever the number of arms.

Arms may share one training (an average of the weights and the raw weights do); their errors are
then correlated, by an amount that few runs cannot measure. So the error is measured on one arm per
training, and a contrast is charged the larger of its variances with errors independent and equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_ZERO = 1e-9  # of the largest value: spread below this is rounding, not noise

Array = NDArray[np.float64]
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Sums of squares and their degrees of freedom; exactly 0 where they are rounding."""

    error: float
    error_df: int
    seed: float  # after the arms
    seed_df: int


@dataclass(frozen=True, kw_only=True)
class BlockFit:
    """What `fit_blocks` found. Arms without a value are not in it."""

    arms: Mapping[str, int]  # row by arm
    trainings: NDArray[np.intp]  # by arm: equal for arms that share a training
    means: Array  # plain, by arm
    effects: Array  # by arm, adjusted for the seeds that it lacks
    shares: Array  # arms x seeds: 1 / runs of the arm where it has the seed
    seed_information: Array  # seeds x seeds, after the arms
    seed_covariance: Array  # its pseudo-inverse
    spread: Spread

    def contrast(self, weights: Mapping[str, float]) -> tuple[float, float] | None:
        """Return the estimate and its variance in units of the error's, or None.

        None where the arms share too few seeds, directly or through other arms, for the seeds to
        cancel.
        """
        vector = self._vector(weights)
        load = self.shares.T @ vector  # how unevenly the contrast uses the seeds
        covered = self.seed_covariance @ load
        if not np.allclose(self.seed_information @ covered, load, rtol=0, atol=1e-8):
            return None
        shift = covered[None, :] - (self.shares @ covered)[:, None]
        per_run = np.where(self.shares > 0, vector[:, None] * self.shares - shift, 0.0)
        shape = (int(self.trainings.max()) + 1, per_run.shape[1])
        independent, equal = np.zeros(shape), np.zeros(shape)
        np.add.at(independent, self.trainings, per_run**2)
        np.add.at(equal, self.trainings, per_run)
        return float(vector @ self.effects), float(np.maximum(independent, equal**2).sum())

    def difference_of_means(self, weights: Mapping[str, float]) -> float:
        """Return the contrast of the plain means, seeds and all."""
        return float(self._vector(weights) @ self.means)

    def standard_error(self, variance: float) -> float | None:
        """Return the standard error of a contrast, or None without an error to measure it by."""
        if self.spread.error_df == 0 or self.spread.error == 0:
            return None
        return math.sqrt(self.spread.error / self.spread.error_df * variance)

    def mean(self, arm: str) -> tuple[float, float, float] | None:
        """Return the plain mean of an arm, its standard error and Satterthwaite's df, or None.

        A mean holds the spread of the seeds too, which a contrast on shared seeds does not; the
        variance of one run is the sum of two independent mean squares.
        """
        spread = self.spread
        total, df = spread.error + spread.seed, spread.error_df + spread.seed_df
        if df == 0 or total == 0:
            return None
        row = self.arms[arm]
        parts = ((spread.error, spread.error_df), (spread.seed, spread.seed_df))
        satterthwaite = total**2 / sum(part**2 / part_df for part, part_df in parts if part_df)
        error = math.sqrt(total / df / np.count_nonzero(self.shares[row]))
        return float(self.means[row]), error, satterthwaite

    @property
    def seed_correlation(self) -> float | None:
        """Return the correlation of two arms' runs on one seed, or None where there is no error."""
        spread = self.spread
        if spread.error_df == 0 or spread.error == 0:
            return None
        total = (spread.error + spread.seed) / (spread.error_df + spread.seed_df)
        return 1 - spread.error / spread.error_df / total

    def _vector(self, weights: Mapping[str, float]) -> Array:
        vector = np.zeros(len(self.arms))
        for arm, weight in weights.items():
            vector[self.arms[arm]] = weight
        return vector


def fit_blocks(values: Values, trainings: Mapping[str, str]) -> BlockFit:
    """Fit arm + seed to `{arm: {seed: value}}`; every arm must have a value.

    `trainings` names the training of arms that share one.
    """
    fit = _fit(values, trainings)
    first: dict[str, str] = {}
    for arm in values:
        first.setdefault(trainings.get(arm, arm), arm)
    if len(first) == len(values):
        return fit
    spread = _fit({arm: values[arm] for arm in first.values()}, trainings).spread
    # All arms of one training: what differs between them is the only error there is.
    return fit if spread.error_df == 0 else replace(fit, spread=spread)


def _fit(values: Values, trainings: Mapping[str, str]) -> BlockFit:
    arms = {arm: row for row, arm in enumerate(values)}
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(trainings.get(arm, arm), len(numbers)) for arm in values]
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    columns = {seed: column for column, seed in enumerate(seeds)}
    table = np.full((len(arms), len(seeds)), np.nan)
    for arm, by_seed in values.items():
        for seed, value in by_seed.items():
            table[arms[arm], columns[seed]] = value
    cells = ~np.isnan(table)
    sizes = cells.sum(axis=1)
    means = np.where(cells, table, 0.0).sum(axis=1) / sizes
    within = np.where(cells, table - means[:, None], 0.0)
    shares = cells / sizes[:, None]
    information = np.diag(cells.sum(axis=0).astype(float)) - cells.T @ shares
    covariance = np.linalg.pinv(information, rcond=1e-10, hermitian=True)
    seed_effects = covariance @ within.sum(axis=0)
    shifts = shares @ seed_effects
    residual = np.where(cells, within - (seed_effects[None, :] - shifts[:, None]), 0.0)
    seed_df = round(float(np.trace(covariance @ information)))  # the rank: it is a projection
    scale = float(np.nanmax(np.abs(table), initial=1.0))
    rounding = cells.sum() * (_ZERO * scale) ** 2
    error, total = float((residual**2).sum()), float((within**2).sum())
    return BlockFit(
        arms=arms,
        trainings=np.array(groups, dtype=np.intp),
        means=means,
        effects=means - shifts,
        shares=shares,
        seed_information=information,
        seed_covariance=covariance,
        spread=Spread(
            error=error if error > rounding else 0.0,
            error_df=int(cells.sum()) - len(arms) - seed_df,
            seed=total - error if total - error > rounding else 0.0,
            seed_df=seed_df,
        ),
    )
