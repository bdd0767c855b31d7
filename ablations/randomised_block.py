"""The randomised-block fit: value = arm + seed + error, by least squares, with any cells missing.

Only the arithmetic: sums of squares, degrees of freedom, contrasts and how they weigh the runs. The
arms are eliminated first, so that nothing is larger than seeds x seeds whatever the number of arms.

Arms may share one training (an average of the weights and the raw weights do); their errors are
then correlated, by an amount that few runs cannot measure. So the error is measured on one arm per
training, and a contrast is charged the larger of its variances with errors independent and equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

_ZERO = 1e-9  # of the largest value: spread below this is rounding, not noise
_REMEMBERED = 4096  # cells of a layout whose contrasts are remembered (100 arms of 40 seeds)

Array = NDArray[np.float64]
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Loads:
    """How a contrast weighs the runs: sum(coefficients * values) is its estimate."""

    rows: NDArray[np.intp]  # the arms whose runs it reads
    weights: Array  # by these rows: of the arms' adjusted means
    coefficients: Array  # rows x seeds
    trainings: NDArray[np.intp] | None  # by these rows, from 0; None: no two share one

    @cached_property
    def variance(self) -> float:
        """Return the variance of the estimate, in units of a run's error.

        The larger of those with errors that are independent, and equal in arms of one training.
        """
        return self.variance_of(np.ones(len(self.rows)))

    def variance_of(self, sd: Array) -> float:
        """Return the variance of the estimate where the runs of each row have this sd."""
        return float(np.maximum(*self._both(sd)).sum())

    @cached_property
    def least_variance(self) -> float:
        """Return the smaller of the two variances, in units of a run's error."""
        return float(np.minimum(*self._both(np.ones(len(self.rows)))).sum())

    @cached_property
    def squares(self) -> Array:
        """Return the sum of squared coefficients by row."""
        return np.asarray((self.coefficients**2).sum(axis=1))

    def _both(self, sd: Array) -> tuple[Array, Array]:
        scaled = self.coefficients * sd[:, None]
        squares = scaled**2
        if self.trainings is None:
            return squares, squares
        independent, equal = np.zeros((2, int(self.trainings.max()) + 1, scaled.shape[1]))
        np.add.at(independent, self.trainings, squares)
        np.add.at(equal, self.trainings, scaled)
        return independent, equal**2


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """What depends on which runs there are, and not on their values."""

    cells: NDArray[np.bool_]  # arms x seeds
    trainings: NDArray[np.intp]  # by arm: equal for arms that share a training
    sizes: NDArray[np.intp]  # runs by arm
    shares: Array  # arms x seeds: 1 / runs of the arm where it has the seed
    information: Array  # seeds x seeds, after the arms
    covariance: Array  # its pseudo-inverse
    seed_df: int
    first: NDArray[np.intp] | None  # one arm per training; None: no two arms share one
    _known: dict[tuple[tuple[int, float], ...], Loads | None] = field(default_factory=dict)

    @property
    def error_df(self) -> int:
        """Return the degrees of freedom of the residual."""
        return int(self.sizes.sum()) - len(self.sizes) - self.seed_df

    def loads(self, weights: Sequence[tuple[int, float]]) -> Loads | None:
        """Return how a contrast, weights by row, weighs the runs.

        None where the arms share too few seeds, directly or through other arms, for the seeds to
        cancel.
        """
        key = tuple(weights)
        if key in self._known:
            return self._known[key]
        found = self._loads(key)
        if self.cells.size <= _REMEMBERED:
            self._known[key] = found
        return found

    def _loads(self, weights: tuple[tuple[int, float], ...]) -> Loads | None:
        rows = np.array([row for row, _ in weights], dtype=np.intp)
        vector = np.array([weight for _, weight in weights])
        load = vector @ self.shares[rows]  # how unevenly the contrast uses the seeds
        covered = self.covariance @ load
        if not np.allclose(self.information @ covered, load, rtol=0, atol=1e-8):
            return None
        if np.abs(covered).max(initial=0.0) > 1e-12:  # then other arms say what the seeds did
            every = np.zeros(len(self.sizes))
            every[rows] = vector
            rows, vector = np.arange(len(self.sizes)), every
        shift = covered[None, :] - (self.shares[rows] @ covered)[:, None]
        coefficients = vector[:, None] * self.shares[rows] - shift * self.cells[rows]
        numbers, places = np.unique(self.trainings[rows], return_inverse=True)
        return Loads(
            rows=rows,
            weights=vector,
            coefficients=coefficients,
            trainings=None if len(numbers) == len(rows) else places,
        )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Sums of squares and their degrees of freedom; exactly 0 where they are rounding."""

    error: float
    error_df: int
    seed: float  # after the arms
    seed_df: int

    @property
    def error_variance(self) -> float | None:
        """Return the mean square of the error, or None without an error to measure."""
        return self.error / self.error_df if self.error_df and self.error else None

    @property
    def run_variance(self) -> float | None:
        """Return the variance of one run, its seed's effect and its error, or None."""
        df, total = self.error_df + self.seed_df, self.error + self.seed
        return total / df if df and total else None


@dataclass(frozen=True, kw_only=True)
class BlockFit:
    """What `fit_blocks` found. Arms without a value are not in it."""

    arms: Mapping[str, int]  # row by arm
    seeds: tuple[int, ...]  # by column
    geometry: Geometry
    means: Array  # plain, by arm
    effects: Array  # by arm, adjusted for the seeds that it lacks
    within: Array  # by arm: sum of squares about its plain mean
    residual: Array  # by arm: sum of squares of the errors, of all arms
    spread: Spread  # of one arm per training

    def loads(self, weights: Mapping[str, float]) -> Loads | None:
        """Return how a contrast weighs the runs, or None where the seeds do not cancel."""
        return self.geometry.loads([(self.arms[arm], weights[arm]) for arm in weights])

    def estimate(self, loads: Loads) -> float:
        """Return the estimate of a contrast."""
        return float(loads.weights @ self.effects[loads.rows])

    def difference_of_means(self, weights: Mapping[str, float]) -> float:
        """Return the contrast of the plain means, seeds and all."""
        return float(sum(weight * self.means[self.arms[arm]] for arm, weight in weights.items()))

    @property
    def seed_correlation(self) -> float | None:
        """Return the correlation of two arms' runs on one seed, or None where there is no error."""
        error, run = self.spread.error_variance, self.spread.run_variance
        return None if error is None or run is None else 1 - error / run


def fit_blocks(values: Values, trainings: Mapping[str, str]) -> BlockFit:
    """Fit arm + seed to `{arm: {seed: value}}`; every arm must have a value.

    `trainings` names the training of arms that share one.
    """
    arms = {arm: row for row, arm in enumerate(values)}
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    columns = {seed: column for column, seed in enumerate(seeds)}
    table = np.full((len(arms), len(seeds)), np.nan)
    for row, by_seed in enumerate(values.values()):
        for seed, value in by_seed.items():
            table[row, columns[seed]] = value
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(trainings.get(arm, arm), len(numbers)) for arm in values]
    cells = ~np.isnan(table)
    geometry = geometry_of(cells, np.array(groups, dtype=np.intp))
    table = np.where(cells, table, 0.0)
    fit = _fit(table, geometry)
    spread = fit.spread
    if geometry.first is not None:
        first = geometry_of(cells[geometry.first], geometry.trainings[geometry.first])
        if first.error_df:  # else all are one training: what differs between its arms is the error
            spread = _fit(table[geometry.first], first).spread
    return replace(fit, arms=arms, seeds=tuple(seeds), spread=spread)


def geometry_of(cells: NDArray[np.bool_], trainings: NDArray[np.intp]) -> Geometry:
    """Return the geometry of these runs (arms x seeds); it is remembered."""
    return _geometry(cells.tobytes(), cells.shape, trainings.tobytes())


@lru_cache(maxsize=64)
def _geometry(cells_bytes: bytes, shape: tuple[int, int], groups_bytes: bytes) -> Geometry:
    cells = np.frombuffer(cells_bytes, dtype=np.bool_).reshape(shape)
    trainings = np.frombuffer(groups_bytes, dtype=np.intp)
    sizes = cells.sum(axis=1)
    shares = cells / sizes[:, None]
    information = np.diag(cells.sum(axis=0).astype(float)) - cells.T @ shares
    if cells.all() and cells.size:  # the closed form of what follows, for thousands of seeds
        covariance = (np.eye(shape[1]) - 1 / shape[1]) / shape[0]
    else:
        covariance = np.linalg.pinv(information, rcond=1e-10, hermitian=True)
    _, first = np.unique(trainings, return_index=True)
    return Geometry(
        cells=cells,
        trainings=trainings,
        sizes=sizes,
        shares=shares,
        information=information,
        covariance=covariance,
        seed_df=round(float((covariance * information).sum())),  # trace of their product, its rank
        first=None if len(first) == len(trainings) else np.sort(first),
    )


def _fit(table: Array, geometry: Geometry) -> BlockFit:
    cells = geometry.cells
    means = table.sum(axis=1) / geometry.sizes
    about = (table - means[:, None]) * cells
    seed_effects = geometry.covariance @ about.sum(axis=0)
    shifts = geometry.shares @ seed_effects
    residual = (about - (seed_effects[None, :] - shifts[:, None])) * cells
    within, errors = (about**2).sum(axis=1), (residual**2).sum(axis=1)
    total, error = float(within.sum()), float(errors.sum())
    rounding = cells.sum() * (_ZERO * max(float(np.abs(table).max(initial=0.0)), 1.0)) ** 2
    return BlockFit(
        arms={},
        seeds=(),
        geometry=geometry,
        means=means,
        effects=means - shifts,
        within=within,
        residual=errors,
        spread=Spread(
            error=error if error > rounding else 0.0,
            error_df=geometry.error_df,
            seed=total - error if total - error > rounding else 0.0,
            seed_df=geometry.seed_df,
        ),
    )
