"""The leaves of a recipe by path: list them, look them up, edit them, compare them."""

from __future__ import annotations

import dataclasses
import functools
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recipes.errors import RecipeError
from recipes.kind import Kind
from recipes.leaf import Leaf, nearest
from recipes.recipe import (
    HOOKS,
    Augment,
    Data,
    Evaluate,
    Hook,
    Loss,
    Model,
    Optim,
    Recipe,
)

SECTIONS: dict[str, type] = {
    "model": Model,
    "data": Data,
    "augment": Augment,
    "optim": Optim,
    "loss": Loss,
    "evaluate": Evaluate,
}


@functools.cache
def declarations() -> dict[str, Leaf]:
    """Return every declared leaf by path, in the order of declaration. `custom.*` is not here."""
    found = {"task": _declared(Recipe)["task"]}
    for section, owner in SECTIONS.items():
        found |= {f"{section}.{name}": leaf for name, leaf in _declared(owner).items()}
    return found


@functools.cache
def leaf_types() -> dict[str, Any]:
    """Return the declared type of every leaf by path."""
    found = {"task": str}
    for section, owner in SECTIONS.items():
        hints = typing.get_type_hints(owner)
        found |= {f"{section}.{name}": hints[name] for name in _declared(owner)}
    return found


@functools.cache
def defaults() -> dict[str, Any]:
    """Return the inert value of every leaf that has one, by path."""
    found: dict[str, Any] = {"task": "classification"}
    for section, owner in SECTIONS.items():
        for entry in dataclasses.fields(owner):
            if "leaf" in entry.metadata and entry.default is not dataclasses.MISSING:
                found[f"{section}.{entry.name}"] = entry.default
    return found


def leaves(recipe: Recipe) -> dict[str, Any]:
    """Return the value of every leaf by path, `custom.<name>` hooks last."""
    found = dict(zip(declarations(), values(recipe), strict=True))
    return found | {f"custom.{hook.name}": hook for hook in recipe.custom}


def values(recipe: Recipe) -> tuple[Any, ...]:
    """Return the value of every declared leaf, in the order of declaration."""
    return _values()(recipe)


def value_at(recipe: Recipe, path: str) -> Any:
    """Return the value of one leaf.

    Raises:
        RecipeError: with the nearest names where there is no such leaf.
    """
    section, dot, name = path.partition(".")
    if section == "custom" and dot:
        hooks = {hook.name: hook for hook in recipe.custom}
        if name in hooks:
            return hooks[name]
    elif path in declarations():
        return getattr(getattr(recipe, section), name) if dot else getattr(recipe, section)
    raise RecipeError(unknown_leaf(path))


def is_path(path: str) -> bool:
    """Return whether a text names a leaf that a recipe has or, as `custom.<name>`, may have."""
    return path in declarations() or path.startswith("custom.")


def unknown_leaf(path: str) -> str:
    """Return the message for a path that names no leaf."""
    return f"there is no leaf {path!r} in a recipe{nearest(path, declarations())}"


def edit(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with the leaves in `changes` set; the argument is left as it was.

    With another backbone the facts of the old one go: they would answer for the wrong network.

    Raises:
        RecipeError: every unknown leaf, wrong type and impossible value, told together.
    """
    unknown = [unknown_leaf(path) for path in changes if not is_path(path)]
    if unknown:
        raise RecipeError(unknown)
    top: dict[str, Any] = {}
    for section in SECTIONS:
        inside = {
            path.partition(".")[2]: value
            for path, value in changes.items()
            if path.partition(".")[0] == section
        }
        if inside.get("backbone", recipe.model.backbone) != recipe.model.backbone:
            inside["facts"] = None
        if inside:
            top[section] = dataclasses.replace(getattr(recipe, section), **inside)
    if "task" in changes:
        top["task"] = changes["task"]
    hooks = {path: value for path, value in changes.items() if path.startswith("custom.")}
    if hooks:
        top["custom"] = _with_hooks(recipe, hooks)
    return dataclasses.replace(recipe, **top) if top else recipe


def diff(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the leaves that differ as `{path: (first, second)}`; an absent hook is None."""
    ours, theirs = leaves(first), leaves(second)
    return {
        path: (ours.get(path), theirs.get(path))
        for path in ours | theirs
        if ours.get(path) != theirs.get(path)
    }


def writes(kind: Kind) -> Iterator[str]:
    """Yield the paths that a component of `kind` may write; hooks as `custom (<hook>)`."""
    yield from (path for path, leaf in declarations().items() if kind in leaf.kinds)
    yield from (f"custom ({hook})" for hook, kinds in HOOKS.items() if kind in kinds)


def may_write(kind: Kind, path: str, value: Any) -> bool:
    """Return whether a component of `kind` may set this leaf to this value."""
    if path.startswith("custom."):  # what is not a hook of these is told by validate
        return not isinstance(value, Hook) or kind in HOOKS.get(value.hook, (kind,))
    return path in declarations() and kind in declarations()[path].kinds


@functools.cache
def _values() -> Callable[[Recipe], tuple[Any, ...]]:
    # One call for all leaves: a plan of 1,000 arms reads them tens of thousands of times.
    return operator.attrgetter(*declarations())


def _declared(owner: type) -> dict[str, Leaf]:
    return {
        entry.name: entry.metadata["leaf"]
        for entry in dataclasses.fields(owner)
        if "leaf" in entry.metadata
    }


def _with_hooks(recipe: Recipe, changes: Mapping[str, Any]) -> tuple[Hook, ...]:
    hooks: dict[str, Any] = {hook.name: hook for hook in recipe.custom}
    for path, value in changes.items():
        name = path.partition(".")[2]
        hooks[name] = dataclasses.replace(value, name=name) if isinstance(value, Hook) else value
    return tuple(hooks[name] for name in sorted(hooks))
