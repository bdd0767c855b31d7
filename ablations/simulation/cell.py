"""A cell: a way to play games, and the figures and claims that are read off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ablations.simulation.figures import Array, Claim, Figure

Columns = Mapping[str, Array]  # one number per game


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure that is read off the columns of a cell, and its place in the group's table."""

    line: str
    column: str
    read: Callable[[Columns], Figure]
    claim: Claim | None = None  # None: shown, and nothing is promised of it


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting in which games are played. Group and setting name it, and seed its games."""

    group: str
    setting: str
    play: Callable[[np.random.Generator, int], Columns]  # so many games
    measures: tuple[Measure, ...]

    @property
    def name(self) -> str:
        """Return the name."""
        return f"{self.group}: {self.setting}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured figure and what became of its claim."""

    group: str
    line: str
    column: str
    figure: Figure
    claim: str  # in words; empty: none
    verdict: str  # holds, fails, or empty without a claim


def rows(cell: Cell, columns: Columns) -> list[Row]:
    """Return what a cell's games say. A claim fails also where no game had anything to count."""
    found = []
    for measure in cell.measures:
        figure, claim, verdict = measure.read(columns), measure.claim, ""
        if claim is not None:
            verdict = "holds" if figure.games and claim.holds(figure) else "fails"
        found.append(
            Row(
                group=cell.group,
                line=measure.line,
                column=measure.column,
                figure=figure,
                claim="" if claim is None else claim.words,
                verdict=verdict,
            )
        )
    return found
