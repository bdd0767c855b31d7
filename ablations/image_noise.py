"""What the evaluated images add to the variance of an answer: other images, another accuracy.

Seeds cannot lower it. It is measured from which images each run got right. On one image a contrast
has a main effect, which all seeds share, and noise, which the seeds' error holds already; only the
variance of the former counts here. Two seeds share nothing else, so it is their covariance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ablations.randomised_block import Array, BlockFit, Geometry, Loads, geometry_of

_AT_ONCE = 1 << 18  # numbers per array (1 MiB, as caches have): more go in groups
_HELD = 1 << 22  # numbers up to which all runs are held in memory (16 MiB), not read again
_DENSE = 8  # a product of matrices does this many times as many sums in the same time (measured)
FITS = 1e-3  # points by which 100 * mean may miss the value of its run: 1 image in 100,000

Single = NDArray[np.float32]  # exact for images right or wrong; sums over images are in double


class Images(Protocol):
    """Which of the evaluated images each run got right. All arms are evaluated on the same."""

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        """Return one number per image, 1.0 where it is right, or None where that is not known.

        100 times its mean is the value of the run.
        """
        ...


@runtime_checkable
class StandIns(Images, Protocol):
    """Images that stand for others, of which there are more or fewer."""

    @property
    def stands_for(self) -> int | None:
        """Return how many images the answer will be read on; None: these themselves."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageVariance:
    """The variance of an estimate due to its images, points squared, and how sure that is."""

    variance: float
    uncertainty: float  # the variance of `variance`, from the images themselves

    def on(self, times: float) -> ImageVariance:
        """Return the variance on so many times the images; no better known than from these."""
        return ImageVariance(
            variance=self.variance / times, uncertainty=self.uncertainty / times**2
        )


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
        self._held: dict[tuple[str, int], Single] = {}
        self._runs_in_all = sum(map(len, values.values()))
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
        self._replicates: _Replicates | None = None
        stands_for = images.stands_for if isinstance(images, StandIns) else None
        self._times = stands_for / self.count if stands_for and self.count else 1.0

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
        return {name: one.on(self._times) for name, one in found.items()}

    def _between_seeds(
        self, names: Sequence[Any], weights: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> dict[Any, ImageVariance]:
        """Average, over pairs of different seeds, the covariance over images of a contrast."""
        arms = list(dict.fromkeys(arm for one in weights for arm in one))
        columns = {arm: column for column, arm in enumerate(arms)}
        matrix = np.zeros((len(names), len(arms)), dtype=np.float32)
        for row, one in enumerate(weights):
            for arm, weight in one.items():
                matrix[row, columns[arm]] = weight
        total, squares = np.zeros((2, len(names), self.count), dtype=np.float32)
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
            coefficients = np.full((1, len(runs)), 1 / len(runs), dtype=np.float32)
            noise = replicates.within
            share = 1 / len(runs)
        else:
            runs, shares = self._runs(question.loads)
            coefficients = np.array([shares], dtype=np.float32)
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

    def _weighted(self, matrix: Single, runs: Sequence[tuple[str, int]]) -> Single:
        """Return sums of runs weighted by the rows of a matrix: rows x images, centred, points."""
        found: Single = np.zeros((len(matrix), self.count), dtype=np.float32)
        if np.count_nonzero(matrix) * _DENSE < matrix.size:
            for column, run in enumerate(runs):
                images = self._row(*run)
                for row in np.flatnonzero(matrix[:, column]):
                    weight = matrix[row, column]
                    found[row] += images if weight == 1 else weight * images
            return found
        size = max(_AT_ONCE // self.count, 1)
        for start in range(0, len(runs), size):
            part = runs[start : start + size]
            found += matrix[:, start : start + size] @ np.stack([self._row(*run) for run in part])
        return found

    def _row(self, arm: str, seed: int) -> Single:
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
        if not abs(mean - value) <= FITS:
            raise ValueError(
                f"the images of arm {arm!r}, seed {seed} have a mean of {mean:g} percent; its value"
                f" is {value:g}"
            )
        if self._runs_in_all * len(row) <= _HELD:
            self._held[arm, seed] = _centred(row)
        return row


@dataclass(frozen=True, kw_only=True)
class _Replicates:
    """The noise of one run on each image, points squared; None where no arm has two runs."""

    error: Array | None  # after arms and seeds
    within: Array | None  # after arms


def _replicates(part: Geometry, within: Array, by_seed: Array) -> _Replicates:
    explained = (part.covariance @ by_seed * by_seed).sum(axis=0)
    freedom = int(part.sizes.sum()) - len(part.sizes)
    return _Replicates(
        error=(within - explained) / part.error_df if part.error_df else None,
        within=within / freedom,
    )


def _centred(row: NDArray[np.floating]) -> Single:
    found: Single = np.multiply(row, 100.0, dtype=np.float32)
    found -= found.mean()
    return found


def _variance(products: Array | Single) -> ImageVariance:
    """Return the variance of a mean over images, from unbiased products per image."""
    count = len(products)
    return ImageVariance(
        variance=max(float(products.sum(dtype=np.float64)) / (count - 1), 0.0) / count,
        uncertainty=float(products.var(ddof=1, dtype=np.float64)) / count**3,
    )
