"""Arms whose errors clearly differ: Bartlett's test, and a variance of its own for each arm.

The variances are of the errors of the randomised-block fit, so that what a seed does to all arms
alike is no error here either. An arm's mean square is scaled so that the arms' together give the
pooled one; with A arms of equal seeds its expectation is the arm's variance, drawn towards the mean
of all arms' by 1 / (A - 1). Two arms have one error between them, their difference, whose variance
needs no pooling: they never differ.

Tested are both the errors and the plain runs of the arms, each at half the level: taking the seeds
out of a few arms spreads a noisy arm's runs over the others, and leaving them in hides it where the
seeds matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablations.limits import satterthwaite
from ablations.randomised_block import Array, BlockFit, Loads

DIFFERENT = 0.05  # p of Bartlett's test below which the arms are not pooled


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmErrors:
    """The errors of each arm by itself: variance of one run and its degrees of freedom, by row.

    An arm with one run has no degrees of freedom, and a variance of 0 that means nothing.
    """

    p: float  # that all arms with two runs or more have one variance
    variance: Array
    df: Array

    @property
    def differ(self) -> bool:
        """Return whether pooling them would mislead."""
        return self.p < DIFFERENT

    def of(self, loads: Loads) -> tuple[float, float] | None:
        """Return the variance of a contrast and its degrees of freedom.

        None where it reads an arm with one run, whose variance nobody knows, or has no error.
        """
        variance, df = self.variance[loads.rows], self.df[loads.rows]
        used = loads.squares > 0
        total = loads.variance_of(np.sqrt(variance))
        if (df[used] == 0).any() or total == 0:
            return None
        parts = zip(loads.squares[used] * variance[used], df[used], strict=True)
        return total, satterthwaite((float(part), float(part_df)) for part, part_df in parts)


def arm_errors(fit: BlockFit) -> ArmErrors | None:
    """Return the errors by arm and whether they differ; None without an error to measure.

    One arm of each training is tested: the others' errors are not independent of its own.
    """
    geometry = fit.geometry
    freedom = (geometry.sizes - 1).astype(float)
    if fit.spread.error_variance is None or geometry.error_df == 0:
        return None
    scale = freedom.sum() / geometry.error_df  # the seeds took a part of each arm's freedom
    df = freedom / scale
    known = freedom > 0
    variance = np.divide(fit.residual, df, out=np.zeros_like(df), where=known)
    tested = known.copy()
    if geometry.first is not None:
        tested[:] = False
        tested[geometry.first] = known[geometry.first]
    return ArmErrors(p=_differ(fit, variance, df, tested), variance=variance, df=df)


def _differ(fit: BlockFit, variance: Array, df: Array, tested: NDArray[np.bool_]) -> float:
    if tested.sum() < 3:
        return 1.0
    freedom = (fit.geometry.sizes - 1).astype(np.float64)
    # Runs that agree to the last image are flagged as zero spread; as a variance of 0 they would
    # decide the test, though three runs on a few hundred images agree by chance.
    plain = tested & (fit.within > 0)
    raw = np.divide(fit.within, freedom, out=np.zeros_like(freedom), where=plain)
    both = bartlett(variance[tested], df[tested]), bartlett(raw[plain], freedom[plain])
    return min(2 * min(both), 1.0)


def bartlett(variances: Array, df: Array) -> float:
    """Return the p value of Bartlett's test (1937) that all these variances estimate one."""
    from scipy.special import chdtrc

    if len(variances) < 2 or not variances.max() > 0:
        return 1.0
    if not variances.min() > 0:
        return 0.0
    total = float(df.sum())
    pooled = float(df @ variances) / total
    statistic = total * math.log(pooled) - float(df @ np.log(variances))
    correction = 1 + (float((1 / df).sum()) - 1 / total) / (3 * (len(df) - 1))
    return float(chdtrc(len(df) - 1, max(statistic, 0.0) / correction))
