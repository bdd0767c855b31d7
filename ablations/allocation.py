"""Which runs bring arms to the seeds that contrasts want of them, within a number of runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set


def allocated(
    seeds: Mapping[str, Set[int]], targets: Sequence[Mapping[str, int]], left: int | None
) -> list[tuple[str, int]]:
    """Return the runs (arm, seed) to make, by seed and then in the order of the arms.

    An arm gets the smallest seeds that it lacks, so that arms share theirs. Where not all runs are
    allowed, the first contrasts come first, and each gets one more seed of all its arms at a time:
    what is trained can be compared.

    Args:
        seeds: that each arm has.
        targets: of each contrast, how many seeds its arms should have.
        left: runs that are allowed; None: all of them.
    """
    now = {arm: set(has) for arm, has in seeds.items()}
    order = {arm: place for place, arm in enumerate(seeds)}
    allowed: float = math.inf if left is None else left
    found: list[tuple[str, int]] = []
    for wanted in targets:
        while short := [arm for arm, target in wanted.items() if len(now[arm]) < target]:
            fewest = min(len(now[arm]) for arm in short)
            row = [arm for arm in short if len(now[arm]) == fewest]
            if len(row) > allowed:
                break
            allowed -= len(row)
            for arm in row:
                seed = next(seed for seed in range(len(now[arm]) + 1) if seed not in now[arm])
                now[arm].add(seed)
                found.append((arm, seed))
    return sorted(found, key=lambda run: (run[1], order[run[0]]))
