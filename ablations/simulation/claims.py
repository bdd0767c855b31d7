"""What is promised of the statistics: one table, held against the simulated games."""

from __future__ import annotations

from ablations.simulation.figures import Claim

COVERAGE = Claim(words="93 to 97 %", low=0.93, high=0.97)  # of 95 % intervals
FAMILY = Claim(words="at most 5 %", high=0.05)  # false helps or hurts in a study
RMSE = Claim(words="at most 1/3", high=1 / 3)  # auto against the fixed ladder
NEVER_WORSE = Claim(words="at most 1", high=1.0)  # the same, without interactions
RUNS = Claim(words="at most 70 %", high=0.70)  # of --until verdicts against equal seeding
POWER = Claim(words="77 to 83 %", low=0.77, high=0.83)  # at the smallest effect of 80 % power
# A plan counts with Holm's first step; a study does better where its split is resolved too.
AT_LEAST = Claim(words="77 % or more", low=0.77)

# Relative, at 99 %: of a mean over 400 games (3.4 % of the ladder's), and of three printed digits.
EARLIER_ERROR = 0.04


def as_earlier(error: float) -> Claim:
    """Return the claim that a figure of the earlier comparison (`screen`) is met."""
    return Claim(
        words=f"{error:.3f}", low=error * (1 - EARLIER_ERROR), high=error * (1 + EARLIER_ERROR)
    )
