"""The table of all cells, by group, and how they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from ablations.errors import RequestError
from ablations.simulation import coverage, power, screen, until
from ablations.simulation.cell import Cell
from recipes.leaf import nearest

GROUPS: Mapping[str, Callable[[], tuple[Cell, ...]]] = {
    "coverage": coverage.cells,
    "null": lambda: coverage.null_cells() + until.null_cells(),
    "screen": screen.cells,
    "until": until.cells,
    "width": until.width_cells,
    "power": power.cells,
}
ALL = "all"


def cells_of(words: str) -> tuple[Cell, ...]:
    """Return the cells of groups, as `coverage,null` or `all`.

    Raises:
        RequestError: there is no such group.
    """
    wanted = [word.strip() for word in words.split(",")]
    known = (*GROUPS, ALL)
    unknown = [word for word in wanted if word not in known]
    if unknown:
        raise RequestError(
            f"there are no cells {unknown[0]!r}: choose from {', '.join(known)}"
            f"{nearest(unknown[0], known)}"
        )
    chosen = GROUPS if ALL in wanted else [group for group in GROUPS if group in wanted]
    return tuple(cell for group in chosen for cell in _cells(group))


def cell_of(name: str) -> Cell:
    """Return a cell by its name."""
    return _by_name(name.partition(":")[0])[name]


@cache
def _cells(group: str) -> tuple[Cell, ...]:
    return GROUPS[group]()


@cache
def _by_name(group: str) -> dict[str, Cell]:
    return {cell.name: cell for cell in _cells(group)}
