"""What changes were worth in the orders, and beside the others, that a study trained.

Described, not inferred: differences of means over the seeds that arms have in common, in accuracy
points and without intervals. With all runs there, they are differences of the arms' means.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ablations.named import is_of
from ablations.plans import Contrast, Layout
from ablations.report import words

Values = Mapping[str, Mapping[int, float]]  # of finished runs, by arm and seed


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two components are worth together beyond each by itself, in points."""

    delta: float
    verdict: str | None  # None: no contrast of the study asks for it, so it has no interval either
    squares: int  # of arms with neither, either and both, of which it is the mean; 0: it was asked


def band(layout: Layout, contrast: Contrast, values: Values) -> tuple[float, float] | None:
    """Return the range of what a step was worth over all pairs of arms that differ in it alone.

    None where fewer than two pairs have a seed in common.
    """
    sets, own = _by_components(layout, values), _own(layout, contrast)
    worth = [
        found
        for having, arm in sets.items()
        if own and own <= having and (less := sets.get(having - own)) is not None
        if (found := _sum({arm: 1, less: -1}, values)) is not None
    ]
    return (min(worth), max(worth)) if len(worth) > 1 else None


def pairs(layout: Layout, document: Mapping[str, Any], values: Values) -> dict[Any, Pair]:
    """Return what pairs are worth: as the study asks, else over all squares that it trained."""
    sets, order = _by_components(layout, values), _order(layout)
    found: dict[tuple[str, str], list[float]] = {}
    for having, both in sets.items():
        for first, second in itertools.combinations(sorted(having, key=order.__getitem__), 2):
            corners = [having - {first}, having - {second}, having - {first, second}]
            if all(corner in sets for corner in corners):
                one, other, neither = (sets[corner] for corner in corners)
                worth = _sum({both: 1, one: -1, other: -1, neither: 1}, values)
                if worth is not None:
                    found.setdefault((first, second), []).append(worth)
    asked = {}
    for contrast in document["contrasts"]:
        first, cross, second = contrast["label"].partition(" x ")
        if cross and words.is_interaction(contrast) and contrast["delta"] is not None:
            asked[first, second] = contrast
    known = dict.fromkeys([*asked, *found])
    made = {}
    for pair in sorted(known, key=lambda pair: [order.get(name, len(order)) for name in pair]):
        squares, contrast = found.get(pair, []), asked.get(pair)
        if contrast is None and pair[::-1] in asked:
            continue  # it was asked the other way round
        delta = math.fsum(squares) / len(squares) if contrast is None else contrast["delta"]
        verdict = None if contrast is None else contrast["verdict"]
        made[pair] = Pair(delta=delta, verdict=verdict, squares=len(squares))
    return made


def _sum(weights: Mapping[str, int], values: Values) -> float | None:
    """Return a weighted sum of means over the seeds that all arms have; None: there are none."""
    seeds = set.intersection(*(set(values[arm]) for arm in weights))
    if not seeds:
        return None
    parts = (weight * values[arm][seed] for arm, weight in weights.items() for seed in seeds)
    return math.fsum(parts) / len(seeds)


def _by_components(layout: Layout, values: Values) -> dict[frozenset[str], str]:
    """Return the arms with finished runs by what is in them, dummies aside."""
    return {
        frozenset(map(str, arm.components)): arm.name
        for arm in layout.arms
        if values.get(arm.name) and arm.name not in layout.dummies
    }


def _order(layout: Layout) -> dict[str, int]:
    names: Iterable[str] = (str(one) for arm in layout.arms for one in arm.components)
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _own(layout: Layout, contrast: Contrast) -> frozenset[str]:
    """Return the components that a contrast is of, as arms name them."""
    ends = {arm.name: frozenset(map(str, arm.components)) for arm in layout.arms}
    if contrast.control in ends and contrast.treatment in ends:
        return ends[contrast.treatment] - ends[contrast.control]
    parts = {str(one): one for arm in layout.arms for one in arm.components}
    return frozenset(name for name, one in parts.items() if is_of(contrast, one))
