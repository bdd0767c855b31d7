"""What more runs would bring: to decide a contrast, or to narrow its interval. Pure arithmetic.

An error has two parts: that of the seeds falls with the number of runs, that of the images does
not, and is the floor. Growth is a factor of runs: 2 is twice as many of each arm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablations.attribution import Estimate
from ablations.limits import df_of_sum

_IMAGES_DF = 30  # least degrees of freedom of the images' part in what is to come: t = 2.04
_MOST = 1e6  # growth beyond which nobody trains


@dataclass(frozen=True, kw_only=True)
class Hurdle:
    """How a contrast will be tested: at which level, beside how many others, with which rope."""

    alpha: float  # that the look may spend
    size: int  # contrasts that are still open, this one included
    rope: float | None = None


def growth_to_decide(estimate: Estimate, hurdle: Hurdle) -> float:
    """Return how many times the runs of a contrast decide it, if its delta stays; inf for never."""
    delta, seeds, images, df = _parts(estimate)
    bounds = [delta / _critical(hurdle.alpha / hurdle.size / 2, df)]  # the error that would do
    if hurdle.rope is not None and delta < hurdle.rope:
        bounds.append((hurdle.rope - delta) / _critical(hurdle.alpha, df))
    spare = max(bounds) ** 2 - images**2
    return seeds**2 / spare if spare > 0 else math.inf


def chance_to_decide(estimate: Estimate, hurdle: Hurdle, growth: float) -> float:
    """Return how probable a verdict is after `growth`, given what is seen now.

    The predictive power: the delta to come is spread around today's, by the part of the seeds'
    variance that the further runs average away.
    """
    from scipy.special import ndtr

    delta, seeds, images, df = _parts(estimate)
    later = math.hypot(seeds / math.sqrt(growth), images)
    spread = seeds * math.sqrt(max(1 - 1 / growth, 0.0))
    if spread == 0:
        return float(growth_to_decide(estimate, hurdle) <= 1)
    far = _critical(hurdle.alpha / hurdle.size / 2, df) * later
    found = ndtr((delta - far) / spread) + ndtr((-delta - far) / spread)
    if hurdle.rope is not None:
        near = hurdle.rope - _critical(hurdle.alpha, df) * later
        if near > 0:
            found += ndtr((near - delta) / spread) - ndtr((-near - delta) / spread)
    return min(float(found), 1.0)


def growth_to_width(estimate: Estimate, width: float) -> float:
    """Return how many times the runs bring the half-width of the interval to `width`; inf: never.

    As Stein's two-stage rule does, the degrees of freedom of the seeds stay those of the first
    stage, so that a variance that was small by luck is paid for.
    """
    if width <= floor(estimate):
        return math.inf
    if half_width(estimate, 1.0) <= width:
        return 1.0
    low, high = 1.0, 2.0
    while half_width(estimate, high) > width:
        low, high = high, 2 * high
        if high > _MOST:
            return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(estimate, middle) > width else (low, middle)
    return high


def half_width(estimate: Estimate, growth: float) -> float:
    """Return the half-width of the pointwise interval after `growth`, in the values' unit."""
    _, seeds, images, df = _parts(estimate)
    part, kept = seeds**2 / growth, images**2
    if part + kept == 0:
        return 0.0
    now = seeds**2 + kept
    whole = estimate.df if estimate.df is not None else df
    uncertainty = 2 * now * max(now / whole - seeds**2 / df, 0.0)  # as `df_of_sum` counted it
    # More seeds measure the images' part better too: few df of it today do not stay.
    uncertainty = min(uncertainty, 2 * kept**2 / _IMAGES_DF)
    later = df_of_sum(part, df, kept, uncertainty) if part or uncertainty else math.inf
    return _critical((1 - estimate.level) / 2, later) * math.sqrt(part + kept)


def floor(estimate: Estimate) -> float:
    """Return the half-width that no number of seeds goes below: the images' part alone."""
    return half_width(estimate, math.inf) if estimate.image_error else 0.0


def _parts(estimate: Estimate) -> tuple[float, float, float, float]:
    """Return |delta|, the error's part of the seeds, of the images, and the df of the seeds'."""
    assert estimate.delta is not None and estimate.standard_error is not None
    assert estimate.error_df is not None
    seeds = estimate.standard_error if estimate.seed_error is None else estimate.seed_error
    return abs(estimate.delta), seeds, estimate.image_error or 0.0, estimate.error_df


def _critical(tail: float, df: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(-ndtri(tail)) if math.isinf(df) else float(-stdtrit(df, tail))
