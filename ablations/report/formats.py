"""A report as text, by the name of its format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ablations.report.csv import to_csv
from ablations.report.latex import to_latex
from ablations.report.markdown import to_markdown
from ablations.report.table import to_table
from recipes import RecipeError
from recipes.leaf import nearest


def to_json(document: Mapping[str, Any]) -> str:
    """Return the document itself."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


_WRITERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "table": to_table,
    "json": to_json,
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}
HTML = "html"  # a page, which shows more than a document: `ablations.report.page`
TEXTS = tuple(_WRITERS)
FORMATS = (*TEXTS, HTML)


def render(document: Mapping[str, Any], format: str) -> str:
    """Return a document as text that ends in a line break.

    Raises:
        RecipeError: there is no such format of text.
    """
    if format not in _WRITERS:
        raise RecipeError(
            f"there is no format {format!r}: the formats are {', '.join(TEXTS)}"
            f"{nearest(format, TEXTS)}"
        )
    return _WRITERS[format](document)
