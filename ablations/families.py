"""Adjusted p values: Holm's within a family, and two families that share one alpha.

Both families together make one claim of a study: the chance of any false rejection in either is at
most alpha. A family all of whose members are rejected passes its share on to the other (Bretz,
Maurer, Brannath and Posch 2009, a graphical procedure; here with Holm within each family).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Family:
    """p values that are tested together, and how many more were declared and cannot be tested."""

    p: Sequence[float]
    untested: int = 0  # count as p = 1, so that what fails makes nothing else easier

    @property
    def size(self) -> int:
        """Return how many contrasts were declared."""
        return len(self.p) + self.untested


def holm(p: Sequence[float], size: int | None = None) -> list[float]:
    """Return Holm-adjusted p values; `size` is that of the family, if some are not tested."""
    size = len(p) if size is None else size
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, p[place] * (size - rank)))
        adjusted[place] = largest
    return adjusted


def shares(families: Sequence[Family]) -> list[float]:
    """Return the share of alpha that each family starts with: equal among those that declare."""
    declared = sum(family.size > 0 for family in families)
    return [1 / declared if family.size else 0.0 for family in families]


def adjusted(first: Family, second: Family) -> tuple[list[float], list[float]]:
    """Return the adjusted p values of two families that share alpha, half each.

    A member is rejected where its own is at most alpha: by its family's half, or by all of alpha
    once the other family is wholly rejected by its half. One that declares nothing takes no share.
    """
    pair = (first, second)
    own = [holm(family.p, family.size) for family in pair]
    if not (first.size and second.size):
        return own[0], own[1]
    halves = shares(pair)
    whole = [  # the level at which all of a family is rejected by its own share
        (1.0 if family.untested else max(found)) / share
        for family, found, share in zip(pair, own, halves, strict=True)
    ]
    return (
        [min(one / halves[0], max(one, whole[1]), 1.0) for one in own[0]],
        [min(one / halves[1], max(one, whole[0]), 1.0) for one in own[1]],
    )
