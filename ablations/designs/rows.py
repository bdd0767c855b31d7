"""The rows of a screen: Plackett-Burman columns folded over, or D-optimal rows over legal arms."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ablations.designs.exchange import Array, Row, d_optimal
from ablations.designs.stacks import Factor, Stacks
from recipes import Component

_COUNTABLE = 4096  # combinations that are looked at one by one


def plackett_burman_size(factors: int) -> int:
    """Return the rows of the smallest Plackett-Burman design for so many factors."""
    return len(_plackett_burman(factors))


@functools.cache
def folded(factors: int, half: int) -> tuple[Row, ...]:
    """Return `half` rows and their mirror images: all off first, all on second, none twice.

    The half is Plackett and Burman's where it has their size, else D-optimal for the effects.
    Since every row has its mirror image, effects are clear of every two-way interaction.
    """
    if half == plackett_burman_size(factors):
        rows = [tuple(int(sign > 0) for sign in row) for row in _plackett_burman(factors)]
    else:
        rows = d_optimal([1] * factors, half, [(1,) * factors], _signs, _is_new_pair)
    both = [pair for row in rows for pair in (_mirror(row), row)]
    first = [(0,) * factors, (1,) * factors]
    return tuple(dict.fromkeys([*first, *both]))


def chosen(stacks: Stacks, live: Sequence[Factor], count: int) -> tuple[Row, ...]:
    """Return `count` D-optimal rows of legal arms, the base and a fullest one among them."""
    banned: set[Row] = set()
    levels = [len(factor) for factor in live]
    states = [(place, state) for place, level in enumerate(levels) for state in range(1, level + 1)]
    apart = {
        pair
        for pair in itertools.combinations(states, 2)
        if pair[0][0] != pair[1][0]
        and stacks.apart(*(live[place][state - 1] for place, state in pair))
    }

    def may_join(row: Row, others: set[Row]) -> bool:
        if row in others or row in banned:
            return False
        return not apart or apart.isdisjoint(
            itertools.combinations(((place, state) for place, state in enumerate(row) if state), 2)
        )

    def expand(rows: Array) -> Array:
        return model(rows, levels)

    while True:  # what only three together make illegal is found out where it was chosen
        fixed = [(0,) * len(live), _fullest(stacks, live)]
        rows = d_optimal(levels, count, fixed, expand, may_join)
        wrong = {row for row in rows if not stacks.is_legal(subset(live, row))}
        if not wrong:
            return tuple(rows)
        banned |= wrong


def count_legal(stacks: Stacks, live: Sequence[Factor], most: int) -> int:
    """Return how many legal arms there are, or `most` where there are more."""
    if math.prod(len(factor) + 1 for factor in live) > _COUNTABLE:
        return most
    rows = itertools.product(*(range(len(factor) + 1) for factor in live))
    legal = (row for row in rows if stacks.is_legal(subset(live, row)))
    return sum(1 for _ in itertools.islice(legal, most))


def model(rows: Array, levels: Sequence[int]) -> Array:
    """Return the columns of the model: the base, then one per level of each factor."""
    columns = [np.ones(len(rows))]
    for place, count in enumerate(levels):
        columns += [(rows[:, place] == state).astype(float) for state in range(1, count + 1)]
    return np.column_stack(columns)


def subset(live: Sequence[Factor], row: Row) -> tuple[Component, ...]:
    """Return the components that a row switches on."""
    return tuple(live[place][state - 1] for place, state in enumerate(row) if state)


def _fullest(stacks: Stacks, live: Sequence[Factor]) -> Row:
    """Return the legal row that takes each factor's first level that fits to those before it."""
    row: Row = ()
    for factor in live:
        fits = (
            state
            for state in range(1, len(factor) + 1)
            if stacks.is_legal(subset(live, (*row, state)))
        )
        row = (*row, next(fits, 0))
    return row


@functools.cache
def _plackett_burman(factors: int) -> Array:
    from pydoe import pbdesign  # 0.7 s, for which only screens have a use

    for count in itertools.count(factors):
        try:
            found: Array = pbdesign(count)[:, :factors]
        except ValueError:  # no such size there, as 28: the next has more columns than needed
            continue
        return found
    raise AssertionError("there is always a power of two")


def _signs(rows: Array) -> Array:
    return 2 * rows - 1


def _mirror(row: Row) -> Row:
    return tuple(1 - state for state in row)


def _is_new_pair(row: Row, others: set[Row]) -> bool:
    return row not in others and _mirror(row) not in others
