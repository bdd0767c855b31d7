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
