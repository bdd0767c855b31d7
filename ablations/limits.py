"""Limits and p values by Student's t, for errors that are one mean square or a sum of several.

scipy.special is imported when it is first needed: it takes 0.1 s, for which one run per arm has no
use.
"""

from __future__ import annotations

from collections.abc import Iterable


def around(middle: float, error: float, df: float, alpha: float) -> tuple[float, float]:
    """Return the two-sided 1 - alpha limits of an estimate with this standard error."""
    reach = critical(df, alpha) * error
    return middle - reach, middle + reach


def critical(df: float, alpha: float) -> float:
    """Return what |t| exceeds with probability alpha."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - alpha / 2))


def two_sided(delta: float, error: float, df: float) -> float:
    """Return the two-sided p value of an estimate against 0."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(delta) / error))


def satterthwaite(parts: Iterable[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of independent variances, each (variance, its df).

    Satterthwaite 1946: the chi-square with the sum's first two moments.
    """
    known = [(variance, df) for variance, df in parts if variance > 0]
    total = sum(variance for variance, _ in known)
    return float(total**2 / sum(variance**2 / df for variance, df in known))


def df_of_sum(seeds: float, seed_df: float, images: float, uncertainty: float) -> float:
    """Return the degrees of freedom of the seeds' variance plus the images'.

    As Satterthwaite's, but the seeds count by their share of the sum, not by its square. By his,
    a seeds' variance that is small by luck is taken for a small share, and so for a certain sum:
    with 6 df and a part of the images a fifth as large, errors of 1.9 times the level at 0.0025,
    where Holm's first step among ten has it. With the share they are 0.6 to 1.1 times the level.

    Args:
        seeds: a mean square's part, above 0.
        seed_df: its degrees of freedom.
        images: the images' part, 0 or more.
        uncertainty: the variance of `images`, which may be large also where it is 0.
    """
    total = seeds + images
    # The images' part is a difference, and may be so uncertain that the df near 0: the seeds' own
    # are the least.
    return max(total / (seeds / seed_df + uncertainty / 2 / total), seed_df)
