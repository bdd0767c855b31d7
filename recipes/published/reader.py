"""Reads the parts of a published file and collects what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.leaf import nearest
from recipes.published.values import Cell, Number, Status, Text

_STATUSES = tuple(status.value for status in Status)


class Reader:
    """Remembers what is `wrong` in one file; what cannot be read gets a stand-in meanwhile."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def keys(self, tree: Any, known: Sequence[str], path: str) -> dict[str, Any]:
        """Return a mapping, its unknown keys told."""
        where = f"{path}: " if path else ""
        if not isinstance(tree, Mapping):
            self.wrong.append(f"{where}{tree!r} is not a mapping of {', '.join(known)}")
            return {}
        for key in tree:
            if key not in known:
                self.wrong.append(f"{where}there is no key {key!r}{nearest(str(key), known)}")
        return dict(tree)

    def rows(self, tree: Any, path: str) -> list[Any]:
        """Return a list."""
        if not isinstance(tree, list):
            self.wrong.append(f"{path} = {tree!r} is not a list")
            return []
        return tree

    def words(self, value: Any, path: str, *, optional: bool = False) -> str:
        """Return a text, empty where it may be left out."""
        if value is None and optional:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.wrong.append(f"{path} = {value!r} is not a text")
            return ""
        return " ".join(value.split())

    def status(self, value: Any, path: str) -> Status:
        """Return how something is known."""
        if value not in _STATUSES:
            hint = nearest(str(value), _STATUSES)
            self.wrong.append(f"{path} = {value!r} is not one of {', '.join(_STATUSES)}{hint}")
            return Status.UNCONFIRMED
        return Status(value)

    def cell(self, raw: Any, usual: Status, path: str) -> Cell:
        """Return a number or word with its own status, or with the usual one."""
        status = usual
        if isinstance(raw, Mapping):
            inside = self.keys(raw, ("value", "status"), path)
            raw = inside.get("value")
            status = self.status(inside.get("status"), f"{path}.status")
        if raw is None:
            return None
        if isinstance(raw, str):
            return Text(self.words(raw, path), status)
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
            self.wrong.append(f"{path} = {raw!r} is not a number or a text")
            return None
        return Number(raw, status)

    def number(self, raw: Any, usual: Status, path: str) -> Number:
        """Return a number with its status."""
        told = len(self.wrong)
        found = self.cell(raw, usual, path)
        if isinstance(found, Number):
            return found
        if len(self.wrong) == told:
            self.wrong.append(f"{path} = {raw!r} is not a number")
        return Number(0.0, usual)

    def remark(self, raw: Any, path: str) -> Text:
        """Return a remark, which has no usual status."""
        inside = self.keys(raw, ("text", "status"), path)
        text = self.words(inside.get("text"), f"{path}.text")
        return Text(text, self.status(inside.get("status"), f"{path}.status"))
