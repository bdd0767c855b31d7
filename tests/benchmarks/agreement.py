"""Whether two ways of training the same arms reach the same accuracies, against their seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """Means in percent by arm, and their gaps, ours - peer, against the noise of seeds."""

    peer: list[float]
    ours: list[float]
    gaps: list[float]
    gap: float  # mean of the gaps
    interval: list[float] | None  # of it, seeds being the units; None: one seed
    limit: float | None  # of a single arm's gap, at LEVEL for all arms together
    agrees: bool | None  # the interval holds 0 and no arm is beyond its limit


def agreement(peer: NDArray[np.float64], ours: NDArray[np.float64]) -> Agreement:
    """Compare accuracies of shape (arms, seeds), in percent.

    Arms of a seed share its initial weights and images, so the mean over the arms is compared with
    the seeds as units: 2 (seeds - 1) degrees of freedom. A single arm is held against the spread of
    seeds pooled over arms and sides, Bonferroni's way. Equal sides disagree in 5 to 10 % of cases.
    """
    arms, seeds = peer.shape
    gaps = ours.mean(axis=1) - peer.mean(axis=1)
    gap, interval, limit, agrees = float(gaps.mean()), None, None, None
    if seeds > 1:
        spread = np.mean([side.mean(axis=0).var(ddof=1) for side in (peer, ours)])
        half = stdtrit(2 * (seeds - 1), (1 + LEVEL) / 2) * np.sqrt(2 * spread / seeds)
        interval = [gap - float(half), gap + float(half)]
        pooled = np.mean([side.var(axis=1, ddof=1) for side in (peer, ours)])
        tail = (1 - LEVEL) / (2 * arms)
        limit = float(stdtrit(2 * arms * (seeds - 1), 1 - tail) * np.sqrt(2 * pooled / seeds))
        agrees = bool(interval[0] <= 0 <= interval[1] and np.abs(gaps).max() <= limit)
    return Agreement(
        peer=peer.mean(axis=1).tolist(),
        ours=ours.mean(axis=1).tolist(),
        gaps=gaps.tolist(),
        gap=gap,
        interval=interval,
        limit=limit,
        agrees=agrees,
    )
