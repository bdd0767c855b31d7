"""What a design is asked; and a design: how it is laid out and which questions it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ablations.attribution import MIN_ERROR_DF
from ablations.designs.stacks import Factor, Stacks
from ablations.plans import Layout
from ablations.priors import SEED_SD
from recipes import Component

REPLICATES = MIN_ERROR_DF + 1  # runs of the base and the full arm that give a verdict its error


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """Base and factors, the estimand, and what may be spent."""

    stacks: Stacks
    question: str  # one of ESTIMANDS; empty where only the split is asked for
    interactions: tuple[tuple[Component, Component], ...] = ()
    budget: int | None = None  # runs in all; None: the design's own size
    seeds: int = 3  # runs per arm where there is no budget
    noise: float = SEED_SD  # sd between seeds, in points

    @property
    def live(self) -> tuple[Factor, ...]:
        """Return the factors that can change the base."""
        return self.stacks.live


@dataclass(frozen=True, kw_only=True)
class Design:
    """A way to lay out an inquiry. The docstring of `make` is what `ablate list designs` says."""

    make: Callable[[Inquiry], Layout]
    answers: tuple[str, ...]  # of ESTIMANDS, its own first
    sized: Callable[[Inquiry], Iterator[Layout]] | None = None  # within the budget; None: seeds
    least: Callable[[Inquiry], int] | None = None  # runs; None: one per arm

    def within(self, inquiry: Inquiry) -> Iterator[Layout]:
        """Yield layouts that spend at most the budget of the inquiry, seeds chosen."""
        if self.sized is not None:
            yield from self.sized(inquiry)
        else:
            yield from seeded(self.make(replace(inquiry, budget=None)), inquiry.budget or 0)

    def fewest_runs(self, inquiry: Inquiry) -> int:
        """Return the least number of runs that the design can be had for."""
        if self.least is not None:
            return self.least(inquiry)
        return len(self.make(replace(inquiry, budget=None)).arms)


def seeded(layout: Layout, budget: int) -> Iterator[Layout]:
    """Yield a layout with as many seeds as a budget pays; none where it pays not one.

    With one seed per arm, what is left repeats the base and the full arm, so that the error is
    known from replicates.
    """
    seeds, rest = divmod(budget, len(layout.arms))
    if seeds > 1:
        yield replace(layout, seeds=seeds)
    elif seeds == 1:
        yield replicated(layout, min(1 + rest // 2, REPLICATES))


def replicated(layout: Layout, runs: int) -> Layout:
    """Return a layout with one seed per arm, and `runs` of the base and the fullest arm."""
    fullest = max(layout.arms, key=lambda arm: len(arm.components)).name
    again = {name: runs for name in (layout.arms[0].name, fullest) if runs > 1}
    note = f"one seed per arm, but {runs} of the base and of the fullest arm: the error is theirs"
    notes = (*layout.notes, note) if again else layout.notes
    return replace(layout, seeds=1, replicates=again, notes=notes)
