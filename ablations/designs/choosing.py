"""The choice among layouts that a budget pays: least expected error, with verdicts where it may."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ablations.attribution import MIN_ERROR_DF
from ablations.designs.expected import error_df, expected_error
from ablations.designs.inquiry import REPLICATES, Inquiry, replicated
from ablations.plans import Layout
from recipes import RecipeError

# What verdicts, or at least intervals, may cost: the error is at most this many times the least. A
# choice of ours: a number without a verdict is what a study is not for.
_PRICE_OF_VERDICTS = 1.5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A layout with its seeds, and what to expect of it."""

    layout: Layout
    runs: int
    error: float  # root mean square, in accuracy points
    error_df: int

    @property
    def key(self) -> tuple[float, int]:
        """Return what makes one better than another: error, then runs."""
        return (round(self.error, 9), self.runs)

    def __str__(self) -> str:
        """Return it in words."""
        size = f"{len(self.layout.arms)} arms, {self.runs} runs"
        return f"{self.layout.design} {self.error:.2f} ({size}, {self.error_df} error df)"


def weigh(inquiry: Inquiry, layout: Layout) -> Candidate:
    """Return a layout as a candidate."""
    return Candidate(
        layout=layout,
        runs=sum(layout.seeds_by_arm(inquiry.seeds).values()),
        error=expected_error(inquiry, layout),
        error_df=error_df(layout, inquiry.seeds),
    )


def choose(candidates: Iterable[Candidate]) -> Candidate:
    """Return the best that can give verdicts, or else intervals, if that costs little error.

    Else the best.
    """
    ranked = sorted(candidates, key=lambda one: one.key)
    near = [one for one in ranked if one.error <= _PRICE_OF_VERDICTS * ranked[0].error]
    able = [one for one in near if one.error_df >= MIN_ERROR_DF]
    shown = [one for one in near if one.error_df > 0]
    return [*able, *shown, *ranked][0]


def best_within(design: str, inquiry: Inquiry, layouts: Iterable[Layout], least: int) -> Layout:
    """Return the best layout of one design within the budget, with what it leaves open as notes.

    Raises:
        RecipeError: the budget pays none.
    """
    found = [weigh(inquiry, layout) for layout in layouts]
    if not found:
        raise RecipeError(
            f"--budget {inquiry.budget}: {design} takes at least {least} runs of these components"
        )
    chosen = choose(found)
    notes = (*chosen.layout.notes, *without_verdicts(chosen))
    return replace(chosen.layout, notes=notes)


def without_verdicts(chosen: Candidate) -> tuple[str, ...]:
    """Return a note where the error has too few degrees of freedom, with what would do."""
    if chosen.error_df >= MIN_ERROR_DF:
        return ()
    bare = replace(chosen.layout, replicates={})
    widened = [replicated(bare, REPLICATES)]
    widened += [replace(bare, seeds=seeds) for seeds in range(2, REPLICATES + 1)]
    enough = min(
        sum(one.seeds_by_arm(1).values()) for one in widened if error_df(one, 1) >= MIN_ERROR_DF
    )
    return (
        f"{chosen.runs} runs leave {chosen.error_df} error degrees of freedom, and a verdict needs"
        f" {MIN_ERROR_DF}: --budget {enough} would do for these arms",
    )
