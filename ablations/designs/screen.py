"""The screen: many components for few runs, each effect over arms that differ in all the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ablations.designs import aliases
from ablations.designs.arms import Arms, layout
from ablations.designs.choosing import best_within
from ablations.designs.exchange import Array, Row
from ablations.designs.inquiry import REPLICATES, Inquiry, replicated, seeded
from ablations.designs.interactions import named, untrained
from ablations.designs.rows import (
    chosen,
    count_legal,
    folded,
    model,
    plackett_burman_size,
    subset,
)
from ablations.designs.split import summed
from ablations.designs.stacks import Factor
from ablations.plans import Contrast, Layout
from recipes import Component, RecipeError

_MOST_SEEDS = 4  # that fewer arms than a whole design are tried with


def screen(inquiry: Inquiry) -> Layout:
    """Train arms that each have about half of the components, by Plackett and Burman's columns.

    Asks: average_over_others, from all arms at once, so its error is the smallest for the runs.
    Runs: twice the smallest Plackett-Burman size above k (24 arms for k = 8 to 11), or what
    --budget pays, at least k + 1. Every arm has its mirror image (fold-over, resolution IV):
    interactions of pairs do not bias it, those of three do, and pairs cannot be told apart (the
    alias table). Where some combinations cannot be, or a component has levels, its arms are
    D-optimal among the legal ones, interactions bias it, and the alias matrix says by how much.
    With one seed per arm the base and the full arm get more, for the error.
    """
    if inquiry.budget is not None:
        return best_within("screen", inquiry, screens_within(inquiry), fewest_rows(inquiry))
    if not inquiry.live:
        return _laid_out(inquiry, [()])
    whole = _whole(inquiry)
    found = _folded(inquiry, whole // 2) if _can_fold(inquiry) else _chosen(inquiry, whole)
    return replicated(found, REPLICATES) if inquiry.seeds == 1 else found


def screens_within(inquiry: Inquiry) -> Iterator[Layout]:
    """Yield screens of several sizes within the budget: fold-overs where they are paid."""
    budget, live = inquiry.budget or 0, inquiry.live
    if not live or budget < fewest_rows(inquiry):
        return
    whole, fewest = _whole(inquiry), len(live)
    can_fold = _can_fold(inquiry)
    sizes = {budget // seeds for seeds in range(1, _MOST_SEEDS + 1)}
    sizes |= {budget - 2, budget - 2 * (REPLICATES - 1), whole if whole <= budget else 0}
    done: set[tuple[bool, int]] = set()
    for size in sorted(min(size, whole) for size in sizes):
        if can_fold and size >= 2 * fewest:
            kind, count = True, size // 2
        elif size >= fewest_rows(inquiry):
            kind, count = False, size
        else:
            continue
        if (kind, count) not in done:
            done.add((kind, count))
            found = _folded(inquiry, count) if kind else _chosen(inquiry, count)
            yield from seeded(found, budget)


def fewest_rows(inquiry: Inquiry) -> int:
    """Return one run for the base and one for each effect."""
    return 1 + sum(len(factor) for factor in inquiry.live)


def _whole(inquiry: Inquiry) -> int:
    """Return the arms of a whole design: a Plackett-Burman size and its mirror images."""
    size = 2 * plackett_burman_size(fewest_rows(inquiry) - 1)
    if _can_fold(inquiry):
        return min(size, 1 << len(inquiry.live))  # of 1 or 2 components there are fewer arms
    return count_legal(inquiry.stacks, inquiry.live, size)


def _can_fold(inquiry: Inquiry) -> bool:
    """Return whether every combination is legal, as far as pairs say, and no factor has levels."""
    components = [factor[0] for factor in inquiry.live]
    return all(len(factor) == 1 for factor in inquiry.live) and not any(
        inquiry.stacks.apart(*pair) for pair in itertools.combinations(components, 2)
    )


def _folded(inquiry: Inquiry, half: int) -> Layout:
    live = inquiry.live
    rows = folded(len(live), half)
    if not all(inquiry.stacks.is_legal(subset(live, row)) for row in rows):
        return _chosen(inquiry, len(rows))  # three together are illegal where pairs are not
    found = _laid_out(inquiry, rows)
    names = [str(factor[0]) for factor in live]
    signs = 2 * np.array(rows, dtype=float) - 1
    return replace(found, aliases=aliases.of_folded(signs, names))


def _chosen(inquiry: Inquiry, count: int) -> Layout:
    rows = chosen(inquiry.stacks, inquiry.live, count)
    found = _laid_out(inquiry, rows)
    why = _why_not_folded(inquiry)
    note = f"the arms are D-optimal among the legal ones, not of resolution IV: {why}"
    table = aliases.of_chosen(inquiry, found)
    return replace(found, aliases=table, notes=(*found.notes, note))


def _why_not_folded(inquiry: Inquiry) -> str:
    levels = [factor[0].key for factor in inquiry.live if len(factor) > 1]
    if levels:
        return f"{', '.join(levels)} has levels, which exclude each other"
    components = [factor[0] for factor in inquiry.live]
    for pair in itertools.combinations(components, 2):
        if why := inquiry.stacks.apart(*pair):
            return f"not every combination can be ({why})"
    if inquiry.budget is not None and inquiry.budget < 2 * len(components):
        return f"a fold-over takes at least {2 * len(components)} runs"
    return "not every combination of three or more can be"


def _laid_out(inquiry: Inquiry, rows: Sequence[Row]) -> Layout:
    live, arms = inquiry.live, Arms(inquiry.stacks)
    names = [arms.get(subset(live, row)) for row in rows]
    effects: dict[Component, dict[str, float]] = {}
    if live:
        columns = _columns(live, rows)
        weights = np.linalg.pinv(columns)[1:]
        for line, component in zip(
            weights, (one for factor in live for one in factor), strict=True
        ):
            effects[component] = summed(*zip(names, map(float, line), strict=True))
    found = [arms.pooled(one, effects.get(one, {})) for one in inquiry.stacks.order]
    found += [_interaction(inquiry, pair, rows, names) for pair in inquiry.interactions]
    return layout("screen", arms, found)


def _columns(live: Sequence[Factor], rows: Sequence[Row]) -> Array:
    return model(np.array(rows, dtype=float), [len(factor) for factor in live])


def _interaction(
    inquiry: Inquiry, pair: tuple[Component, Component], rows: Sequence[Row], names: Sequence[str]
) -> Contrast:
    """Return the contrast of a pair, where the arms tell it from every other pair.

    Raises:
        RecipeError: they do not.
    """
    contrast = untrained(inquiry.stacks, pair, inquiry.question)
    if contrast is not None:
        return contrast
    components = [one for factor in inquiry.live for one in factor]
    columns = _columns(inquiry.live, rows)
    pairs = list(itertools.combinations(range(len(components)), 2))
    products = [columns[:, a + 1] * columns[:, b + 1] for a, b in pairs]
    whole = np.column_stack([columns, *products])
    inverse = np.linalg.pinv(whole)
    place = columns.shape[1] + pairs.index((components.index(pair[0]), components.index(pair[1])))
    alone = np.eye(whole.shape[1])[place]
    if not np.allclose(inverse[place] @ whole, alone, atol=1e-8):
        label = f"{pair[0]} x {pair[1]}"
        raise RecipeError(
            f"--interaction {label}: the {len(names)} arms of this screen cannot tell it from other"
            " interactions: ask factorial, bracket or shapley for it"
        )
    weights = summed(*zip(names, map(float, inverse[place]), strict=True))
    return named(pair, inquiry.question, weights)
