"""Auto: which design answers the question best within the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ablations.attribution import MIN_ERROR_DF
from ablations.designs.choosing import Candidate, choose, weigh, without_verdicts
from ablations.designs.inquiry import Design, Inquiry
from ablations.plans import Layout
from ablations.priors import INTERACTION_SD
from recipes import RecipeError

# What a question costs where no budget is given: the runs of this design. An average over others is
# asked for at the price of the ladder, which is what people would have run.
_PRICED_AS = {
    "alone": "one-at-a-time",
    "in_recipe": "leave-one-out",
    "in_order": "ladder",
    "average_over_others": "ladder",
}


def auto(inquiry: Inquiry, designs: Mapping[str, Design]) -> Layout:
    """Return the layout with the least expected error for the question within the budget.

    Raises:
        RecipeError: the budget is too small for every design, or none can be laid out.
    """
    if not inquiry.live:  # nothing to choose for: the plan will say so
        return designs[_PRICED_AS[inquiry.question]].make(replace(inquiry, budget=None))
    budget = inquiry.budget or _default_budget(inquiry, designs)
    inquiry = replace(inquiry, budget=budget)
    found: list[Candidate] = []
    left_out: list[str] = []
    least: dict[str, int] = {}
    problems: dict[str, None] = {}
    for name, design in designs.items():
        if inquiry.question not in design.answers:
            continue
        try:
            affordable = [weigh(inquiry, layout) for layout in design.within(inquiry)]
            if not affordable:
                least[name] = design.fewest_runs(inquiry)
                left_out.append(f"{name} takes {least[name]} runs or more")
        except RecipeError as error:
            problems |= dict.fromkeys(error.problems)
            left_out.append(error.problems[0].partition(";")[0])
            continue
        found += affordable
    if not found and least:
        name = min(least, key=lambda one: least[one])
        raise RecipeError(
            f"--budget {budget}: {inquiry.question} of these components takes at least"
            f" {least[name]} runs ({name})"
        )
    if not found:
        raise RecipeError(tuple(problems))
    chosen = choose(found)
    return replace(
        chosen.layout, notes=(*chosen.layout.notes, *_why(inquiry, chosen, found, left_out))
    )


def _default_budget(inquiry: Inquiry, designs: Mapping[str, Design]) -> int:
    """Return what the question would cost with a fixed design and the seeds that are asked for."""
    try:
        return inquiry.seeds * designs[_PRICED_AS[inquiry.question]].fewest_runs(inquiry)
    except RecipeError:  # components that contradict each other have no ladder
        return inquiry.seeds * (1 + len(inquiry.stacks.order))


def _why(
    inquiry: Inquiry, chosen: Candidate, found: list[Candidate], left_out: list[str]
) -> list[str]:
    """Return why this design, and what was not to be had, each in a sentence."""
    best: dict[str, Candidate] = {}
    for one in sorted(found, key=lambda candidate: candidate.key):
        best.setdefault(one.layout.design, one)
    best[chosen.layout.design] = chosen
    others = [str(one) for one in best.values() if one is not chosen]
    notes = [
        f"auto chose {chosen.layout.design}: error to expect of {inquiry.question} within"
        f" {inquiry.budget} runs, in points (sd between seeds {inquiry.noise:g}, of pairs"
        f" {INTERACTION_SD:g}): {'; '.join([str(chosen), *others])}"
    ]
    least = min(found, key=lambda candidate: candidate.key)
    if chosen.layout.seeds not in (None, inquiry.seeds):
        notes.append(f"--budget decides the seeds, not the {inquiry.seeds} of --seeds")
    if least is not chosen:
        lacks = "a verdict" if least.error_df else "an interval"
        needs = MIN_ERROR_DF if least.error_df else 1
        notes.append(f"{least} would be nearer, but {lacks} needs {needs} error df")
    if left_out:
        notes.append(f"not within {inquiry.budget} runs: {'; '.join(left_out)}")
    return [*notes, *without_verdicts(chosen)]
