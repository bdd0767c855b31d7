"""A component: a frozen value that says which leaves of a recipe it sets. Nothing else.

Whether it applies, is already present or cannot apply, and whether two components contradict each
other, is computed here from those edits and from the facts of the backbone.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from recipes.errors import RecipeError
from recipes.facts import Facts
from recipes.identity import fingerprint
from recipes.kind import Kind
from recipes.recipe import Recipe
from recipes.tree import (
    declarations,
    edit,
    is_path,
    leaves,
    may_write,
    unknown_leaf,
    value_at,
    writes,
)
from recipes.validate import is_on, show

# How a number is read off a trained network: equal in all arms of a table (design.md section 4).
PROTOCOL = (
    "evaluate.split",
    "evaluate.resolution",
    "evaluate.crop_fraction",
    "evaluate.interpolation",
)


_PROTOCOL_HINT = (
    "; evaluate.* is protocol, of which a table has one: a component that is meant to be an"
    " exception has the class attribute changes_protocol = True"
)


@dataclass(frozen=True)
class Component(ABC):
    """Base of all components. Subclasses are frozen dataclasses with `key`, `kind` and a card.

    The docstring of a subclass is its card: what it does; sets; default and its source; cost;
    interactions; applies to; reference.
    """

    key: ClassVar[str]
    kind: ClassVar[Kind]
    changes_protocol: ClassVar[bool] = False  # may write PROTOCOL: its row is another protocol

    @abstractmethod
    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return `{path: value}` of the leaves to set; must not depend on anything else."""

    def __str__(self) -> str:
        """Return the text that the grammar reads back, as `ra(magnitude=15)`."""
        changed = [
            f"{entry.name}={show_argument(getattr(self, entry.name))}"
            for entry in dataclasses.fields(self)
            if getattr(self, entry.name) != default_argument(entry)
        ]
        return f"{self.name()}({', '.join(changed)})" if changed else self.name()

    @classmethod
    def name(cls) -> str:
        """Return how the grammar calls this class: its key, or `package.module:Name`."""
        from recipes.components import TABLE

        return cls.key if TABLE.get(cls.key) is cls else f"{cls.__module__}:{cls.__qualname__}"

    @classmethod
    def card(cls) -> str:
        """Return the docstring of the component, cleaned of indentation."""
        return inspect.cleandoc(cls.__doc__ or "")


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The component changed the recipe: exactly the leaves in `edits`."""

    recipe: Recipe
    edits: Mapping[str, Any]
    outcome: ClassVar[str] = "applied"
    reason: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class AlreadyPresent:
    """The recipe or its backbone has this already; nothing to train."""

    reason: str
    outcome: ClassVar[str] = "already_present"


@dataclass(frozen=True, kw_only=True)
class NotApplicable:
    """The backbone cannot take this; nothing to train."""

    reason: str
    outcome: ClassVar[str] = "not_applicable"


Outcome: TypeAlias = Applied | AlreadyPresent | NotApplicable


def apply(component: Component, recipe: Recipe) -> Outcome:
    """Apply one component to a recipe and say what became of it.

    Raises:
        RecipeError: the component writes a leaf that its kind may not write, or a value that no
            recipe may hold.
    """
    wanted = _edits(component, recipe)
    _check_kind(component, wanted)
    try:
        edited = edit(recipe, wanted)
    except RecipeError as error:
        raise RecipeError([f"{component}: {problem}" for problem in error.problems]) from None
    now, then = leaves(recipe), leaves(edited)
    changed = {path: then[path] for path in wanted if now.get(path) != then[path]}
    if fingerprint(edited) == fingerprint(recipe):
        asleep = [path for path in wanted if path in declarations() and not is_on(edited, path)]
        for path in asleep:
            switch = declarations()[path].switch
            assert switch is not None
            if switch.path not in wanted and path in changed:
                state = show(value_at(edited, switch.path)) or "none"
                return NotApplicable(reason=f"{path} means nothing while {switch.path} = {state}")
        values = ", ".join(
            f"{path} = {show(then[path]) or 'none'}" for path in wanted if path not in asleep
        )
        return AlreadyPresent(reason=f"the recipe has {values}")
    if recipe.model.facts is not None:
        facts = [recipe.model.facts.of(path, value) for path, value in changed.items()]
        for fact in facts:
            if fact.status == "cannot":
                return NotApplicable(reason=fact.reason)
        for fact in facts:
            if fact.status == "present" and not _is_refined(fact.path, changed, recipe.model.facts):
                return AlreadyPresent(reason=fact.reason)
    return Applied(recipe=edited, edits=changed)


def stack(base: Recipe, components: Sequence[Component]) -> Recipe:
    """Return the base with all components applied in order; one already present changes nothing.

    Raises:
        RecipeError: a component is not applicable, or two write different values to one leaf.
    """
    check_conflicts(base, components)
    recipe = base
    for component in components:
        outcome = apply(component, recipe)
        if isinstance(outcome, NotApplicable):
            raise RecipeError(f"{component} is not applicable: {outcome.reason}")
        if isinstance(outcome, Applied):
            recipe = outcome.recipe
    return recipe


def check_conflicts(base: Recipe, components: Sequence[Component]) -> None:
    """Raise where two components write different values to one leaf, naming both and the leaf.

    Raises:
        RecipeError: one line per contradiction.
    """
    first: dict[str, tuple[Component, Any]] = {}
    found = []
    for component in components:
        for path, value in _edits(component, base).items():
            earlier, written = first.setdefault(path, (component, value))
            if written != value:
                found.append(
                    f"{earlier} sets {path} = {show(written)} and {component} sets it to"
                    f" {show(value)}: keep one of them"
                )
    if found:
        raise RecipeError(found)


def show_argument(value: Any) -> str:
    """Return an argument of a component as the grammar reads it."""
    if isinstance(value, str) and (value != value.strip() or set(value) & set(",|()[]'\"")):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return show(value)


def default_argument(entry: dataclasses.Field[Any]) -> Any:
    """Return the default of an argument of a component."""
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return entry.default


def _edits(component: Component, recipe: Recipe) -> dict[str, Any]:
    try:
        wanted = component.edits(recipe)
    except RecipeError:
        raise
    except Exception as error:  # a user's code, or an argument beyond what arithmetic can hold
        raise RecipeError(
            f"{component}: its edits() failed with {type(error).__name__}: {error}"
        ) from error
    if not isinstance(wanted, Mapping) or not wanted:
        raise RecipeError(f"{component} sets no leaf: edits() must return at least one path")
    return dict(wanted)


def _is_refined(path: str, changed: Mapping[str, Any], facts: Facts) -> bool:
    """Return whether a leaf that depends on this one changes too, and has facts of its own.

    Those are about the very value that is asked for: `model.resnet_d_parts` for `model.resnet_d`.
    """
    told = {fact.path for fact in facts.leaves}
    switches = [declarations()[other].switch for other in changed if other in told]
    return any(switch is not None and switch.path == path for switch in switches)


def _check_kind(component: Component, wanted: Mapping[str, Any]) -> None:
    unknown = [path for path in wanted if not is_path(path)]
    if unknown:
        raise RecipeError([f"{component}: {unknown_leaf(path)}" for path in unknown])
    exempt = PROTOCOL if component.changes_protocol else ()
    foreign = [
        path
        for path, value in wanted.items()
        if not may_write(component.kind, path, value) and path not in exempt
    ]
    if foreign:
        raise RecipeError(
            f"{component} is of kind {component.kind.value} and may not write"
            f" {', '.join(foreign)}; that kind may write {', '.join(writes(component.kind))}"
            f"{_PROTOCOL_HINT if set(foreign) & set(PROTOCOL) else ''}"
        )
