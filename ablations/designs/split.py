"""The training / architecture split as weights of arms: by the ladder's steps, and by blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ablations.designs.stacks import Stacks
from ablations.plans import Contrast
from recipes import Component


class Named(Protocol):
    """Arms by what is in them."""

    def get(self, subset: Iterable[Component]) -> str:
        """Return the name of an arm, made where it is new."""

    def has(self, subset: Iterable[Component]) -> bool:
        """Return whether there is such an arm."""


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
        "training": summed((t, 0.5), (n, -0.5), (b, 0.5), (a, -0.5)),
        "architecture": summed((a, 0.5), (n, -0.5), (b, 0.5), (t, -0.5)),
        "interaction": summed((b, 1.0), (t, -1.0), (a, -1.0), (n, 1.0)),
    }


def sides(stacks: Stacks) -> tuple[list[Component], list[Component]]:
    """Return the training and the architecture components of the full recipe."""
    inside = stacks.recipe(stacks.firsts)[1]
    return (
        [component for component in inside if component.kind.side == "training"],
        [component for component in inside if component.kind.side == "architecture"],
    )


def blocks(stacks: Stacks, arms: Named, *, add: bool) -> dict[str, dict[str, float]] | None:
    """Return the 2 x 2 split, or None where a side is missing or its arms are not in the layout.

    Without `add`, also None where the components cannot all be in one arm.
    """
    if not add and not stacks.all_meet():
        return None
    training, architecture = sides(stacks)
    if not training or not architecture:
        return None
    subsets = ((), training, architecture, [*training, *architecture])
    if not add and not all(arms.has(subset) for subset in subsets):
        return None
    return by_blocks(*(arms.get(subset) for subset in subsets))


def summed(*terms: tuple[str, float]) -> dict[str, float]:
    """Return weights by arm: one that stands in several places gets their sum, if any is left."""
    total: dict[str, float] = {}
    for arm, weight in terms:
        total[arm] = total.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in total.items() if abs(weight) > 1e-12}
