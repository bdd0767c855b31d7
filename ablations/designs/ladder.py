"""The ladder: the story of a recipe, in the order in which it is told."""

from __future__ import annotations

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.interactions import interactions, on_the_base
from ablations.designs.levels import goes_on_with_first
from ablations.designs.split import blocks, by_ladder
from ablations.plans import Layout, Split


def ladder(inquiry: Inquiry) -> Layout:
    """Add the components one at a time, in order, each on top of those before it.

    Asks: in_order, what each is worth beside those before it; another order gives other answers.
    Runs: k + 1 arms for k components. The arms of the 2 x 2 split (none, training, architecture,
    both) are added where both sides are present: one more arm when one side comes first, two where
    the sides interleave. A level beyond the first is one more arm, against the same control.
    """
    stacks = inquiry.stacks
    stacks.check_conflicts()
    arms = Arms(stacks)
    steps = [[arms.in_order(component) for component in factor] for factor in stacks.factors]
    found = [contrast for step in steps for contrast in step]
    found += interactions(arms, inquiry, on_the_base)
    return layout(
        "ladder",
        arms,
        found,
        split=Split(
            by_ladder=by_ladder([step[0] for step in steps]),
            by_blocks=blocks(stacks, arms, add=True),
        ),
        notes=goes_on_with_first(stacks, "the ladder"),
    )
