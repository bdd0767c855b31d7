"""How a leaf of a recipe is declared: its meaning, its kinds, its switch and its limits.

A leaf is a dataclass field made by `leaf`. What a recipe may hold, what is hashed, what a component
may write and what an error says are all computed from these declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recipes.kind import Kind


@dataclass(frozen=True, kw_only=True)
class Switch:
    """The leaf that must be on for a dependent leaf to mean anything.

    `values` empty: on when the leaf is truthy (a number above 0). Else on for those values.
    """

    path: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """The declaration of one leaf. `kinds` empty: no component may write it."""

    doc: str
    kinds: tuple[Kind, ...] = ()
    switch: Switch | None = None
    feeds_back: bool = True  # False: cannot change the training trajectory, only what is read off
    hashed: bool = True  # False: provenance; the interpreter never reads it
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None  # exclusive lower limit


def leaf(doc: str, default: Any = dataclasses.MISSING, **declaration: Any) -> Any:
    """Return a dataclass field that carries its `Leaf` declaration."""
    declared = Leaf(doc=doc, **declaration)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"leaf": declared})
    return dataclasses.field(default=default, metadata={"leaf": declared})


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the empty text when nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
