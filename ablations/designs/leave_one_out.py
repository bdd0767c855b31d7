"""Leave one out: every component taken alone out of the full recipe."""

from __future__ import annotations

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.interactions import in_the_full_recipe, interactions
from ablations.designs.levels import goes_on_with_first
from ablations.plans import Layout


def leave_one_out(inquiry: Inquiry) -> Layout:
    """Take each component alone out of the full recipe.

    Asks: in_recipe, what each is worth beside all the others; alone it may be worth something else.
    Runs: k + 2 arms for k components. A level beyond the first is one more arm, put in the first
    one's place in the full recipe, against the same control.
    """
    stacks = inquiry.stacks
    stacks.check_conflicts()
    arms = Arms(stacks)
    found = [arms.in_recipe(component) for component in stacks.order]
    found += interactions(arms, inquiry, in_the_full_recipe)
    notes = goes_on_with_first(stacks, "the full recipe")
    return layout("leave-one-out", arms, found, notes=notes)
