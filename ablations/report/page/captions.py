"""What the page says around its figures: what each shows, and why another is not there."""

from __future__ import annotations

from collections.abc import Iterator

from ablations.report import words
from ablations.report.effects import LACK_OF_FIT
from ablations.report.figures.runs import shown_arms
from ablations.report.story import Story

_CAPTIONS = {
    "waterfall": "From the base to the full recipe. A thin line is the interval of the step's own"
    " effect.",
    "forest": "Every effect with its interval; thin lines hold all at once (Bonferroni). The"
    " shape is the verdict: triangle up helps, down hurts, square equal, circle unresolved, diamond"
    " none.",
    "split": "What training and architecture changes are worth, in the order of the ladder and, by"
    " the four arms none, training, architecture and both, wherever they stand.",
    "interactions": "What two changes are worth together beyond each by itself, in points: a mean"
    " over all squares of trained arms with neither, either and both; blue more, orange less. Those"
    " with a verdict were asked for; the others have no interval.",
    "curves": "Mean over the seeds; the band is from the lowest to the highest seed. Minival is"
    " held out of training; the tables' numbers are of other images.",
    "cost": "Accuracy beside what an arm costs, with its interval. The grey line joins the arms"
    " that none beats at their cost or below.",
}


def captions(story: Story) -> dict[str, str]:
    """Return what each figure shows, of what it has."""
    found = dict(_CAPTIONS)
    if not any(row["low"] is not None for row in story.effects):
        found["waterfall"] = "From the base to the full recipe."
        found["forest"] = "Every effect. None has an interval or a verdict."
    if len(story.steps) < story.planned:
        found["waterfall"] += " The steps after the last one have no number yet."
    if any(step.band is not None for step in story.steps):
        found["waterfall"] += (
            " A thick grey one is the range of what the same change was worth in all orders that"
            " were trained: over all pairs of arms that differ in it alone, on the seeds that both"
            " have; without an interval."
        )
    if any(0 < arm.n < arm.runs for arm in story.arms):
        found["waterfall"] += (
            " Arms lack seeds that others have: steps are compared on the seeds in common, and need"
            " not lead to an arm's own mean."
        )
    arms = {arm for by_arm in story.curves.values() for arm in by_arm}
    shown = shown_arms(story)
    if len(shown) < len(arms):
        found["curves"] += (
            f" Shown are {len(shown)} of {len(arms)} arms: the base, the full recipe, and those"
            " that end farthest from the base."
        )
    return found


def why_no_split(story: Story) -> str:
    """Return why a page has nothing to say of training and architecture."""
    kinds = {one["kind"] for one in story.document["contrasts"] if one["kind"]}
    if kinds and len({kind == "architecture" for kind in kinds}) < 2:
        return "The request changes one side only: there is nothing to split."
    if not any(arm.n for arm in story.arms):
        return "No run has finished."
    return (
        "There is no number for both sides yet, or this design does not tell them apart: the ladder"
        " and the blocks do."
    )


def why_no_pairs(story: Story) -> str:
    """Return why a page has no interactions of pairs, and what the sum of all effects says."""
    return " ".join([_why_no_pairs(story), *_gaps(story)])


def _why_no_pairs(story: Story) -> str:
    if story.published:
        return "The source trained no two changes both together and each by itself."
    if not any(arm.n for arm in story.arms):
        return "No run has finished."
    return (
        "No two changes have runs both together and each by itself; --interaction a:b or --design"
        " factorial asks for them."
    )


def _gaps(story: Story) -> Iterator[str]:
    """Yield what the sum of the effects says of interactions."""
    for row in story.effects:
        if row["name"] == LACK_OF_FIT and row["delta"] is not None:
            limits = None if row["low"] is None else (row["low"], row["high"])
            yield (
                f"The effects ({str(row['estimand']).replace('_', ' ')}) sum to"
                f" {words.signed(row['delta'])} {words.interval(limits)} points more than the full"
                " recipe is over the base."
            )
