"""A user's own code: components from outside the project, and callables at the custom hooks.

The only place that imports code named by the user, and only because the user named it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from recipes.component import Component
from recipes.errors import RecipeError
from recipes.kind import Kind
from recipes.leaf import nearest
from recipes.recipe import HOOKS, Hook


def hook(
    place: str, function: Callable[..., Any], /, **arguments: str | int | float | bool
) -> Hook:
    """Return the value of a `custom.<name>` leaf: `function` called at the hook `place`.

    `place` is `model`, `batch`, `loss` or `optimizer` (see `Hook`). The digest of the file that
    defines the function goes into the recipe.

    Raises:
        RecipeError: the function cannot be found again by its name (a lambda, a closure).
    """
    if place not in HOOKS:
        raise RecipeError(
            f"there is no hook {place!r}; the hooks are {', '.join(HOOKS)}{nearest(place, HOOKS)}"
        )
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "<nameless>")
    if module is None or "<" in name or load_target(f"{module}:{name}") is not function:
        raise RecipeError(f"{function!r} is not a function at the top level of a module")
    target = f"{module}:{name}"
    return Hook(
        name="",
        hook=place,
        target=target,
        arguments=tuple(sorted(arguments.items())),
        source=source_digest(function),
    )


def source_digest(function: Callable[..., Any]) -> str:
    """Return 20 hexadecimal digits of the file that defines a callable."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # compiled, as most of torch
        path = None
    if path is None:
        raise RecipeError(
            f"{function!r} has no source file, so a change of it could not be seen: wrap it in a"
            " function of your own"
        )
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:20]


def load_target(target: str) -> Any:
    """Import `package.module:Name`, from the current folder too.

    Raises:
        RecipeError: no such module or name, or the module fails to import.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise RecipeError(f"{target!r} is not of the form package.module:Name")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{target!r}: there is no module {error.name!r} here or among the installed packages"
        ) from None
    except Exception as error:
        raise RecipeError(
            f"{target!r}: importing {module_name} failed with {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise RecipeError(f"{target!r}: {module_name} has no {name!r}")
        found = getattr(found, part)
    return found


def load_component(target: str) -> type[Component]:
    """Import a user's component class.

    Raises:
        RecipeError: it is not a component, or lacks its key or kind.
    """
    found = load_target(target)
    if not (isinstance(found, type) and issubclass(found, Component)):
        raise RecipeError(f"{target!r} is not a subclass of recipes.Component")
    if "__dataclass_fields__" not in vars(found):
        raise RecipeError(
            f"{target!r} is not a dataclass: decorate it with @dataclass(frozen=True)"
        )
    if not isinstance(getattr(found, "key", None), str):
        raise RecipeError(f"{target!r} needs a class attribute key, as key = 'blur'")
    if not isinstance(getattr(found, "kind", None), Kind):
        raise RecipeError(f"{target!r} needs a class attribute kind, as kind = Kind.AUGMENTATION")
    if inspect.isabstract(found):
        raise RecipeError(f"{target!r} needs a method edits(self, recipe)")
    return found
