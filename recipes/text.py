"""Values as a user writes them on a command line, read by the type they must have."""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.errors import RecipeError
from recipes.leaf import nearest
from recipes.schedule import Schedule, parse_scalar
from recipes.tree import declarations, leaf_types, unknown_leaf
from recipes.validate import check, show, type_name

_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


def read_value(text: str, kind: Any) -> Any:
    """Read one value of a declared type, as `0.1`, `linear(0.1, 0)`, `[1, 2]`, `true`, `none`.

    Raises:
        ValueError: what the text is not.
    """
    text = text.strip()
    if type(None) in typing.get_args(kind):
        if text.lower() in ("none", "null"):
            return None
        others = [part for part in typing.get_args(kind) if part is not type(None)]
        kind = functools.reduce(operator.or_, others)
    if kind is str:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    if kind is bool:
        if text.lower() in _YES + _NO:
            return text.lower() in _YES
        raise ValueError(f"{text!r} is not true or false")
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
    if typing.get_origin(kind) is tuple:
        words = [word for word in text.strip("[]()").split(",") if word.strip()]
        return tuple(read_value(word, typing.get_args(kind)[0]) for word in words)
    if typing.get_origin(kind) is typing.Literal:
        choices = {show(choice): choice for choice in typing.get_args(kind)}
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}{nearest(text, choices)}")
        return choices[text]
    if float not in (kind, *typing.get_args(kind)):
        raise ValueError(f"{text!r}: a value of type {kind} cannot be given as text")
    value = parse_scalar(text)
    if isinstance(value, Schedule) and Schedule not in typing.get_args(kind):
        raise ValueError(f"{value} cannot move during training: give {type_name(kind)}")
    return value


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read `path=value` texts (the command line's `--set`) into changes for `edit`.

    Raises:
        RecipeError: every text that is wrong, told together.
    """
    changes: dict[str, Any] = {}
    found = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals:
            found.append(f"{setting!r} is not of the form path=value, as optim.lr=0.05")
        elif path not in declarations():
            found.append(unknown_leaf(path))
        else:
            wrong = _read_into(changes, path, text)
            found += [wrong] if wrong else []
    if found:
        raise RecipeError(found)
    return changes


def _read_into(changes: dict[str, Any], path: str, text: str) -> str | None:
    try:
        value = read_value(text, leaf_types()[path])
    except ValueError as error:
        return f"{path} = {text.strip()!r}: {error}"
    if path in changes and changes[path] != value:
        return f"{path} is set twice, to {changes[path]} and to {value}"
    changes[path] = value
    return check(path, value, declarations()[path])


def plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON and YAML hold them: schedules as text, tuples as lists."""
    return {path: plain_value(value) for path, value in changes.items()}


def plain_value(value: Any) -> Any:
    """Return one value as JSON and YAML hold it."""
    from recipes.recipe import Hook

    if isinstance(value, Schedule):
        return str(value)
    if isinstance(value, Hook):
        return {
            "hook": value.hook,
            "target": value.target,
            "arguments": dict(value.arguments),
            "source": value.source,
        }
    return list(value) if isinstance(value, tuple) else value
