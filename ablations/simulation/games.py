"""Games: what every set of components is truly worth, and the true answer to each question.

A game is a number for each subset of k components: a base, what each component is worth alone, what
pairs are worth beyond that, and triples beyond pairs. Many games are drawn at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recipes import published

BASE_TOP1 = 79.0  # percent: the first rung of ResNet-RS Table 1
_LADDERS = ("resnet-rs", "torchvision")

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Law:
    """From what games are drawn. All in accuracy points; a share of 1 means every pair or triple.

    Published steps are one order's, so a main effect drawn from them stands for their size only.
    """

    main: tuple[float, ...] = ()  # drawn from with replacement; empty: every component is worth 0
    pair_sd: float = 0.0  # of what a pair is worth beyond its two, normal
    pair_share: float = 1.0  # of pairs that interact at all
    triple_sd: float = 0.0
    triple_share: float = 1.0
    base: float = BASE_TOP1  # percent


NULL = Law()


@dataclass(frozen=True, kw_only=True)
class Games:
    """Drawn games, one per row. Components are counted from 0, in the order of the request."""

    base: float
    main: Array  # games x components
    pairs: Array  # games x pairs, as itertools.combinations lists them
    triples: Array  # games x triples, likewise; no column where there are none

    def values(self, members: NDArray[np.bool_]) -> Array:
        """Return the true value of arms, games x arms, given which components each holds.

        Args:
            members: arms x components.
        """
        inside = members.astype(float)
        found: Array = self.base + self.main @ inside.T
        for size, worth in ((2, self.pairs), (3, self.triples)):
            if worth.shape[1]:
                found = found + worth @ _together(inside, size)
        return found

    def truth(self, estimand: str) -> Array:
        """Return the true effect of every component, games x components, in closed form.

        Raises:
            KeyError: `estimand` is not one of ablations.plans.ESTIMANDS.
        """
        k = self.main.shape[1]
        found = self.main.copy()
        for size, worth in ((2, self.pairs), (3, self.triples)):
            if worth.shape[1]:
                found += worth @ _counted(k, size, estimand)
        return found


def draw(law: Law, components: int, games: int, generator: np.random.Generator) -> Games:
    """Draw games from a law."""
    main = np.zeros((games, components))
    if law.main:
        main = generator.choice(np.array(law.main), size=main.shape)
    return Games(
        base=law.base,
        main=main,
        pairs=_sparse(generator, games, components, 2, law.pair_sd, law.pair_share),
        triples=_sparse(generator, games, components, 3, law.triple_sd, law.triple_share),
    )


@cache
def published_steps() -> tuple[float, ...]:
    """Return the steps of ResNet-RS Table 1 and of torchvision's ladder, in accuracy points."""
    ladders = [published.load(name) for name in _LADDERS]
    return tuple(
        rung.delta.value
        for ladder in ladders
        if isinstance(ladder, published.Ladder)
        for rung in ladder.rungs
        if rung.delta is not None
    )


def _sparse(
    generator: np.random.Generator, games: int, components: int, size: int, sd: float, share: float
) -> Array:
    if not sd:
        return np.zeros((games, 0))
    count = len(_groups(components, size))
    present = generator.random((games, count)) < share
    return np.where(present, generator.normal(0.0, sd, (games, count)), 0.0)


@cache
def _groups(components: int, size: int) -> NDArray[np.intp]:
    return np.array(list(itertools.combinations(range(components), size)), dtype=np.intp)


def _together(inside: Array, size: int) -> Array:
    """Return groups x arms: 1 where an arm holds the whole group."""
    found: Array = inside[:, _groups(inside.shape[1], size)].prod(axis=2).T
    return found


@cache
def _counted(components: int, size: int, estimand: str) -> Array:
    """Return groups x components: how much of a group's worth is in each component's effect."""
    parts = {
        "alone": [0.0] * size,  # the others are off
        "in_recipe": [1.0] * size,  # the others are on
        "in_order": [0.0] * (size - 1) + [1.0],  # to the one that completes the group
        "average_over_others": [0.5 ** (size - 1)] * size,  # each other is on in half of all sets
    }[estimand]
    groups = _groups(components, size)
    found = np.zeros((len(groups), components))
    for place, part in enumerate(parts):  # groups list their components in order
        found[range(len(groups)), groups[:, place]] = part
    return found
