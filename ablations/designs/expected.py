"""How far from the truth a layout's answers are expected to be, before any run: in closed form.

The truth is a game of main effects, random interactions of pairs (sd INTERACTION_SD) and noise
between seeds. A design sees a pair with some coefficient, the question asks for it with another;
the difference is bias. Noise counts by the squared coefficients of the runs in the block fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablations.designs.inquiry import Inquiry
from ablations.plans import COMPONENTS, Contrast, Layout
from ablations.priors import INTERACTION_SD
from recipes import Component

Array = NDArray[np.float64]


def expected_error(inquiry: Inquiry, layout: Layout) -> float:
    """Return the expected root mean square error of the declared effects, in accuracy points."""
    declared = declared_effects(layout)
    noise = inquiry.noise**2 * variances(layout, declared, inquiry.seeds)
    moved = alias_matrices(inquiry, layout, declared)
    bias = [(np.triu(one, 1) ** 2).sum() for one in moved]
    return math.sqrt(float(np.mean(noise + INTERACTION_SD**2 * np.array(bias))))


def declared_effects(layout: Layout) -> list[Contrast]:
    """Return the contrasts of components that are tested."""
    return [
        contrast
        for contrast in layout.contrasts
        if contrast.weights and contrast.component is not None and contrast.family == COMPONENTS
    ]


def variances(layout: Layout, contrasts: Sequence[Contrast], seeds: int) -> Array:
    """Return the variance of each contrast in the fit of arms and seeds, where a run's is 1."""
    counts = list(layout.seeds_by_arm(seeds).values())
    places = {arm.name: place for place, arm in enumerate(layout.arms)}
    weights = np.zeros((len(contrasts), len(counts)))
    for row, contrast in enumerate(contrasts):
        for name, weight in contrast.weights.items():
            weights[row, places[name]] = weight
    if len(set(counts)) == 1:
        found: Array = (weights**2).sum(axis=1) / counts[0]
        return found
    cells = [(arm, seed) for arm, count in enumerate(counts) for seed in range(count)]
    columns = np.zeros((len(cells), len(counts) + max(counts) - 1))
    for row, (arm, seed) in enumerate(cells):
        columns[row, arm] = 1.0
        if seed:
            columns[row, len(counts) + seed - 1] = 1.0
    covariance = np.linalg.pinv(columns.T @ columns, hermitian=True)[: len(counts), : len(counts)]
    found = np.einsum("ij,jk,ik->i", weights, covariance, weights)
    return found


def error_df(layout: Layout, seeds: int) -> int:
    """Return the degrees of freedom that the error has in the fit of arms and seeds.

    Arms that are read off one training have one error, unless the layout has no other.
    """
    by_arm = layout.seeds_by_arm(seeds)
    first: dict[str, int] = {}
    for arm, training in layout.trainings.items():
        first.setdefault(training, by_arm[arm])
    for counts in (list(first.values()), list(by_arm.values())):
        if found := sum(counts) - len(counts) - (max(counts) - 1):
            return found
    return 0


def alias_matrices(inquiry: Inquiry, layout: Layout, contrasts: Sequence[Contrast]) -> list[Array]:
    """Return what one point of each pair's interaction moves each effect by, beyond what is asked.

    Rows and columns are the live components and levels, in order; each is symmetric.
    """
    alternatives = [one for factor in inquiry.live for one in factor]
    names = {str(one): place for place, one in enumerate(alternatives)}
    inside = np.zeros((len(layout.arms), len(names)))
    for row, arm in enumerate(layout.arms):
        inside[row, [names[str(one)] for one in arm.components if str(one) in names]] = 1.0
    found = []
    for contrast in contrasts:
        weights = np.array([contrast.weights.get(arm.name, 0.0) for arm in layout.arms])
        moved = inside.T @ (weights[:, None] * inside)
        own = names[contrast.label.removeprefix("+")]
        for other, component in enumerate(alternatives):
            if other != own:
                asked = _share(inquiry, alternatives[own], component)
                moved[[own, other], [other, own]] -= asked
        found.append(moved)
    return found


def _share(inquiry: Inquiry, one: Component, other: Component) -> float:
    """Return how often another component stands beside one, as the question has it."""
    stacks, question = inquiry.stacks, inquiry.question
    factor = next(factor for factor in inquiry.live if other in factor)
    if one in factor or question == "alone" or stacks.apart(one, other):
        return 0.0
    if question == "in_recipe":
        return float(other in stacks.firsts)
    if question == "in_order":
        return float(other in stacks.before(one))
    return 1 / (len(factor) + 1)
