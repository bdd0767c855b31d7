"""The bracket: first in and last in, and the mean of the two."""

from __future__ import annotations

from dataclasses import replace

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.interactions import first_and_last, interactions
from ablations.designs.levels import goes_on_with_first
from ablations.designs.split import summed
from ablations.plans import COMPONENTS, DESCRIBED, Contrast, Layout
from recipes import Component


def bracket(inquiry: Inquiry) -> Layout:
    """Add each component alone to the base, and take each alone out of the full recipe.

    Asks: average_over_others as the mean of the two, and shows both as a band. With --question
    alone or in_recipe that one is tested, and the others are shown.
    Runs: 2k + 2 arms for k components. The mean is exact where components interact in pairs only;
    interactions of three and more bias it. Other components stand at their first level.
    """
    stacks = inquiry.stacks
    stacks.check_conflicts()
    arms = Arms(stacks)
    rows = [_rows(arms, component) for component in stacks.order]
    questions = sorted(rows[0], key=lambda question: question != inquiry.question)
    found = [
        replace(row[question], family=COMPONENTS if question == inquiry.question else DESCRIBED)
        for question in questions
        for row in rows
    ]
    found[len(rows) : len(rows)] = interactions(arms, inquiry, first_and_last)
    notes = goes_on_with_first(stacks, "the full recipe")
    return layout("bracket", arms, found, notes=notes)


def _rows(arms: Arms, component: Component) -> dict[str, Contrast]:
    """Return the three contrasts of one component, by question."""
    ends = (arms.alone(component), arms.in_recipe(component))
    halves = [(arm, weight / 2) for end in ends for arm, weight in end.weights.items()]
    mean = arms.pooled(component, summed(*halves))
    return {"average_over_others": mean, "alone": ends[0], "in_recipe": ends[1]}
