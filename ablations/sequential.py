"""Seeds where they decide most: when a study may stop, and which runs come next. Pure.

A rule is declared before the first run (`plans.Stopping`). It looks at minival only, after stages
of growing seeds, so that validation is read once, at the end. Every look has its share of alpha
(Bonferroni over looks), hence whatever a look drops or adds, the chance of a false verdict stays.
`stages` carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from ablations.attribution import MIN_ERROR_DF, Analysis, Estimate, analyse
from ablations.errors import RequestError
from ablations.image_noise import Images
from ablations.plans import COMPONENTS, Plan, Stopping
from ablations.request import Request
from recipes import trajectory

VERDICTS = "verdicts"
LOOKS = 6  # more of them stop sooner, and leave each a smaller share of alpha
GROWTH = 20 / 3  # from the first look's seeds to the last's: 3, 4, 6, 9, 13, 20
_NONE: Mapping[str, str] = MappingProxyType({})

Values = Mapping[str, Mapping[int, float]]
Runs = list[tuple[str, int]]


def stopping_of(
    request: Request, arms: int, *, seeds: int | None = None, runs: int | None = None
) -> Stopping | None:
    """Return the rule that a request declares, or None where it asks for a fixed number of runs.

    The stages of `verdicts` grow geometrically; the shares are equal, which `spent` explains. A
    first stage too small for any verdict is no look and has the share 0.

    Args:
        request: what was asked for.
        arms: in the plan, two or more.
        seeds: per arm at the first stage; None: the request's.
        runs: of the first stage; None: `arms` times `seeds`.

    Raises:
        RequestError: `max_runs` is less than the first stage needs.
    """
    if request.until is None:
        return None
    first = request.seeds if seeds is None else seeds
    needed = arms * first if runs is None else runs
    most = request.max_runs
    if most is not None and most < needed:
        raise RequestError(
            f"--max-runs {most}: the first stage alone has {needed} runs ({arms} arms); give"
            f" {needed} or more, or fewer --seeds"
        )
    last = max(math.floor(first * GROWTH), first + 1)
    if most is not None:
        last = max(last, most // arms)
    if request.until != VERDICTS:
        return Stopping(
            until=request.until,
            stages=(first, last),
            shares=(0.0, 1.0),
            max_runs=arms * last if most is None else most,
        )
    earliest = max(first, 1 + -(-MIN_ERROR_DF // (arms - 1)))  # seeds that a verdict needs
    looks = _geometric(earliest, max(last, earliest), LOOKS)
    if most is not None:  # what all that is left gives to the two arms of one contrast
        reach = first + (most - needed) // 2
        looks = [seed for place, seed in enumerate(looks) if place == 0 or looks[place - 1] < reach]
    before = [first] if first < earliest else []
    return Stopping(
        until=VERDICTS,
        stages=(*before, *looks),
        shares=(*(0.0 for _ in before), *(1 / len(looks) for _ in looks)),
        max_runs=arms * looks[-1] if most is None else most,
    )


def next_runs(
    plan: Plan,
    stage: int,
    values: Values,
    failed: Collection[str] = (),
    images: Images | None = None,
    *,
    closed: Mapping[str, str] = _NONE,
) -> tuple[dict[str, str], Runs]:
    """Return which contrasts are closed after a stage, and the runs (arm, seed) that come next.

    No runs: the study ends with this stage. What an earlier look closed stays closed.

    Args:
        plan: with a `stopping`; its runs, and those with a value, are there already.
        stage: that is finished, from 0.
        values: accuracy on minival by arm and seed, percent.
        failed: arms with a run that ended without a result: nothing is spent on their contrasts.
        images: which minival images each run got right; None: their noise is not counted.
        closed: by the looks before this one: contrast and verdict (or `refused`, `reached`).
    """
    assert plan.stopping is not None
    raise NotImplementedError
