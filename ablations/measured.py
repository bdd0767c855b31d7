"""A contrast or an arm's mean as it is measured, before it is tested beside others.

The variance of either has a part of the seeds, pooled or of its own arms, and one of the images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ablations.image_noise import ImageVariance
from ablations.limits import around, df_of_sum, satterthwaite, two_sided
from ablations.randomised_block import BlockFit, Loads
from ablations.welch import ArmErrors


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A contrast as it is found, before it is held against others."""

    delta: float | None = None
    seeds: float | None = None  # variance of the estimate
    images: ImageVariance | None = None
    error_df: float | None = None
    df: float | None = None
    error: float | None = None
    p: float | None = None
    method: str = "block"
    notes: tuple[str, ...] = ()


def measure(
    fit: BlockFit,
    errors: ArmErrors | None,
    weights: Mapping[str, float],
    loads: Loads | None,
    images: ImageVariance | None,
    given: tuple[float, int] | None = None,
) -> Measured:
    """Return the estimate of a contrast and its error; empty where an arm of it has no run.

    Args:
        fit: of all runs.
        errors: of the arms by themselves, which count where they differ.
        weights: of the contrast, none of them 0.
        loads: how it weighs the runs; None where the seeds do not cancel.
        images: their part of its variance; None where it is not known.
        given: mean square of the error and its degrees of freedom, in place of those of `fit`.
    """
    if not weights or not weights.keys() <= fit.arms.keys():
        return Measured()
    if loads is None:
        delta = fit.difference_of_means(weights)
        return Measured(delta=delta, error_df=0, method="means", notes=("no seed in common",))
    delta, pooled = fit.estimate(loads), fit.spread.error_variance
    error_df: float = fit.spread.error_df
    if given is not None:
        pooled, error_df = given
    if pooled is None:
        notes = ("zero spread",) if error_df else ()
        return Measured(delta=delta, error_df=error_df, notes=notes)
    variance, method = pooled * loads.variance, "block"
    if errors is not None and errors.differ and (own := errors.of(loads)) is not None:
        variance, error_df = own
        method = "welch"
    error, df = _combined(variance, error_df, images)
    return Measured(
        delta=delta,
        seeds=variance,
        images=images,
        error_df=error_df,
        df=df,
        error=error,
        p=two_sided(delta, error, df),
        method=method,
    )


def unpaired(fit: BlockFit, weights: Mapping[str, float]) -> Measured:
    """Return a contrast of arms that share no random numbers, so that no seed cancels in it.

    Its error is the spread of whole runs. The images have no part: this is for arms of one recipe,
    of which images expect the same.
    """
    if not weights or not weights.keys() <= fit.arms.keys():
        return Measured()
    delta, spread = fit.difference_of_means(weights), fit.spread
    if spread.run_variance is None:
        return Measured(delta=delta, error_df=0, method="means")
    sizes = {arm: int(fit.geometry.sizes[fit.arms[arm]]) for arm in weights}
    variance = spread.run_variance * sum(w**2 / sizes[arm] for arm, w in weights.items())
    df = satterthwaite(((spread.error, spread.error_df), (spread.seed, spread.seed_df)))
    error = math.sqrt(variance)
    p = two_sided(delta, error, df)
    return Measured(
        delta=delta, seeds=variance, error_df=df, df=df, error=error, p=p, method="unpaired"
    )


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The plain mean of an arm's runs."""

    value: float
    interval: tuple[float, float] | None
    n: int
    seed_error: float | None = None
    image_error: float | None = None  # None: not measured


def mean_of(
    fit: BlockFit,
    errors: ArmErrors | None,
    arm: str,
    by_seed: Mapping[int, float],
    images: ImageVariance | None,
    level: float,
) -> Mean:
    """Return the mean of an arm, with the spread of the seeds, which a contrast does not hold.

    The variance of one run is the sum of two independent mean squares; the arm's own where arms
    differ.
    """
    value, n, spread = math.fsum(by_seed.values()) / len(by_seed), len(by_seed), fit.spread
    run = spread.run_variance
    if run is None:
        return Mean(value=value, interval=None, n=n)
    own = float(fit.within[fit.arms[arm]])
    if errors is not None and errors.differ and n > 1 and own > 0:
        variance, df = own / (n - 1), float(n - 1)
    else:
        parts = ((spread.error, spread.error_df), (spread.seed, spread.seed_df))
        variance, df = run, satterthwaite(parts)
    error, df = _combined(variance / n, df, images)
    return Mean(
        value=value,
        interval=around(value, error, df, 1 - level),
        n=n,
        seed_error=math.sqrt(variance / n),
        image_error=None if images is None else math.sqrt(images.variance),
    )


def _combined(seeds: float, seed_df: float, images: ImageVariance | None) -> tuple[float, float]:
    """Return the standard error of the sum of both parts, and its degrees of freedom."""
    if images is None:
        return math.sqrt(seeds), seed_df
    total = seeds + images.variance
    return math.sqrt(total), df_of_sum(seeds, seed_df, images.variance, images.uncertainty)
