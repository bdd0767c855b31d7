"""What the evaluated images add to the variance of an answer: other images, another accuracy.

Seeds cannot lower it. It is measured from which images each run got right. On one image a contrast
has a main effect, which all seeds share, and noise, which the seeds' error holds already; only the
variance of the former counts here. Two seeds share nothing else, so it is their covariance.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ablations.randomised_block import Array, BlockFit, Geometry, Loads, geometry_of

_AT_ONCE = 1 << 20  # numbers held per array (8 MiB): above, contrasts and arms go in groups
_HELD = 1 << 22  # numbers up to which all runs are held in memory (32 MiB), not read again
_FITS = 1e-3  # points by which 100 * mean may miss the value of its run: 1 image in 100,000


class Images(Protocol):
    """Which of the evaluated images each run got right. All arms are evaluated on the same."""

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        """Return one number per image, 1.0 where it is right, or None where that is not known.

        100 times its mean is the value of the run.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageVariance:
    """The variance of an estimate due to its images, points squared, and how sure that is."""

    variance: float
    uncertainty: float  # the variance of `variance`, from the images themselves

    @property
    def df(self) -> float:
        """Return the degrees of freedom of a chi-square with these two moments."""
        return 2 * self.variance**2 / self.uncertainty if self.uncertainty else math.inf


@dataclass(frozen=True, kw_only=True)
class Question:
    """A weighted sum of arms, and how it weighs the runs where two seeds do not hold all of it."""

    weights: Mapping[str, float]
    loads: Loads | None = None  # None: one arm's mean


class ImageNoise:
    """The images of a study's runs, read as needed: never all at once where they are many.

    Raises:
        ValueError: numbers that are not finite, or do not give the value of their run.
    """

    def __init__(self, images: Images, fit: BlockFit, values: Mapping[str, Mapping[int, float]]):
        self._images, self._fit, self._values = images, fit, values
        self._held: dict[tuple[str, int], Array] = {}
        lengths = {
            (arm, seed): len(row)
            for arm, by_seed in values.items()
            for seed in by_seed
            for row in (self._first_look(arm, seed),)
            if row is not None
        }
        self.count = Counter(lengths.values()).most_common(1)[0][0] if lengths else 0
        self._seeds: dict[str, frozenset[int]] = {
            arm: frozenset(seed for seed in values[arm] if lengths.get((arm, seed)) == self.count)
            for arm in values
        }
        if self.count * sum(map(len, self._seeds.values())) > _HELD:
            self._held.clear()
        self._replicates: _Replicates | None = None

    def of(self, questions: Mapping[Any, Question]) -> dict[Any, ImageVariance]:
        """Return the images' part of each question's variance, where it can be known."""
        found: dict[Any, ImageVariance] = {}
        if self.count < 2:
            return found
        shared: dict[frozenset[int], list[Any]] = {}
        for name, question in questions.items():
            common = frozenset.intersection(*(self._seeds[arm] for arm in question.weights))
            if len(common) >= 2:
                shared.setdefault(common, []).append(name)
            else:
                alone = self._by_subtraction(question)
                if alone is not None:
                    found[name] = alone
        size = max(_AT_ONCE // self.count, 1)
        for seeds, names in shared.items():
            for start in range(0, len(names), size):
                part = names[start : start + size]
                found |= self._between_seeds(
                    part, [questions[name].weights for name in part], sorted(seeds)
                )
        return found

    def _between_seeds(
        self, names: Sequence[Any], weights: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> dict[Any, ImageVariance]:
        """Average, over pairs of different seeds, the covariance over images of a contrast."""
        arms = list(dict.fromkeys(arm for one in weights for arm in one))
        columns = {arm: column for column, arm in enumerate(arms)}
        matrix = np.zeros((len(names), len(arms)))
        for row, one in enumerate(weights):
            for arm, weight in one.items():
                matrix[row, columns[arm]] = weight
        total, squares = np.zeros((2, len(names), self.count))
        for seed in seeds:
            effect = self._weighted(matrix, [(arm, seed) for arm in arms])
            total += effect
            np.square(effect, out=effect)
            squares += effect
        np.square(total, out=total)
        total -= squares  # the products of different seeds
        total /= len(seeds) * (len(seeds) - 1)
        return {name: _variance(row) for name, row in zip(names, total, strict=True)}

    def _by_subtraction(self, question: Question) -> ImageVariance | None:
        """Take from the variance over images of the estimate itself what the seeds hold of it."""
        replicates = self._replicated()
        if question.loads is None:
            (arm,) = question.weights
            runs = [(arm, seed) for seed in self._values[arm]]
            coefficients = np.full((1, len(runs)), 1 / len(runs))
            noise = replicates.within
            share = 1 / len(runs)
        else:
            runs, shares = self._runs(question.loads)
            coefficients = np.array([shares])
            noise = replicates.error
            share = question.loads.least_variance
        if noise is None or not all(seed in self._seeds[arm] for arm, seed in runs):
            return None
        effect = self._weighted(coefficients, runs)[0]
        return _variance(effect**2 - share * noise)

    def _runs(self, loads: Loads) -> tuple[list[tuple[str, int]], list[float]]:
        names = list(self._fit.arms)
        rows, columns = np.nonzero(loads.coefficients)
        runs = [
            (names[loads.rows[row]], self._fit.seeds[column])
            for row, column in zip(rows, columns, strict=True)
        ]
        return runs, loads.coefficients[rows, columns].tolist()

    def _replicated(self) -> _Replicates:
        if self._replicates is None:
            self._replicates = self._measure_replicates()
        return self._replicates

    def _measure_replicates(self) -> _Replicates:
        """Return the noise per image of one run, from the arms that have several."""
        geometry, names = self._fit.geometry, list(self._fit.arms)
        rows = range(len(names)) if geometry.first is None else geometry.first.tolist()
        usable = [row for row in rows if self._whole(names[row]) and geometry.sizes[row] > 1]
        if not usable:
            return _Replicates(error=None, within=None)
        part = geometry_of(geometry.cells[usable], geometry.trainings[usable])
        within = np.zeros(self.count)
        by_seed = np.zeros((len(self._fit.seeds), self.count))
        for row in usable:
            arm = names[row]
            columns = np.flatnonzero(geometry.cells[row])
            about = np.stack([self._row(arm, self._fit.seeds[column]) for column in columns])
            about -= about.mean(axis=0)
            within += np.square(about).sum(axis=0)
            by_seed[columns] += about
        return _replicates(part, within, by_seed)

    def _whole(self, arm: str) -> bool:
        return len(self._seeds[arm]) == len(self._values[arm])

    def _weighted(self, matrix: Array, runs: Sequence[tuple[str, int]]) -> Array:
        """Return sums of runs weighted by the rows of a matrix: rows x images, centred, points."""
        found = np.zeros((len(matrix), self.count))
        size = max(_AT_ONCE // self.count, 1)
        for start in range(0, len(runs), size):
            part = runs[start : start + size]
            found += matrix[:, start : start + size] @ np.stack([self._row(*run) for run in part])
        return found

    def _row(self, arm: str, seed: int) -> Array:
        """Return a run's images in points about their mean."""
        known = self._held.get((arm, seed))
        if known is not None:
            return known
        row = self._images.of(arm, seed)
        assert row is not None
        return _centred(row)

    def _first_look(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        row = self._images.of(arm, seed)
        if row is None or not len(row):
            return None
        mean = 100 * float(row.mean())
        value = self._values[arm][seed]
        if not abs(mean - value) <= _FITS:
            raise ValueError(
                f"the images of arm {arm!r}, seed {seed} have a mean of {mean:g} percent; its value"
                f" is {value:g}"
            )
        if len(self._held) * len(row) < _HELD:
            self._held[arm, seed] = _centred(row)
        return row


@dataclass(frozen=True, kw_only=True)
class _Replicates:
    """The noise of one run on each image, points squared; None where no arm has two runs."""

    error: Array | None  # after arms and seeds
    within: Array | None  # after arms


def _replicates(part: Geometry, within: Array, by_seed: Array) -> _Replicates:
    explained = np.zeros(len(within))
    for first, second in itertools.product(range(len(by_seed)), repeat=2):
        explained += part.covariance[first, second] * by_seed[first] * by_seed[second]
    freedom = int(part.sizes.sum()) - len(part.sizes)
    return _Replicates(
        error=(within - explained) / part.error_df if part.error_df else None,
        within=within / freedom,
    )


def _centred(row: NDArray[np.floating]) -> Array:
    found = row * 100.0
    found -= found.mean()
    return np.asarray(found, dtype=np.float64)


def _variance(products: Array) -> ImageVariance:
    """Return the variance of a mean over images, from unbiased products per image."""
    count = len(products)
    return ImageVariance(
        variance=max(float(products.sum()) / (count - 1), 0.0) / count,
        uncertainty=float(products.var(ddof=1)) / count**3,
    )
