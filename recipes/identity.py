"""What makes two recipes the same: fingerprints that hold only what can change a result."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from recipes.recipe import Hook, Recipe
from recipes.schedule import Schedule
from recipes.tree import declarations, defaults, values
from recipes.validate import is_on

_REQUIRED = object()  # in place of an inert value: the leaf has none


def fingerprint(recipe: Recipe) -> str:
    """Return 20 hexadecimal digits, equal exactly when two recipes mean the same training.

    Skipped are inert leaves, leaves whose switch is off, provenance, and facts of the backbone.
    """
    return digest(active(recipe))


def trajectory(recipe: Recipe) -> str:
    """Return the fingerprint of what feeds back into training.

    Recipes that differ only elsewhere (the average of the weights, the statistics' momentum, the
    evaluation) can be read off one training.
    """
    declared = declarations()
    return digest(
        {
            path: value
            for path, value in active(recipe).items()
            if path not in declared or declared[path].feeds_back
        }
    )


def active(recipe: Recipe) -> dict[str, Any]:
    """Return the leaves that are not inert, by path, as plain values."""
    found: dict[str, Any] = {}
    for (path, hashed, inert), value in zip(_inert(), values(recipe), strict=True):
        plain = _plain(value)
        if plain != inert and hashed and is_on(recipe, path):
            found[path] = plain
    return found | {f"custom.{hook.name}": _plain(hook) for hook in recipe.custom}


@functools.cache
def _inert() -> tuple[tuple[str, bool, Any], ...]:
    """Return every declared leaf, whether it is hashed, and its inert value as a plain one."""
    return tuple(
        (path, leaf.hashed, _plain(defaults()[path]) if path in defaults() else _REQUIRED)
        for path, leaf in declarations().items()
    )


def digest(value: Any) -> str:
    """Return 20 hexadecimal digits of the canonical JSON of plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        levels = {number for _, number in value.points}
        return levels.pop() if len(levels) == 1 else str(value)
    if isinstance(value, Hook):
        return [value.hook, value.target, sorted(value.arguments), value.source]
    return list(value) if isinstance(value, tuple) else value
