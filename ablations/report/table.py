"""A report as plain text for terminals: aligned columns, at most 100 wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.report import words

WIDTH = 100
_GAP = "  "
_HEADER = ("change", "kind", "value", "delta", "interval", "n", "seconds", "verdict")
_LEFT = (0, 1, 7)  # columns of words; numbers stand on the right


def to_table(document: Mapping[str, Any]) -> str:
    """Return what was measured, the base, the contrasts by question, the split and the notes."""
    base = document["base"]
    lines = [
        *textwrap.wrap(words.measured(document), WIDTH),
        "",
        *textwrap.wrap(
            f"base {base['recipe']}  {words.estimated(base['value'], base['interval'])}"
            f"  n {base['n']}",
            WIDTH,
        ),
    ]
    for question, contrasts in words.by_estimand(document):
        rows = [_HEADER, *(_row(document, contrast) for contrast in contrasts)]
        lines += ["", question, *_aligned(rows)]
    if sentences := words.split_sentences(document):
        lines += ["", *(line for one in sentences for line in _item(one, ""))]
    if document["notes"]:
        lines += ["", "notes", *(line for note in document["notes"] for line in _item(note, "- "))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _row(document: Mapping[str, Any], contrast: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        contrast["label"],
        contrast["kind"] or words.NOTHING,
        words.number(words.arm_value(document, contrast["treatment"])),
        words.signed(contrast["delta"]),
        words.interval(contrast["interval"]),
        str(contrast["n"]),
        words.seconds(contrast["cost"]["seconds"]),
        words.decision(contrast),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    room = WIDTH - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], room)
    for row in rows:
        label, rest = row[0], row[1:]
        if len(label) > room:  # on lines of its own
            yield from textwrap.wrap(label, WIDTH)
            label = ""
        yield _GAP.join(
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip((label, *rest), widths, strict=True))
        )


def _item(text: str, bullet: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=bullet, subsequent_indent="  ", break_on_hyphens=False
    )
