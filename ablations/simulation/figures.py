"""Figures of a cell: numbers over its games, and whether a claim stands against them.

Intervals are 99 %: dozens of claims are held against one study, and each at 95 % would fail by
chance now and then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, ndtri

LEVEL = 0.99

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number over many games with its Monte Carlo interval."""

    value: float
    low: float
    high: float
    games: int  # that had something to count
    percent: bool = False  # a share, to be shown as such


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a figure is promised to be: within these limits."""

    words: str
    low: float = -math.inf
    high: float = math.inf

    def holds(self, figure: Figure) -> bool:
        """Return whether the interval of the figure leaves the claim possible."""
        return figure.high >= self.low and figure.low <= self.high


def share(hits: Array, of: Array) -> Figure:
    """Return the share of hits over all games, Clopper-Pearson for clusters.

    What is counted within one game shares its noise, so the games are the sample: the number of
    cases is that of independent ones with the same variance (Korn and Graubard 1998).
    """
    total, games = float(of.sum()), int(np.count_nonzero(of))
    if not total:
        return Figure(value=math.nan, low=0.0, high=1.0, games=0, percent=True)
    value = float(hits.sum()) / total
    residual = hits - value * of
    variance = float((residual**2).sum()) / total**2 * games / max(games - 1, 1)
    cases = value * (1 - value) / variance if variance else float(games)
    low, high = _clopper_pearson(value * cases, cases)
    return Figure(value=value, low=low, high=high, games=games, percent=True)


def mean(values: Array) -> Figure:
    """Return the mean over games, its interval by the central limit theorem."""
    found = float(values.mean())
    reach = _reach() * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Figure(value=found, low=found - reach, high=found + reach, games=len(values))


def ratio(values: Array, reference: Array) -> Figure:
    """Return the ratio of two means over the same games, its interval by the delta method."""
    above, below = float(values.mean()), float(reference.mean())
    relative = values / above - reference / below
    factor = math.exp(_reach() * float(relative.std(ddof=1)) / math.sqrt(len(values)))
    found = above / below
    return Figure(value=found, low=found / factor, high=found * factor, games=len(values))


def median(values: Array, *, percent: bool = False) -> Figure:
    """Return the median over games, its interval by order statistics (binomial, exact)."""
    ordered = np.sort(values)
    count = len(ordered)
    below = bdtr(np.arange(count), count, 0.5)
    rank = int(np.searchsorted(below, (1 - LEVEL) / 2))  # the most games that may lie outside
    low, high = ordered[rank], ordered[count - 1 - rank]
    return Figure(
        value=float(np.median(ordered)),
        low=float(low),
        high=float(high),
        games=count,
        percent=percent,
    )


def _clopper_pearson(hits: float, cases: float) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    misses = cases - hits
    low = betaincinv(hits, misses + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, misses, 1 - tail) if misses > 0 else 1.0
    return float(low), float(high)


def _reach() -> float:
    return float(ndtri(1 - (1 - LEVEL) / 2))
