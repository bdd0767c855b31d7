"""A published table as text, by the name of its format: every cell with how it is known."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ablations.report import latex, tex
from ablations.report.markdown import escape
from ablations.report.table import WIDTH
from ablations.report.words import NOTHING
from recipes.published import Cell, Column, Number, Status, Table, Text

SCHEMA_VERSION = 1
_GAP = "  "
_DIFFERENCE = "points"  # the unit whose numbers have a sign


def render_table(table: Table, format: str) -> str:
    """Return a published table as text that ends in a line break.

    Raises:
        KeyError: there is no such format.
    """
    return _WRITERS[format](table)


def to_text(table: Table) -> str:
    """Return the table for a terminal; below it, what is to be known of its numbers."""
    columns = [_aligned(table, place) for place in range(len(table.columns))]
    lines = [_GAP.join(line).rstrip() for line in zip(*columns, strict=True)]
    below = [line for item in _said(table) for line in _item(f"- {item}")]
    return "\n".join([*_item(_heading(table)), *filter(None, lines), *below]) + "\n"


def to_markdown(table: Table) -> str:
    """Return the table as GitHub reads it."""
    usual = [_usual(cells) for cells in _columns(table)]
    lines = [
        [escape(_head(column)) for column in table.columns],
        [":---" if _is_words(cells) else "---:" for cells in _columns(table)],
    ]
    for row in table.rows:
        cells = zip(row, table.columns, usual, strict=True)
        lines.append(
            [escape(_show(cell, column) + _mark(cell, own)) for cell, column, own in cells]
        )
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    below = "\n".join(f"- {escape(item)}" for item in _said(table))
    return f"**{escape(_heading(table))}**\n\n{rows}\n\n{below}\n"


def to_latex(table: Table) -> str:
    """Return the table in the style of booktabs; marks stand beside numbers that stay in line."""
    usual = [_usual(cells) for cells in _columns(table)]
    columns = "".join("l" if _is_words(cells) else "r" for cells in _columns(table))
    heads = [[tex.escape(column.name) for column in table.columns]]
    heads += [[tex.escape(column.unit) for column in table.columns]]
    header = " ".join(rf"{' & '.join(line)} \\" for line in heads if any(line))
    rows = [
        [
            _tex(cell, column, own)
            for cell, column, own in zip(row, table.columns, usual, strict=True)
        ]
        for row in table.rows
    ]
    stem = tex.name(table.name)
    parts = ["\n".join([tex.comment(_heading(table)), latex.HEAD])]
    for start in range(0, len(rows), latex.ROWS):
        told = [f"{_heading(table)}{' (continued)' if start else ''}."]
        key = f"{stem}-{start // latex.ROWS + 1}"
        parts.append(latex.table(told, key, columns, header, rows[start : start + latex.ROWS]))
    return "\n\n".join([*parts, latex.items([*_said(table)])]) + "\n"


def _tex(cell: Cell, column: Column, usual: Status) -> str:
    shown, mark = _show(cell, column), _mark(cell, usual).strip()
    if cell is None:
        return latex.NOTHING
    signed = isinstance(cell, Number) and shown[0] in "+-"
    found = f"${shown}$" if signed else latex.label(shown)
    return found + (rf"\rlap{{$^{{{mark}}}$}}" if mark else "")


def to_csv(table: Table) -> str:
    """Return every column with its unit, and beside it how each of its cells is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [_head(column) for column in table.columns]
    writer.writerow([name for head in heads for name in (head, f"{head} status")])
    for row in table.rows:
        pairs = [("", "") if cell is None else (cell.value, cell.status.value) for cell in row]
        writer.writerow([part for pair in pairs for part in pair])
    return text.getvalue()


def to_json(table: Table) -> str:
    """Return the table as one object; a cell is `{"value", "status"}` or null."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "read_in": table.read_in,
        "setting": {key: _plain(cell) for key, cell in table.setting.items()},
        "columns": [{"name": column.name, "unit": column.unit} for column in table.columns],
        "rows": [[_plain(cell) for cell in row] for row in table.rows],
        "notes": [_plain(note) for note in table.notes],
    }
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


_WRITERS: dict[str, Callable[[Table], str]] = {
    "table": to_text,
    "json": to_json,
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}


def known(statuses: Mapping[str, Status]) -> str:
    """Return in words which status most have, and which others have another one."""
    (usual, _), *others = Counter(statuses.values()).most_common()
    parts = [
        f"{', '.join(name for name, own in statuses.items() if own is status)} ({status.value})"
        for status, _ in others
    ]
    return f"{usual.value} except {', '.join(parts)}" if parts else usual.value


def stated(setting: Mapping[str, Number | Text]) -> str:
    """Return the setting of published numbers, each part with how it is known."""
    return ", ".join(f"{key} = {remark(cell)}" for key, cell in setting.items())


def remark(cell: Number | Text) -> str:
    """Return words or a number with how they are known."""
    return f"{cell.value} [{cell.status.value}]"


def _heading(table: Table) -> str:
    return f"{table.name}: {table.title} ({table.source})"


def _said(table: Table) -> Iterator[str]:
    usual = [_usual(cells) for cells in _columns(table)]
    statuses = {column.name: status for column, status in zip(table.columns, usual, strict=True)}
    marked = {
        cell.status.value
        for row in table.rows
        for cell, status in zip(row, usual, strict=True)
        if cell is not None and cell.status is not status
    }
    legend = "".join(f"; {word[0]} = {word}" for word in sorted(marked))
    yield f"how the numbers are known: {known(statuses)}{legend}"
    if table.setting:
        yield f"setting: {stated(table.setting)}"
    for note in table.notes:
        yield remark(note)
    yield f"read in: {table.read_in}"


def _aligned(table: Table, place: int) -> list[str]:
    """Return name, unit and cells of a column at one width."""
    column, cells = table.columns[place], [row[place] for row in table.rows]
    marks = [_mark(cell, _usual(cells)) for cell in cells]
    room = max(map(len, marks), default=0)  # numbers stand in line whether marked or not
    pairs = zip(cells, marks, strict=True)
    texts = [column.name.ljust(len(column.name) + room), column.unit + " " * room]
    texts += [_show(cell, column) + mark.ljust(room) for cell, mark in pairs]
    width = max(map(len, texts))
    return [text.ljust(width) if _is_words(cells) else text.rjust(width) for text in texts]


def _columns(table: Table) -> list[list[Cell]]:
    return [[row[place] for row in table.rows] for place in range(len(table.columns))]


def _is_words(cells: Iterable[Cell]) -> bool:
    return any(isinstance(cell, Text) for cell in cells)


def _usual(cells: Sequence[Cell]) -> Status:
    counts = Counter(cell.status for cell in cells if cell is not None)
    return counts.most_common(1)[0][0]


def _mark(cell: Cell, usual: Status) -> str:
    return "" if cell is None or cell.status is usual else f" {cell.status.value[0]}"


def _head(column: Column) -> str:
    return f"{column.name} {column.unit}".strip()


def _show(cell: Cell, column: Column) -> str:
    if cell is None:
        return NOTHING
    signed = column.unit == _DIFFERENCE and isinstance(cell, Number)
    return f"{cell.value:+}" if signed else str(cell.value)


def _plain(cell: Cell) -> dict[str, Any] | None:
    return None if cell is None else {"value": cell.value, "status": cell.status.value}


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
