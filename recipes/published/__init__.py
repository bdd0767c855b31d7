"""Published ladders and tables as data: YAML, each number with how it is known."""

from __future__ import annotations

from importlib.resources import files

from recipes.errors import RecipeError
from recipes.leaf import nearest
from recipes.published.reading import read
from recipes.published.values import (
    Beside,
    Cell,
    Column,
    Ladder,
    Number,
    Publication,
    Rung,
    Status,
    Table,
    Text,
)

__all__ = [
    "Beside",
    "Cell",
    "Column",
    "Ladder",
    "Number",
    "Publication",
    "Rung",
    "Status",
    "Table",
    "Text",
    "load",
    "names",
    "read",
]


def names() -> tuple[str, ...]:
    """Return the names of the published ladders and tables."""
    entries = files("recipes.published").iterdir()
    return tuple(sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml")))


def load(name: str) -> Ladder | Table:
    """Return a published ladder or table by name.

    Raises:
        RecipeError: no such name (with the nearest), or a file with mistakes.
    """
    if name not in names():
        raise RecipeError(
            f"nothing is published under {name!r}{nearest(name, names())}; there are"
            f" {', '.join(names())}"
        )
    text = files("recipes.published").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return read(text, name)
