"""The grammar of `--add`: components, their arguments and bundles, as `ra(magnitude=15),ls`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from recipes.component import Component
from recipes.components import BUNDLES, TABLE
from recipes.errors import RecipeError
from recipes.leaf import nearest
from recipes.outside import load_component
from recipes.text import read_value


def parse(text: str) -> tuple[Component, ...]:
    """Read a list of components: `ra(magnitude=15),ls`, a bundle, `package.module:Name(x=1)`.

    Raises:
        RecipeError: every unknown name and argument and every unreadable value, told together.
    """
    found: list[Component] = []
    wrong: list[str] = []
    items = [item.strip() for item in _split(text)]
    if not all(items):
        problem = "leaves a component empty" if any(items) else "names no component"
        raise RecipeError(f"{text!r} {problem}; choose from {', '.join(TABLE)}")
    for item in items:
        try:
            found += _read_item(item, text)
        except RecipeError as error:
            wrong += error.problems
    named: dict[str, Component] = {}
    for component in found:
        other = named.setdefault(component.name(), component)
        if other is not component:
            how = f", as {other} and as {component}" if str(other) != str(component) else ""
            wrong.append(f"{component.name()} is named twice{how}{_bundles_in(items)}")
    if wrong:
        raise RecipeError(wrong)
    return tuple(found)


def format_spec(components: Sequence[Component]) -> str:
    """Return the text that `parse` reads back to equal components."""
    return ",".join(str(component) for component in components)


def _bundles_in(items: Sequence[str]) -> str:
    named = [item.strip() for item in items if item.strip() in BUNDLES]
    said = "; ".join(f"{name} is {','.join(BUNDLES[name])}" for name in named)
    return f" (bundles count: {said})" if said else ""


def _read_item(item: str, text: str) -> list[Component]:
    name, bracket, rest = item.partition("(")
    name = name.strip()
    if bracket and not rest.endswith(")"):
        raise RecipeError(f"{item!r} in {text!r}: the brackets do not close")
    arguments = [part.strip() for part in _split(rest[:-1])] if rest[:-1].strip() else []
    if name in BUNDLES:
        if arguments:
            raise RecipeError(f"{item!r}: the bundle {name!r} takes no arguments")
        return [TABLE[key]() for key in BUNDLES[name]]
    owner = load_component(name) if ":" in name or "." in name else TABLE.get(name)
    if owner is None:
        owner = _entry_point(name)
    if owner is None:
        known = (*TABLE, *BUNDLES)
        raise RecipeError(
            f"there is no component {name!r}: the components are {', '.join(TABLE)}, the bundles"
            f" {', '.join(BUNDLES)}{nearest(name, known)}"
        )
    return [_construct(owner, arguments, item)]


def _entry_point(name: str) -> type[Component] | None:
    # Only asked for names that the table does not know: reading installed packages takes 50 ms.
    from importlib.metadata import entry_points

    points = [point for point in entry_points(group="ablate.components") if point.name == name]
    return load_component(points[0].value) if points else None


def _construct(owner: type[Component], arguments: Sequence[str], item: str) -> Component:
    try:
        hints = typing.get_type_hints(owner)
    except NameError as error:  # a type imported for the type checker only
        raise RecipeError(f"{item!r}: the types of its arguments cannot be read: {error}") from None
    names = [entry.name for entry in dataclasses.fields(owner) if entry.init]
    values: dict[str, Any] = {}
    wrong = []
    for position, argument in enumerate(arguments):
        name, equals, word = argument.partition("=")
        if not equals:
            name, word = (names[0] if position == 0 and names else ""), argument
        name = name.strip()
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            wrong.append(
                f"{item!r} has no argument {name or argument!r}{nearest(name, names)}; {takes}"
            )
            continue
        if name in values:
            wrong.append(f"{item!r} gives {name} twice")
            continue
        try:
            values[name] = read_value(word, hints[name])
        except ValueError as error:
            wrong.append(f"{item!r}: {name} = {error}")
    if wrong:
        raise RecipeError(wrong)
    try:
        return owner(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{item!r}: {error}") from None


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for place, letter in enumerate(text):
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
            continue
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if depth or quote:
        raise RecipeError(f"{text!r}: the {'quotes' if quote else 'brackets'} do not close")
    return [*parts, text[start:]]
