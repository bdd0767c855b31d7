"""Designs: pure functions from a base and components to arms and contrasts.

An arm is named by the components in it and made once, whichever design or contrast asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ablations.plans import BASE, Arm, Contrast, Layout, Split
from recipes import AlreadyPresent, Applied, Component, NotApplicable, Recipe, RecipeError, apply
from recipes.component import check_conflicts
from recipes.identity import fingerprint
from recipes.leaf import nearest

FACTORIAL_LIMIT = 6  # 64 arms


def ladder(base: Recipe, components: Sequence[Component]) -> Layout:
    """Add the components one at a time, in order, each on top of those before it.

    The arms of the 2 x 2 split (none, training, architecture, both) are added where both sides
    are present: one more arm when one side comes first, two where the sides interleave.
    """
    arms = _Arms(base, components)
    contrasts = []
    for position, component in enumerate(components):
        before, after = arms.get(components[:position]), arms.get(components[: position + 1])
        contrasts.append(arms.contrast(component, components[:position], before, after, "in_order"))
    blocks = _blocks(arms, components, add=True)
    return Layout(
        design="ladder",
        arms=arms.all(),
        contrasts=tuple(contrasts),
        split=Split(by_ladder=by_ladder(contrasts), by_blocks=blocks),
    )


def one_at_a_time(base: Recipe, components: Sequence[Component]) -> Layout:
    """Add each component alone to the base."""
    arms = _Arms(base, components)
    contrasts = [
        arms.contrast(component, (), arms.get(()), arms.get((component,)), "alone")
        for component in components
    ]
    return _layout("one-at-a-time", arms, contrasts, components)


def leave_one_out(base: Recipe, components: Sequence[Component]) -> Layout:
    """Take each component alone out of the full recipe."""
    arms = _Arms(base, components)
    contrasts = []
    for component in components:
        others = tuple(other for other in components if other is not component)
        contrasts.append(
            arms.contrast(component, others, arms.get(others), arms.get(components), "in_recipe")
        )
    return _layout("leave-one-out", arms, contrasts, components)


def factorial(base: Recipe, components: Sequence[Component]) -> Layout:
    """Train every subset of the components; effects are averages over all the others."""
    arms = _Arms(base, components)
    live = [component for component in components if isinstance(apply(component, base), Applied)]
    if len(live) > FACTORIAL_LIMIT:
        raise RecipeError(
            f"factorial of {len(live)} components has {2 ** len(live)} arms; at most"
            f" {FACTORIAL_LIMIT} components: use ladder, one-at-a-time or leave-one-out"
        )
    subsets = [
        subset for size in range(len(live) + 1) for subset in itertools.combinations(live, size)
    ]
    names = {subset: arms.get(subset) for subset in subsets}
    contrasts = []
    for component in components:
        if component not in live:
            contrasts.append(arms.contrast(component, (), BASE, BASE, "average_over_others"))
            continue
        weights: dict[str, float] = {}
        for subset, name in names.items():
            sign = 1.0 if component in subset else -1.0
            weights[name] = weights.get(name, 0.0) + sign / 2 ** (len(live) - 1)
        found = arms.contrast(component, (), None, None, "average_over_others")
        contrasts.append(_replace(found, weights=weights))
    return _layout("factorial", arms, contrasts, components)


DESIGNS: dict[str, Callable[[Recipe, Sequence[Component]], Layout]] = {
    "ladder": ladder,
    "one-at-a-time": one_at_a_time,
    "leave-one-out": leave_one_out,
    "factorial": factorial,
}


def lay_out(design: str, base: Recipe, components: Sequence[Component]) -> Layout:
    """Return the layout of a design by name.

    Raises:
        RecipeError: there is no such design, two components contradict each other, or a component
            writes what it may not.
    """
    if design not in DESIGNS:
        raise RecipeError(
            f"there is no design {design!r}: the designs are {', '.join(DESIGNS)}"
            f"{nearest(design, DESIGNS)}"
        )
    check_conflicts(base, components)
    return DESIGNS[design](base, components)


def by_ladder(contrasts: Sequence[Contrast]) -> dict[str, dict[str, float]]:
    """Return the weights of each side's steps, summed in the order given."""
    sides: dict[str, dict[str, float]] = {"training": {}, "architecture": {}}
    for contrast in contrasts:
        assert contrast.kind is not None
        total = sides[contrast.kind.side]
        for arm, weight in contrast.weights.items():
            total[arm] = total.get(arm, 0.0) + weight
    return {
        side: {arm: weight for arm, weight in total.items() if weight}
        for side, total in sides.items()
    }


def by_blocks(
    none: str, training: str, architecture: str, both: str
) -> dict[str, dict[str, float]]:
    """Return the weights of the 2 x 2 split over its four arms."""
    n, t, a, b = none, training, architecture, both
    return {
        "training": _sum((t, 0.5), (n, -0.5), (b, 0.5), (a, -0.5)),
        "architecture": _sum((a, 0.5), (n, -0.5), (b, 0.5), (t, -0.5)),
        "interaction": _sum((b, 1.0), (t, -1.0), (a, -1.0), (n, 1.0)),
    }


class _Arms:
    """The arms of a layout, each made once: equal recipes are one arm, under its first name."""

    def __init__(self, base: Recipe, components: Sequence[Component]) -> None:
        self._base = base
        self._order = list(components)
        self._by_fingerprint: dict[str, Arm] = {}
        self.get(())

    def get(self, subset: Iterable[Component]) -> str:
        """Return the name of the arm with these components, applied in the order of the request."""
        recipe, inside = self.recipe(subset)
        name = ",".join(str(component) for component in inside) or BASE
        arm = Arm(name=name, recipe=recipe, components=tuple(inside))
        return self._by_fingerprint.setdefault(fingerprint(recipe), arm).name

    def recipe(self, subset: Iterable[Component]) -> tuple[Recipe, list[Component]]:
        """Return the recipe with these components and those of them that changed it."""
        recipe, inside, wanted = self._base, [], list(subset)
        for component in (one for one in self._order if one in wanted):
            outcome = apply(component, recipe)
            if isinstance(outcome, Applied):
                recipe = outcome.recipe
                inside.append(component)
        return recipe, inside

    def has(self, subset: Iterable[Component]) -> bool:
        """Return whether the arm with these components is in the layout already."""
        return fingerprint(self.recipe(subset)[0]) in self._by_fingerprint

    def all(self) -> tuple[Arm, ...]:
        """Return the arms in the order in which they were asked for, the base first."""
        return tuple(self._by_fingerprint.values())

    def contrast(
        self,
        component: Component,
        context: Iterable[Component],
        control: str | None,
        treatment: str | None,
        estimand: str,
    ) -> Contrast:
        """Return the contrast of one component in the context of others."""
        outcome = apply(component, self.recipe(context)[0])
        common: dict[str, Any] = {
            "label": f"+{component}",
            "component": component.key,
            "kind": component.kind,
            "outcome": outcome.outcome,
            "estimand": estimand,
        }
        if isinstance(outcome, AlreadyPresent | NotApplicable):
            return Contrast(reason=outcome.reason, **common)
        if control is None or treatment is None:
            return Contrast(edits=outcome.edits, **common)
        if control == treatment:
            raise RecipeError(
                f"{component} changes leaves that mean nothing here, so its arm would equal its"
                " control: leave it out"
            )
        return Contrast(
            edits=outcome.edits,
            control=control,
            treatment=treatment,
            weights={control: -1.0, treatment: 1.0},
            **common,
        )


def _layout(
    design: str, arms: _Arms, contrasts: Sequence[Contrast], components: Sequence[Component]
) -> Layout:
    return Layout(
        design=design,
        arms=arms.all(),
        contrasts=tuple(contrasts),
        split=Split(
            by_ladder={"training": {}, "architecture": {}},
            by_blocks=_blocks(arms, components, add=False),
        ),
    )


def _blocks(
    arms: _Arms, components: Sequence[Component], *, add: bool
) -> dict[str, dict[str, float]] | None:
    """Return the 2 x 2 split, or None where a side is missing or its arms are not in the layout."""
    inside = arms.recipe(components)[1]
    training = [component for component in inside if component.kind.side == "training"]
    architecture = [component for component in inside if component.kind.side == "architecture"]
    subsets = ((), training, architecture, inside)
    if not training or not architecture:
        return None
    if not add and not all(arms.has(subset) for subset in subsets):
        return None
    return by_blocks(*(arms.get(subset) for subset in subsets))


def _sum(*terms: tuple[str, float]) -> dict[str, float]:
    """Return weights by arm; an arm that stands in two places gets both weights."""
    total: dict[str, float] = {}
    for arm, weight in terms:
        total[arm] = total.get(arm, 0.0) + weight
    return total


def _replace(contrast: Contrast, **changes: Any) -> Contrast:
    import dataclasses

    return dataclasses.replace(contrast, **changes)
