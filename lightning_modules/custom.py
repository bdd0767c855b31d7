"""A user's callables at the four hooks of a recipe (`custom.<name>`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from recipes import Recipe, RecipeError
from recipes.outside import load_target, source_digest


def hooks_of(recipe: Recipe, place: str) -> list[Callable[..., Any]]:
    """Return the callables at one hook, in the order of their names.

    Raises:
        RecipeError: a callable cannot be imported, or its source is not the one in the recipe.
    """
    found: list[Callable[..., Any]] = []
    for hook in recipe.custom:
        if hook.hook != place:
            continue
        function = load_target(hook.target)
        if source_digest(function) != hook.source:
            raise RecipeError(
                f"custom.{hook.name}: the source of {hook.target} has changed since the recipe was"
                " made; plan again, so that its runs get an identity of their own"
            )
        found.append(partial(function, **dict(hook.arguments)))
    return found


def made_by(hook: Callable[..., Any], given: Any, kind: type) -> Any:
    """Return what a hook makes of a network or an optimiser.

    Raises:
        RecipeError: it returns something else.
    """
    found = hook(given)
    if not isinstance(found, kind):
        name = getattr(getattr(hook, "func", hook), "__name__", "a hook")
        raise RecipeError(
            f"the hook {name}() returned {type(found).__name__}, not {kind.__name__}: has it a"
            " `return`?"
        )
    return found
