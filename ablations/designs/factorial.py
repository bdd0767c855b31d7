"""The factorial: every combination, so every question has its answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.interactions import interactions
from ablations.designs.split import summed
from ablations.designs.stacks import Factor, Stacks
from ablations.plans import Contrast, Layout
from recipes import Component, RecipeError

FACTORIAL_LIMIT = 64  # arms, of 6 components without levels


def factorial(inquiry: Inquiry) -> Layout:
    """Train every combination of the components and their levels.

    Asks: average_over_others, each over all combinations of the others; with --question any other.
    Runs: 2^k arms for k components, or the product of (levels + 1), at most 64. Nothing biases it.
    """
    stacks = inquiry.stacks
    stacks.check_conflicts()
    live = inquiry.live
    count = math.prod(len(factor) + 1 for factor in live)
    if count > FACTORIAL_LIMIT:
        raise RecipeError(
            f"factorial of {len(live)} components has {count} arms; at most {FACTORIAL_LIMIT}: use"
            " screen, shapley or bracket for averages over the others, ladder, one-at-a-time or"
            " leave-one-out for one context"
        )
    arms = Arms(stacks)
    for subset in sorted(combinations(live), key=len):  # in the order of studies made before levels
        arms.get(subset)
    ask = {"alone": arms.alone, "in_recipe": arms.in_recipe, "in_order": arms.in_order}
    asked = ask.get(inquiry.question, lambda one: _averaged(arms, live, one))
    found = [asked(component) for component in stacks.order]
    found += interactions(arms, inquiry, _in_every_combination)
    return layout("factorial", arms, found)


def combinations(factors: Iterable[Factor]) -> Iterable[tuple[Component, ...]]:
    """Yield every subset with at most one level of each factor."""
    for states in itertools.product(*((*factor, None) for factor in factors)):
        yield tuple(one for one in states if one is not None)


def _averaged(arms: Arms, live: tuple[Factor, ...], component: Component) -> Contrast:
    contexts = list(combinations(factor for factor in live if component not in factor))
    steps = [
        (arm, weight / len(contexts))
        for context in contexts
        for arm, weight in arms.step(component, context).items()
    ]
    return arms.pooled(component, summed(*steps))


def _in_every_combination(
    stacks: Stacks, first: Component, second: Component
) -> list[tuple[Component, ...]]:
    others = (one for one in stacks.live if first not in one and second not in one)
    return list(combinations(others))
