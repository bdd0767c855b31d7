"""Interactions: what two components are worth together beyond each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ablations.designs.arms import Arms
from ablations.designs.inquiry import Inquiry
from ablations.designs.split import summed
from ablations.designs.stacks import Factor, Stacks
from ablations.plans import Contrast
from recipes import Applied, Component, RecipeError, parse
from recipes.leaf import nearest

Pair: TypeAlias = tuple[Component, Component]
Contexts: TypeAlias = Callable[[Stacks, Component, Component], Sequence[Sequence[Component]]]


def on_the_base(stacks: Stacks, first: Component, second: Component) -> list[tuple[Component, ...]]:
    """Return the context without anything else."""
    return [()]


def in_the_full_recipe(
    stacks: Stacks, first: Component, second: Component
) -> list[tuple[Component, ...]]:
    """Return the context of all the others."""
    return [stacks.others(first, second)]


def first_and_last(
    stacks: Stacks, first: Component, second: Component
) -> list[tuple[Component, ...]]:
    """Return both ends, whose mean is the average over the others up to triples."""
    return list(dict.fromkeys([(), stacks.others(first, second)]))


def interactions(arms: Arms, inquiry: Inquiry, contexts: Contexts) -> list[Contrast]:
    """Return the contrasts of the pairs that were asked for, each averaged over its contexts.

    The arms that they need are added.

    Raises:
        RecipeError: the two can never be in one arm.
    """
    found = []
    for first, second in inquiry.interactions:
        contrast = untrained(arms.stacks, (first, second), inquiry.question)
        if contrast is None:
            around = contexts(arms.stacks, first, second)
            terms = [
                (arms.get((*context, *subset)), sign / len(around))
                for context in around
                for subset, sign in (
                    ((first, second), 1.0),
                    ((first,), -1.0),
                    ((second,), -1.0),
                    ((), 1.0),
                )
            ]
            contrast = named((first, second), inquiry.question, summed(*terms))
        found.append(contrast)
    return found


def untrained(stacks: Stacks, pair: Pair, estimand: str) -> Contrast | None:
    """Return the contrast of a pair of which one changes nothing here; None where both do.

    Raises:
        RecipeError: the two can never be in one arm.
    """
    for component in pair:
        outcome = stacks.outcome(component, ())
        if not isinstance(outcome, Applied):
            reason = f"{component}: {outcome.reason}"
            return Contrast(
                label=_label(pair),
                component=None,
                kind=None,
                outcome=outcome.outcome,
                reason=reason,
                estimand=estimand,
            )
    if why := stacks.apart(*pair):
        raise RecipeError(f"--interaction {_label(pair)}: they are never in one arm: {why}")
    return None


def named(pair: Pair, estimand: str, weights: dict[str, float]) -> Contrast:
    """Return the contrast of a pair with its weights."""
    return Contrast(
        label=_label(pair), component=None, kind=None, estimand=estimand, weights=weights
    )


def read_pairs(texts: Sequence[str], factors: Sequence[Factor]) -> tuple[Pair, ...]:
    """Read pairs of components such as `ra:sd`; of components with levels, every pair of levels.

    Raises:
        RecipeError: what is no pair of components of the request, told together.
    """
    found: dict[Pair, None] = {}
    wrong: list[str] = []
    for text in texts:
        try:
            first, second = _read_pair(text, factors)
        except RecipeError as error:
            wrong += error.problems
            continue
        found |= dict.fromkeys((one, other) for one in first for other in second)
    if wrong:
        raise RecipeError(wrong)
    return tuple(found)


def _as_read(name: str) -> str:
    """Return a component's own text for it, as `ra` for `ra(magnitude=15)`."""
    try:
        (component,) = parse(name)
    except (RecipeError, ValueError):
        return name
    return str(component)


def _read_pair(text: str, factors: Sequence[Factor]) -> tuple[Factor, Factor]:
    known = {name: one for one in factors for name in (one[0].key, one[0].name())}
    exact = {str(component): factor for factor in factors for component in factor}
    known |= exact
    splits = [  # a component of one's own has a colon in its name
        (text[:place].strip(), text[place + 1 :].strip())
        for place, letter in enumerate(text)
        if letter == ":"
    ]
    there = ", ".join(factor[0].key for factor in factors)
    if not splits:
        raise RecipeError(f"--interaction {text!r}: give two of the components {there}, as A:B")
    for names in splits:
        found = [known.get(name) or exact.get(_as_read(name)) for name in names]
        if found[0] is not None and found[1] is not None:
            first, second = found[0], found[1]
            if first is second:
                raise RecipeError(f"--interaction {text!r}: give two different components")
            # In the order of the request, whichever way round they were given.
            in_order = factors.index(first) < factors.index(second)
            return (first, second) if in_order else (second, first)
    unknown = [name for name in splits[0] if name not in known and _as_read(name) not in exact] or [
        text
    ]
    raise RecipeError(
        f"--interaction {text!r}: {' and '.join(map(repr, unknown))} not among the components of"
        f" the request, {there}{nearest(unknown[0], known)}"
    )


def _label(pair: Pair) -> str:
    return f"{pair[0]} x {pair[1]}"
