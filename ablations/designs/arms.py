"""The arms of a layout, each made once, and contrasts between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.designs.split import blocks, summed
from ablations.designs.stacks import Stacks
from ablations.plans import BASE, COMPONENTS, Arm, Contrast, Layout, Split
from recipes import Applied, Component, RecipeError
from recipes.identity import fingerprint


class Arms:
    """Equal recipes are one arm, under the first name that was asked for."""

    def __init__(self, stacks: Stacks) -> None:
        self.stacks = stacks
        self._by_fingerprint: dict[str, Arm] = {}
        self.get(())

    def get(self, subset: Iterable[Component]) -> str:
        """Return the name of the arm with these components, applied in the order of the request."""
        recipe, inside = self.stacks.recipe(subset)
        name = ",".join(str(component) for component in inside) or BASE
        arm = Arm(name=name, recipe=recipe, components=inside)
        return self._by_fingerprint.setdefault(fingerprint(recipe), arm).name

    def has(self, subset: Iterable[Component]) -> bool:
        """Return whether the arm with these components is in the layout already."""
        return fingerprint(self.stacks.recipe(subset)[0]) in self._by_fingerprint

    def all(self) -> tuple[Arm, ...]:
        """Return the arms in the order in which they were asked for, the base first."""
        return tuple(self._by_fingerprint.values())

    def alone(self, component: Component) -> Contrast:
        """Return a component against the base."""
        return self._step(component, (), "alone")

    def in_recipe(self, component: Component) -> Contrast:
        """Return a component beside the first levels of all the others."""
        return self._step(component, self.stacks.others(component), "in_recipe")

    def in_order(self, component: Component) -> Contrast:
        """Return a component beside the first levels of those before it."""
        return self._step(component, self.stacks.before(component), "in_order")

    def pooled(self, component: Component, weights: Mapping[str, float]) -> Contrast:
        """Return the effect of a component over several arms, averaged over the others."""
        found = self._contrast(component, (), "average_over_others")
        return replace(found, weights=dict(weights)) if found.outcome == "applied" else found

    def step(self, component: Component, context: Sequence[Component]) -> dict[str, float]:
        """Return the weights of a component beside others; empty where it changes nothing there."""
        return summed((self.get(context), -1.0), (self.get((*context, component)), 1.0))

    def _step(self, component: Component, context: Sequence[Component], estimand: str) -> Contrast:
        control, treatment = self.get(context), self.get((*context, component))
        found = self._contrast(component, context, estimand)
        if found.outcome != "applied":
            return found
        if control == treatment:
            raise RecipeError(
                f"{component} changes leaves that mean nothing here, so its arm would equal its"
                " control: leave it out"
            )
        return replace(
            found,
            control=control,
            treatment=treatment,
            weights={control: -1.0, treatment: 1.0},
        )

    def _contrast(
        self, component: Component, context: Sequence[Component], estimand: str
    ) -> Contrast:
        outcome = self.stacks.outcome(component, context)
        common: dict[str, Any] = {
            "label": f"+{component}",
            "component": component.key,
            "kind": component.kind,
            "outcome": outcome.outcome,
            "estimand": estimand,
            "family": COMPONENTS,
        }
        if isinstance(outcome, Applied):
            return Contrast(edits=outcome.edits, **common)
        return Contrast(reason=outcome.reason, **common)


def layout(design: str, arms: Arms, contrasts: Sequence[Contrast], **more: Any) -> Layout:
    """Return a layout whose split has the blocks where all four arms are there anyway."""
    more.setdefault(
        "split",
        Split(
            by_ladder={"training": {}, "architecture": {}},
            by_blocks=blocks(arms.stacks, arms, add=False),
        ),
    )
    return Layout(design=design, arms=arms.all(), contrasts=tuple(contrasts), **more)
