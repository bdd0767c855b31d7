"""Dummies in an analysis: arms that are null treatments, and draw random numbers of their own."""

from __future__ import annotations

from collections.abc import Mapping

from ablations.plans import NULL

Values = Mapping[str, Mapping[int, float]]


def dummies_of(families: Mapping[str, Mapping[str, Mapping[str, float]]]) -> frozenset[str]:
    """Return the arms whose treatment is null, as no contrast of another family reads them."""
    others = {
        arm
        for family, contrasts in families.items()
        for weights in contrasts.values()
        for arm in weights
        if family != NULL
    }
    return frozenset(
        arm
        for weights in families[NULL].values()
        for arm, weight in weights.items()
        if weight > 0 and arm not in others
    )


def unshared(values: Values, dummies: frozenset[str]) -> Values:
    """Return the values with other seeds for the dummies, since they share none with other arms."""
    step = 1 + max((seed for by_seed in values.values() for seed in by_seed), default=0)
    shifts = {arm: step * place for place, arm in enumerate(sorted(dummies), start=1)}
    return {
        arm: {seed + shifts.get(arm, 0): value for seed, value in by_seed.items()}
        for arm, by_seed in values.items()
    }
