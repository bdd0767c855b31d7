"""The grammar of `--add`: components, their arguments and bundles, as `ra(magnitude=15),ls`.

An argument may have levels, as `ra(magnitude=10|15|20)`: one component, several recipes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes.component import Component, default_argument, show_argument
from recipes.components import BUNDLES, TABLE
from recipes.errors import RecipeError
from recipes.leaf import nearest
from recipes.outside import load_component
from recipes.text import read_value

LEVELS_LIMIT = 24  # alternatives of one component: more is a search, not an ablation


@dataclass(frozen=True)
class Levels:
    """One component at several levels: a recipe holds at most one of `alternatives`.

    They are the product of the levels of its arguments, the last argument moving fastest. Written
    as the grammar reads it: `ra(magnitude=10|15)`.

    Raises:
        ValueError: the alternatives are not two or more different ones of one component, or are no
            product of levels.
    """

    alternatives: tuple[Component, ...]

    def __post_init__(self) -> None:
        owners = {type(one) for one in self.alternatives}
        if len(owners) != 1 or len(self.alternatives) < 2:
            raise ValueError("levels are two or more alternatives of one component")
        if self.alternatives != _product(self.alternatives[0], self._arguments()):
            raise ValueError(
                f"{', '.join(map(str, self.alternatives))}: not the product of levels of arguments"
            )

    def __str__(self) -> str:
        """Return the text that the grammar reads back, as `ra(magnitude=10|15)`."""
        entries = dataclasses.fields(self.alternatives[0])
        defaults = {entry.name: default_argument(entry) for entry in entries}
        words = [
            f"{name}={'|'.join(show_argument(value) or repr('') for value in values)}"
            for name, values in self._arguments().items()
            if len(values) > 1 or values[0] != defaults[name]
        ]
        return f"{self.name()}({', '.join(words)})"

    def name(self) -> str:
        """Return how the grammar calls the component."""
        return self.alternatives[0].name()

    def _arguments(self) -> dict[str, list[Any]]:
        """Return the different values of each argument, in their order."""
        found: dict[str, list[Any]] = {}
        for entry in dataclasses.fields(self.alternatives[0]):
            if entry.init:
                values = found.setdefault(entry.name, [])
                for one in self.alternatives:
                    value = getattr(one, entry.name)
                    values += [] if value in values else [value]
        return found


def parse(text: str) -> tuple[Component, ...]:
    """Read a list of components: `ra(magnitude=15),ls`, a bundle, `package.module:Name(x=1)`.

    Raises:
        RecipeError: every unknown name and argument, every unreadable value and every component
            with levels, told together.
    """
    found: list[Component] = []
    several = []
    for one in parse_levels(text):
        if isinstance(one, Levels):
            several.append(f"{one} has levels, and a recipe holds one: choose one of them")
        else:
            found.append(one)
    if several:
        raise RecipeError(several)
    return tuple(found)


def parse_levels(text: str) -> tuple[Component | Levels, ...]:
    """Read a list of components as `parse`, where arguments may have levels: `x=1|2`.

    Several arguments with levels in one component are their product.

    Raises:
        RecipeError: every unknown name and argument, every unreadable, empty or repeated value,
            told together.
    """
    found: list[Component | Levels] = []
    wrong: list[str] = []
    items = [item.strip() for item in _split(text, ",")]
    if not all(items):
        problem = "leaves a component empty" if any(items) else "names no component"
        raise RecipeError(f"{text!r} {problem}; choose from {', '.join(TABLE)}")
    for item in items:
        try:
            found += _read_item(item, text)
        except RecipeError as error:
            wrong += error.problems
    named: dict[str, Component | Levels] = {}
    for component in found:
        other = named.setdefault(component.name(), component)
        if other is not component:
            how = f", as {other} and as {component}" if str(other) != str(component) else ""
            hint = "; several levels of one are asked as ra(magnitude=10|15)" if how else ""
            wrong.append(f"{component.name()} is named twice{how}{_bundles_in(items)}{hint}")
    if wrong:
        raise RecipeError(wrong)
    return tuple(found)


def format_spec(components: Sequence[Component | Levels]) -> str:
    """Return the text that `parse_levels` reads back to equal components."""
    return ",".join(str(component) for component in components)


def _bundles_in(items: Sequence[str]) -> str:
    named = [item.strip() for item in items if item.strip() in BUNDLES]
    said = "; ".join(f"{name} is {','.join(BUNDLES[name])}" for name in named)
    return f" (bundles count: {said})" if said else ""


def _read_item(item: str, text: str) -> list[Component | Levels]:
    name, bracket, rest = item.partition("(")
    name = name.strip()
    if bracket and not rest.endswith(")"):
        raise RecipeError(f"{item!r} in {text!r}: the brackets do not close")
    arguments = [part.strip() for part in _split(rest[:-1], ",")] if rest[:-1].strip() else []
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


def _construct(owner: type[Component], arguments: Sequence[str], item: str) -> Component | Levels:
    try:
        hints = typing.get_type_hints(owner)
    except NameError as error:  # a type imported for the type checker only
        raise RecipeError(f"{item!r}: the types of its arguments cannot be read: {error}") from None
    names = [entry.name for entry in dataclasses.fields(owner) if entry.init]
    levels: dict[str, list[Any]] = {}
    wrong = []
    for position, argument in enumerate(arguments):
        name, equals, text = argument.partition("=")
        if not equals:
            name, text = (names[0] if position == 0 and names else ""), argument
        name = name.strip()
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            wrong.append(
                f"{item!r} has no argument {name or argument!r}{nearest(name, names)}; {takes}"
            )
            continue
        if name in levels:
            wrong.append(f"{item!r} gives {name} twice")
            continue
        levels[name], problems = _read_levels(text, hints[name])
        wrong += [f"{item!r}: {name} = {problem}" for problem in problems]
    count = math.prod(map(len, levels.values()))
    if count > LEVELS_LIMIT:
        wrong.append(f"{item!r} has {count} combinations of levels; at most {LEVELS_LIMIT}")
    if wrong:
        raise RecipeError(wrong)
    try:
        first = owner(**{name: values[0] for name, values in levels.items()})
        if count == 1:
            return first
        ordered = {name: levels[name] for name in names if name in levels}
        return Levels(_product(first, ordered))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{item!r}: {error}") from None


def _read_levels(text: str, kind: Any) -> tuple[list[Any], list[str]]:
    """Return the values of one argument, and what is wrong with them."""
    words = _split(text, "|")
    values: list[Any] = []
    wrong = []
    for word in words:
        if len(words) > 1 and not word.strip():
            wrong.append(f"{text.strip()!r} leaves a level empty")
            continue
        try:
            value = read_value(word, kind)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if value in values:
            wrong.append(f"{text.strip()!r} names the level {word.strip()} twice")
        values.append(value)
    return values, list(dict.fromkeys(wrong))


def _product(one: Component, levels: Mapping[str, Sequence[Any]]) -> tuple[Component, ...]:
    """Return one component for each combination of levels, the last argument moving fastest."""
    return tuple(
        dataclasses.replace(one, **dict(zip(levels, values, strict=True)))
        for values in itertools.product(*levels.values())
    )


def _split(text: str, at: str) -> list[str]:
    """Split outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for place, letter in enumerate(text):
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
            continue
        depth += (letter in "([") - (letter in ")]")
        if letter == at and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if depth or quote:
        raise RecipeError(f"{text!r}: the {'quotes' if quote else 'brackets'} do not close")
    return [*parts, text[start:]]
