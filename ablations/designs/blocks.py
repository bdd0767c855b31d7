"""Blocks: none, training, architecture and both, for the split alone."""

from __future__ import annotations

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.levels import goes_on_with_first
from ablations.designs.split import blocks as by_blocks
from ablations.designs.split import sides
from ablations.plans import Layout
from recipes import RecipeError


def blocks(inquiry: Inquiry) -> Layout:
    """Train the base, all training components, all architecture components, and both.

    Asks: the training / architecture split, each side averaged over the other, and whether the two
    interact; nothing about single components. Runs: 4 arms. Nothing biases it. Levels beyond the
    first are not trained.
    """
    stacks = inquiry.stacks
    stacks.check_conflicts()
    if any(sides(stacks)) and not all(sides(stacks)):
        there = "training" if sides(stacks)[0] else "architecture"
        raise RecipeError(
            f"blocks compares training with architecture, and all that applies here is {there}:"
            " add a component of the other side, or use another design"
        )
    if inquiry.interactions:
        raise RecipeError(
            "--interaction: blocks asks about the two sides, whose interaction is in its split, not"
            " about single components: use another design"
        )
    arms = Arms(stacks)
    by_blocks(stacks, arms, add=True)
    told = [arms.pooled(component, {}) for component in stacks.firsts]
    notes = goes_on_with_first(stacks, "blocks")
    return layout("blocks", arms, [one for one in told if one.outcome != "applied"], notes=notes)
