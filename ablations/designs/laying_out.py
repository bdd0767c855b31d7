"""The table of designs, and how one is laid out by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ablations.designs.auto import auto as chosen
from ablations.designs.blocks import blocks
from ablations.designs.bracket import bracket
from ablations.designs.factorial import factorial
from ablations.designs.inquiry import Design, Inquiry
from ablations.designs.interactions import read_pairs
from ablations.designs.ladder import ladder
from ablations.designs.leave_one_out import leave_one_out
from ablations.designs.one_at_a_time import one_at_a_time
from ablations.designs.screen import fewest_rows, screen, screens_within
from ablations.designs.shapley import fewest_orders, sampled_within, shapley
from ablations.designs.stacks import Factor, Stacks
from ablations.plans import ESTIMANDS, Layout
from ablations.priors import SEED_SD
from recipes import Component, Levels, Recipe, RecipeError
from recipes.leaf import nearest

_FIXED: Mapping[str, Design] = MappingProxyType(
    {
        "ladder": Design(make=ladder, answers=("in_order",)),
        "one-at-a-time": Design(make=one_at_a_time, answers=("alone",)),
        "leave-one-out": Design(make=leave_one_out, answers=("in_recipe",)),
        "bracket": Design(make=bracket, answers=("average_over_others", "alone", "in_recipe")),
        "factorial": Design(
            make=factorial, answers=("average_over_others", "alone", "in_recipe", "in_order")
        ),
        "screen": Design(
            make=screen,
            answers=("average_over_others",),
            sized=screens_within,
            least=fewest_rows,
        ),
        "shapley": Design(
            make=shapley,
            answers=("average_over_others",),
            sized=sampled_within,
            least=fewest_orders,
        ),
        "blocks": Design(make=blocks, answers=()),
    }
)


def auto(inquiry: Inquiry) -> Layout:
    """Take the design that answers the question best within the budget, and say why.

    Asks: whatever --question says, average_over_others where it says nothing. Runs: --budget, or
    what the ladder would cost. The error to expect is that of noise between seeds and of
    interactions of pairs, as assumed before any run (--noise changes the first); a design whose
    error is up to half more is taken if it alone leaves the degrees of freedom for verdicts.
    """
    return chosen(inquiry, _FIXED)


DESIGNS: Mapping[str, Design] = MappingProxyType(
    {**_FIXED, "auto": Design(make=auto, answers=("average_over_others", *ESTIMANDS[:3]))}
)


def lay_out(
    design: str,
    base: Recipe,
    components: Sequence[Component | Levels],
    *,
    question: str | None = None,
    interactions: Sequence[str] = (),
    budget: int | None = None,
    seeds: int = 3,
    noise: float | None = None,
) -> Layout:
    """Return the layout of a design by name.

    Args:
        design: one of DESIGNS.
        base: the recipe without components.
        components: in order; some may have levels.
        question: one of ESTIMANDS; None: the design's own.
        interactions: pairs of components, as `ra:sd`, whose interaction is asked for too.
        budget: runs that may be spent; None: the design's own size times `seeds`.
        seeds: runs per arm, where the layout does not say.
        noise: sd between seeds, in points, that `auto` counts with; None: the prior.

    Raises:
        RecipeError: there is no such design, it cannot answer the question or not within the
            budget, components contradict each other, or one writes what it may not.
    """
    if design not in DESIGNS:
        raise RecipeError(
            f"there is no design {design!r}: the designs are {', '.join(DESIGNS)}"
            f"{nearest(design, DESIGNS)}"
        )
    answers = DESIGNS[design].answers
    if question is not None and question not in answers:
        able = [name for name, other in DESIGNS.items() if question in other.answers]
        asks = f"asks {' or '.join(answers)}" if answers else "asks for the split only"
        raise RecipeError(
            f"--question {question}: {design} {asks}; designs that answer it are {', '.join(able)}"
        )
    factors = [_levels(one) for one in components]
    inquiry = Inquiry(
        stacks=Stacks(base, factors),
        question=question or (answers[0] if answers else ""),
        interactions=read_pairs(interactions, factors),
        budget=budget,
        seeds=seeds,
        noise=SEED_SD if noise is None else noise,
    )
    layout = DESIGNS[design].make(inquiry)
    runs = sum(layout.seeds_by_arm(seeds).values())
    if budget is not None and runs > budget:
        raise RecipeError(
            f"--budget {budget}: {design} takes {len(layout.arms)} arms x {seeds} seeds = {runs}"
            " runs; give fewer --seeds, or --design auto"
        )
    return layout


def _levels(one: Component | Levels) -> Factor:
    return one.alternatives if isinstance(one, Levels) else (one,)
