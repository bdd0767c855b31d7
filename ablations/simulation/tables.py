"""Figures as text: a table per group, lines by columns, or one row per figure for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ablations.report.markdown import escape
from ablations.report.words import NOTHING
from ablations.simulation.cell import Row
from ablations.simulation.figures import LEVEL, Figure
from recipes import RecipeError
from recipes.leaf import nearest

SCHEMA_VERSION = 1
HEADINGS: Mapping[str, str] = {
    "coverage": "share of 95 % intervals that hold the truth of what their design asks, percent",
    "null": "share of studies with a false verdict where every component is worth nothing, percent",
    "screen": "root mean square error against the true average over others, points; 24 runs of 11"
    " components",
    "until": "--until verdicts against the same rule that gives seeds to every arm",
    "width": "--until WIDTH: a first stage measures the noise, a second one is sized by it",
    "power": "share of effects found, of the size that a plan calls the smallest, percent",
}
_FIELDS = ("group", "line", "column", "value", "low", "high", "games", "claim", "verdict")
_CLAIM, _FAILS = "claim", "!"
_GAP = "  "


def render(rows: Sequence[Row], games: int, format: str) -> str:
    """Return figures as text that ends in a line break.

    Raises:
        RecipeError: there is no such format.
    """
    check_format(format)
    return _WRITERS[format](rows, games)


def check_format(format: str) -> None:
    """Raise where there is no such format, before anything is played."""
    if format not in _WRITERS:
        raise RecipeError(
            f"there is no format {format!r}: the formats are {', '.join(_WRITERS)}"
            f"{nearest(format, _WRITERS)}"
        )


def failed(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every claim that the games exclude."""
    return [
        f"{row.group}: {row.line}, {row.column}: {shown(row.figure)}, claimed {row.claim}"
        for row in rows
        if row.verdict == "fails"
    ]


def shown(figure: Figure) -> str:
    """Return a figure with the larger half of its Monte Carlo interval."""
    if math.isnan(figure.value):
        return NOTHING
    reach = max(figure.high - figure.value, figure.value - figure.low)
    if figure.percent:
        return f"{100 * figure.value:.1f} +-{100 * reach:.1f}"
    return f"{figure.value:.3f} +-{reach:.3f}"


def to_table(rows: Sequence[Row], games: int) -> str:
    """Return aligned columns for a terminal."""
    parts = []
    for group, cells in _pivoted(rows):
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            _GAP.join(
                cell.ljust(width) if place in (0, len(widths) - 1) else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        parts.append("\n".join([f"{group}: {HEADINGS[group]}", *lines]))
    return "\n\n".join([*parts, _summary(rows, games)]) + "\n"


def to_markdown(rows: Sequence[Row], games: int) -> str:
    """Return tables as GitHub reads them."""
    parts = []
    for group, (head, *body) in _pivoted(rows):
        sides = [":---" if place in (0, len(head) - 1) else "---:" for place in range(len(head))]
        lines = [_line(map(escape, head)), _line(sides), *(_line(map(escape, one)) for one in body)]
        parts.append(f"**{escape(f'{group}: {HEADINGS[group]}')}**\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, escape(_summary(rows, games))]) + "\n"


def to_csv(rows: Sequence[Row], games: int) -> str:
    """Return one row per figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row) for row in rows)
    return text.getvalue()


def to_json(rows: Sequence[Row], games: int) -> str:
    """Return one object; a figure of no game has null limits."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "games": games,
        "level": LEVEL,
        "figures": [_plain(row) for row in rows],
        "failed": failed(rows),
    }
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


_WRITERS: dict[str, Callable[[Sequence[Row], int], str]] = {
    "table": to_table,
    "json": to_json,
    "markdown": to_markdown,
    "csv": to_csv,
}


def _plain(row: Row) -> dict[str, Any]:
    figure = row.figure
    known = not math.isnan(figure.value)
    return {
        "group": row.group,
        "line": row.line,
        "column": row.column,
        "value": figure.value if known else None,
        "low": figure.low if known else None,
        "high": figure.high if known else None,
        "games": figure.games,
        "claim": row.claim or None,
        "verdict": row.verdict or None,
    }


def _pivoted(rows: Sequence[Row]) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each group's table as cells of text, its head first."""
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        columns = list(dict.fromkeys(row.column for row in own))
        cells = [["", *columns, _CLAIM]]
        for line in dict.fromkeys(row.line for row in own):
            here = {row.column: row for row in own if row.line == line}
            claims = dict.fromkeys(row.claim for row in here.values() if row.claim)
            verdict = "fails" if any(row.verdict == "fails" for row in here.values()) else "holds"
            values = [_value(here[column]) if column in here else "" for column in columns]
            cells.append([line, *values, f"{' / '.join(claims)}: {verdict}" if claims else NOTHING])
        yield group, cells


def _value(row: Row) -> str:
    return f"{shown(row.figure)}{_FAILS if row.verdict == 'fails' else ''}"


def _summary(rows: Sequence[Row], games: int) -> str:
    claimed = [row for row in rows if row.verdict]
    bad = failed(rows)
    words = f"{games} games a cell; +- is the {100 * LEVEL:g} % Monte Carlo interval of a figure"
    held = f"{len(claimed) - len(bad)} of {len(claimed)} claims hold"
    return ". ".join([words, f"{held}{f'; {_FAILS} marks the others' if bad else ''}"])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
