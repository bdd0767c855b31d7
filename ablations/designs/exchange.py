"""D-optimal rows by coordinate exchange (Meyer and Nachtsheim 1995, Technometrics 37:60).

A row holds one state per factor: 0 off, or the number of a level. Starts are drawn from a fixed
seed, so the same question has the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Row = tuple[int, ...]

_STARTS = 8  # of random rows, the best of which is kept
_SWEEPS = 20  # over all coordinates; it stops as soon as one changes nothing
_RIDGE = 1e-6  # lets a start be singular


def d_optimal(
    levels: Sequence[int],
    count: int,
    fixed: Sequence[Row],
    expand: Callable[[Array], Array],
    may_join: Callable[[Row, set[Row]], bool],
) -> list[Row]:
    """Return `count` rows, `fixed` first, with the largest determinant of information found.

    Args:
        levels: of each factor, beside off.
        count: rows in all.
        fixed: rows that must be among them.
        expand: makes the model's columns of rows of states.
        may_join: says whether a row may stand beside others.

    Raises:
        ValueError: so many rows that may stand together cannot be found.
    """
    random = np.random.default_rng(0)
    best: tuple[float, list[Row]] | None = None
    for _ in range(_STARTS):
        rows = _start(random, levels, count, fixed, may_join)
        rows = _improved(rows, levels, len(fixed), expand, may_join)
        matrix = expand(np.array(rows, dtype=float))
        sign, value = np.linalg.slogdet(matrix.T @ matrix)
        if sign > 0 and (best is None or value > best[0] + 1e-9):
            best = (float(value), rows)
    if best is None:
        raise ValueError(f"no {count} rows determine every effect")
    return best[1]


def _start(
    random: np.random.Generator,
    levels: Sequence[int],
    count: int,
    fixed: Sequence[Row],
    may_join: Callable[[Row, set[Row]], bool],
) -> list[Row]:
    rows, tried = list(fixed), 0
    while len(rows) < count:
        row = tuple(int(random.integers(0, level + 1)) for level in levels)
        for place in random.permutation(len(levels)):  # switched off until it is legal
            if may_join(row, set(rows)):
                break
            row = (*row[:place], 0, *row[place + 1 :])
        if may_join(row, set(rows)):
            rows.append(row)
        tried += 1
        if tried > 1000 * count:
            raise ValueError(f"there are fewer than {count} rows")
    return rows


def _improved(
    rows: list[Row],
    levels: Sequence[int],
    fixed: int,
    expand: Callable[[Array], Array],
    may_join: Callable[[Row, set[Row]], bool],
) -> list[Row]:
    rows = list(rows)
    matrix = expand(np.array(rows, dtype=float))
    inverse = _inverse(matrix)
    for _ in range(_SWEEPS):
        moved = False
        for place in range(fixed, len(rows)):
            for factor, level in enumerate(levels):
                now = rows[place]
                others = {*rows[:place], *rows[place + 1 :]}
                options = [
                    (*now[:factor], state, *now[factor + 1 :])
                    for state in range(level + 1)
                    if state != now[factor]
                ]
                options = [row for row in options if may_join(row, others)]
                if not options:
                    continue
                lines = expand(np.array(options, dtype=float))
                gains = _gains(inverse, matrix[place], lines)
                top = int(gains.argmax())
                if gains[top] > 1 + 1e-9:
                    rows[place], matrix[place], moved = options[top], lines[top], True
                    inverse = _inverse(matrix)
        if not moved:
            break
    return rows


def _inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.inv(matrix.T @ matrix + _RIDGE * np.eye(matrix.shape[1])))


def _gains(inverse: Array, own: Array, lines: Array) -> Array:
    """Return by what the determinant is multiplied where a row becomes one of `lines`."""
    across = lines @ (inverse @ own)
    leaving = 1 - own @ inverse @ own
    entering = 1 + ((lines @ inverse) * lines).sum(axis=1)
    gains: Array = entering * leaving + across**2
    return gains
