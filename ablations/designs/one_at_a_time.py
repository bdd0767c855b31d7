"""One at a time: every component alone on the base."""

from __future__ import annotations

from ablations.designs.arms import Arms, layout
from ablations.designs.inquiry import Inquiry
from ablations.designs.interactions import interactions, on_the_base
from ablations.plans import Layout


def one_at_a_time(inquiry: Inquiry) -> Layout:
    """Add each component alone to the base.

    Asks: alone, what each is worth with nothing else; its worth in a full recipe may be another.
    Runs: k + 1 arms for k components, each level an arm. Components that write different values to
    one leaf never meet here, and may both be asked for.
    """
    arms = Arms(inquiry.stacks)
    found = [arms.alone(component) for component in inquiry.stacks.order]
    found += interactions(arms, inquiry, on_the_base)
    return layout("one-at-a-time", arms, found)
