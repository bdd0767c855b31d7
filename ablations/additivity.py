"""Do the effects of a design sum to the whole? Their gap to full minus base, as a contrast.

Where effects add, each question has one answer, in any order and beside any others. The gap sees
what does not cancel in the sum of one question's effects, and nothing else: that it is small is no
proof that effects add.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablations.plans import BASE, COMPONENTS, Contrast, Layout

_ROUNDING = 1e-9  # of a weight


def gaps(layout: Layout) -> dict[str, dict[str, float]]:
    """Return the weights of the gap by estimand, where a design declares what can be summed.

    An estimand is left out whose effects sum to the whole by construction (a ladder's), that asks
    twice about a component, or whose components are never all together in one arm.
    """
    found: dict[str, dict[str, float]] = {}
    declared = [
        one
        for one in layout.contrasts
        if one.family == COMPONENTS and one.component is not None and one.weights
    ]
    for estimand in dict.fromkeys(one.estimand for one in declared):
        gap = _gap(layout, [one for one in declared if one.estimand == estimand])
        if gap:
            found[estimand] = gap
    return found


def _gap(layout: Layout, contrasts: Sequence[Contrast]) -> dict[str, float]:
    full = layout.full if layout.arms else None
    if full is None:
        return {}
    inside = set(map(str, full.components))  # of levels, the one that the full recipe has
    contrasts = [one for one in contrasts if one.label.removeprefix("+") in inside]
    keys = {one.component for one in contrasts}
    if not 2 <= len(contrasts) == len(keys) == len(full.components):
        return {}
    total = {full.name: -1.0, BASE: 1.0}
    for contrast in contrasts:
        for arm, weight in contrast.weights.items():
            total[arm] = total.get(arm, 0.0) + weight
    return {arm: weight for arm, weight in total.items() if abs(weight) > _ROUNDING}
