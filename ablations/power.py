"""How large an effect has to be for a two-sided t test to find it: the exact noncentral t.

Only arithmetic; what a study's standard errors are is said in `ablations.detectable`. No
scipy.stats, which takes a second to import.
"""

from __future__ import annotations

import functools
import math

POWER = 0.8  # the convention (Cohen 1988): four of five true effects of this size are found


def power_of(noncentrality: float, df: float, alpha: float) -> float:
    """Return the chance that a two-sided t test at level `alpha` finds an effect.

    Args:
        noncentrality: the effect over its standard error, 0 or more.
        df: degrees of freedom of the error, above 0.
        alpha: of the test, between 0 and 1.
    """
    from scipy.special import nctdtr, stdtrit

    reach = float(stdtrit(df, 1 - alpha / 2))
    near = 1 - float(nctdtr(df, noncentrality, reach))
    far = float(nctdtr(df, noncentrality, -reach))  # nan where there is nothing left of it
    return near + (far if math.isfinite(far) else 0.0)


def smallest_effect(standard_error: float, df: float, alpha: float, power: float = POWER) -> float:
    """Return the smallest true effect that is found with this power, in units of the error.

    Args:
        standard_error: of the estimate, 0 or more.
        df: its degrees of freedom, above 0; need not be whole.
        alpha: level of the two-sided test.
        power: chance of finding it; above `alpha`.

    Raises:
        ValueError: a number outside these limits.
    """
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: needs 0 < alpha < power < 1")
    if not df > 0 or not standard_error >= 0:
        raise ValueError(
            f"df {df} must be above 0 and the standard error {standard_error} not below"
        )
    return standard_error * _smallest(df, alpha, power)


@functools.lru_cache(maxsize=1024)
def _smallest(df: float, alpha: float, power: float) -> float:
    # In units of the standard error, which is all that most contrasts of a large plan differ in.
    low, high = 0.0, 1.0
    while power_of(high, df, alpha) < power:
        low, high = high, 2 * high
    for _ in range(60):  # halves to the last bit; the power grows with the effect
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle, df, alpha) < power else (low, middle)
    return high
