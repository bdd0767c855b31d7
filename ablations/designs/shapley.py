"""Shapley: the ladder in several orders, averaged."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ablations.designs.arms import Arms, layout
from ablations.designs.choosing import best_within
from ablations.designs.inquiry import Inquiry, seeded
from ablations.designs.interactions import first_and_last, interactions
from ablations.designs.split import summed
from ablations.designs.stacks import Factor
from ablations.plans import Layout
from recipes import Component

_PAIRS = 2  # of orders, without a budget: two see more than first in and last in
_MOST_PAIRS = 16  # beyond, another seed tells more than another order


def shapley(inquiry: Inquiry) -> Layout:
    """Add the components in several orders, each order also reversed; average a component's steps.

    Asks: average_over_others, as the mean step over the orders (Shapley's value, estimated).
    Runs: at most 2k arms for k components and one pair of orders, 2k - 2 more for each further
    pair; two pairs, or what --budget pays. The first order is that of the request, so its arms are
    the ladder's. A pair of orders is exact where components interact in pairs only; interactions of
    three and more leave sampling error. Levels take turns from pair to pair.
    """
    if inquiry.budget is not None:
        return best_within("shapley", inquiry, sampled_within(inquiry), fewest_orders(inquiry))
    return _sampled(inquiry, _PAIRS)


def sampled_within(inquiry: Inquiry) -> Iterator[Layout]:
    """Yield layouts of more and more orders within the budget."""
    pairs = 1
    while pairs <= _MOST_PAIRS:
        found = list(seeded(_sampled(replace(inquiry, budget=None), pairs), inquiry.budget or 0))
        if not found:
            return
        yield from found
        pairs *= 2


def fewest_orders(inquiry: Inquiry) -> int:
    """Return the runs of one pair of orders, or as many as there are levels."""
    return len(_sampled(replace(inquiry, budget=None), 1).arms)


def _sampled(inquiry: Inquiry, pairs: int) -> Layout:
    stacks, live = inquiry.stacks, inquiry.live
    stacks.check_conflicts()
    arms = Arms(stacks)
    steps: dict[Component, list[dict[str, float]]] = {one: [] for one in stacks.order}
    pairs = max([pairs, *(len(factor) for factor in live)])
    for turn, order in enumerate(itertools.islice(_orders(live), pairs)):
        # Shifted by place, so that the levels of two components do not move together.
        levels = [live[place][(turn + place) % len(live[place])] for place in order]
        for path in (levels, levels[::-1]):
            for position, component in enumerate(path):
                steps[component].append(arms.step(component, path[:position]))
    found = []
    for component, own in steps.items():
        terms = [(arm, one / len(own)) for step in own for arm, one in step.items()]
        found.append(arms.pooled(component, summed(*terms)))
    found += interactions(arms, inquiry, first_and_last)
    return layout("shapley", arms, found)


def _orders(factors: Sequence[Factor]) -> Iterator[list[int]]:
    """Yield orders of the factors, the given one first, none twice and none reversed.

    They depend on the names of the components only, so more orders keep the arms of fewer.
    """
    drawn = random.Random(",".join(factor[0].name() for factor in factors))
    order = list(range(len(factors)))
    seen: set[tuple[int, ...]] = set()
    for _ in range(max(math.factorial(len(order)) // 2, 1)):
        while tuple(order) in seen:
            drawn.shuffle(order)
        seen |= {tuple(order), tuple(order[::-1])}
        yield list(order)
    # Few components have few orders; levels may need more turns than there are.
    yield from itertools.cycle([list(range(len(factors)))])
