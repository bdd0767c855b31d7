"""A report as Markdown, with tables as GitHub reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.report import words
from ablations.report.headline import headline

_HEADER = (
    "change",
    "kind",
    "value",
    "delta",
    "interval",
    "n",
    "p (Holm)",
    "verdict",
    "parameters",
    "multiply-adds",
    "images/s",
    "memory",
    "seconds",
)
_WORDS = ("change", "kind", "verdict")  # on the left; numbers stand on the right


def to_markdown(document: Mapping[str, Any]) -> str:
    """Return the answer in sentences, what was measured, the contrasts, the split and the notes."""
    base = document["base"]
    value = words.estimated(base["value"], base["interval"])
    answer = [escape(sentence) for sentence in headline(document)]
    blocks = [
        *(f"**{sentence}**" for sentence in answer[:1]),
        *answer[1:],
        escape(words.measured(document)),
        escape(f"Base {base['recipe']}: {value}, n {base['n']}"),
    ]
    for question, contrasts in words.by_estimand(document):
        rows = [_row(document, contrast) for contrast in contrasts]
        blocks += [f"**{escape(question)}**", "\n".join(_table(rows))]
    for items in (words.split_sentences(document), document["notes"]):
        if items:
            blocks.append("\n".join(f"- {escape(item)}" for item in items))
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, also inside a table."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _line(_HEADER)
    yield _line([":---" if name in _WORDS else "---:" for name in _HEADER])
    for row in rows:
        yield _line([escape(cell) for cell in row])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(document: Mapping[str, Any], contrast: Mapping[str, Any]) -> tuple[str, ...]:
    cost = contrast["cost"]
    params = cost["params"]
    return (
        contrast["label"],
        contrast["kind"] or words.NOTHING,
        words.number(words.arm_value(document, contrast["treatment"])),
        words.signed(contrast["delta"]),
        words.interval(contrast["interval"]),
        str(contrast["n"]),
        words.probability(contrast["p_holm"]),
        words.decision(contrast),
        words.NOTHING if params is None else f"{params:.0f}",
        words.amount(cost["macs"]),
        words.amount(cost["train_images_per_second"]),
        words.memory(cost["peak_memory_bytes"]),
        words.seconds(cost["seconds"]),
    )
