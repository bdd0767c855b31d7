"""Seeds where they decide most: when a study may stop, and which runs come next. Pure.

A rule is declared before the first run (`plans.Stopping`). It looks at minival only, after stages
of growing seeds, so that validation is tested once, at the end. Every look has its share of alpha
(Bonferroni over looks), hence whatever a look drops or adds, the chance of a false verdict stays.
`stages` carries it out. Longer than most: one rule, with all that it can end by.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from ablations.allocation import allocated
from ablations.attribution import MIN_ERROR_DF, Estimate, analyse
from ablations.errors import RequestError
from ablations.image_noise import Images
from ablations.plans import COMPONENTS, Plan, Stopping
from ablations.plans import Run as PlannedRun
from ablations.randomised_block import fit_blocks
from ablations.reach import Hurdle, chance_to_decide, floor, growth_to_decide, growth_to_width
from ablations.request import MAX_SEEDS, Request

VERDICTS = "verdicts"  # `Stopping.until`, where it is no width
LOOKS = 6  # more of them stop sooner, and leave each a smaller share of alpha
GROWTH = 20 / 3  # from the first look's seeds to the last's: 3, 4, 6, 9, 13, 20
LEVEL = 0.95
# What a contrast may be closed with beside a verdict.
REACHED, REFUSED, OUT_OF_REACH = "reached", "refused", "out of reach"
# After the first stage: one does but where the images' part of the error has moved.
_NARROWINGS = 4
_LEAST_CHANCE = 0.1  # of a verdict by the last stage; below, a contrast gets no more seeds
_NONE: Mapping[str, str] = MappingProxyType({})

Values = Mapping[str, Mapping[int, float]]
Weights = Mapping[str, Mapping[str, float]]
Run = tuple[str, int]  # arm and seed


def stopping_of(
    request: Request,
    arms: int,
    *,
    seeds: int | None = None,
    runs: int | None = None,
    error_df: int | None = None,
) -> Stopping | None:
    """Return the rule that a request declares, or None where it asks for a fixed number of runs.

    The stages of `verdicts` grow geometrically, and the looks share alpha equally. A first stage
    with too few runs for any verdict is no look and has the share 0.

    Args:
        request: what was asked for.
        arms: in the plan, two or more.
        seeds: per arm at the first stage; None: the request's.
        runs: of the first stage; None: `arms` times `seeds`.
        error_df: of the first stage; None: of `seeds` runs of every arm.

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
            f"--max-runs {most}: the first stage alone has {needed} runs of {arms} arms; give"
            f" {needed} or more, or fewer --seeds"
        )
    last = max(math.floor(first * GROWTH), first + 1, (most or 0) // arms)
    enough = (arms - 1) * (first - 1) if error_df is None else error_df
    earliest = 1 + -(-MIN_ERROR_DF // (arms - 1))  # seeds per arm that give a verdict
    if request.until != VERDICTS:
        if enough < MIN_ERROR_DF:
            raise RequestError(
                f"--until {request.until} measures the spread between seeds in the first stage, and"
                f" {enough} error degrees of freedom are too few for it, {MIN_ERROR_DF} are needed:"
                f" give --seeds {earliest} or more"
            )
        allowed = max(arms * last, needed) if most is None else most
        reach = first + (allowed - needed) // 2  # all that is left, to two arms
        return Stopping(
            until=request.until,
            stages=(first, *[reach] * _NARROWINGS),
            shares=(*[0.0] * _NARROWINGS, 1.0),
            max_runs=allowed,
        )
    opening = [first] if enough < MIN_ERROR_DF else []
    looks = _geometric(max(earliest, first + 1) if opening else first, last, LOOKS)
    allowed = max(arms * looks[-1], needed) if most is None else most
    reach = first + (allowed - needed) // 2
    looks = [n for place, n in enumerate(looks) if place == 0 or looks[place - 1] < reach]
    return Stopping(
        until=VERDICTS,
        stages=(*opening, *looks),
        shares=(*[0.0] * len(opening), *[1 / len(looks)] * len(looks)),
        max_runs=allowed,
    )


def next_runs(
    plan: Plan,
    stage: int,
    values: Values,
    failed: Collection[str] = (),
    images: Images | None = None,
    *,
    closed: Mapping[str, str] = _NONE,
    error: tuple[float, int] | None = None,
) -> tuple[dict[str, str], list[Run]]:
    """Return which contrasts are closed after a stage, and the runs (arm, seed) that come next.

    No runs: the study ends with this stage. What an earlier look closed stays closed. Arms that no
    open contrast needs get nothing. Where `max_runs` does not let all have their seeds, those
    contrasts come first that seem to need the fewest runs.

    Args:
        plan: with a `stopping`; its runs, and those with a value, are there already.
        stage: that is finished, from 0.
        values: accuracy on minival by arm and seed, percent.
        failed: arms with a run that ended without a result: nothing is spent on their contrasts.
        images: which minival images each run got right; None: their noise is not counted.
        closed: by the looks before this one: contrast, and its verdict or another end.
        error: of the first stage (`first_error`), which a width keeps; None: of all runs.
    """
    rule = plan.stopping
    assert rule is not None
    estimates = looked_at(plan, stage, values, failed, images, error)
    still = {name: (estimates[name], arms) for name, arms in _open(plan, failed, closed).items()}
    seeds = _seeds(plan, values)
    if rule.until == VERDICTS:
        found, growth = _verdicts(plan, stage, still)
    else:
        found, growth = _widths(float(rule.until), stage, still)
    ended = stage == len(rule.stages) - 1
    needs = [] if ended else [name for name in still if name not in found]
    needs.sort(key=lambda name: (growth[name] - 1) * sum(len(seeds[arm]) for arm in still[name][1]))
    targets = [
        {arm: _target(rule, stage, len(seeds[arm]), growth[name]) for arm in still[name][1]}
        for name in needs
    ]
    left = None if rule.max_runs is None else rule.max_runs - sum(map(len, seeds.values()))
    return {**closed, **found}, allocated(seeds, targets, left)


def looked_at(
    plan: Plan,
    stage: int,
    values: Values,
    failed: Collection[str] = (),
    images: Images | None = None,
    error: tuple[float, int] | None = None,
) -> Mapping[str, Estimate]:
    """Return the estimates that a look has of the split's sides and of the components' contrasts.

    They carry the verdicts that the look's share of alpha allows.
    """
    primary, secondary = _families(plan)
    return analyse(
        values,
        primary,
        secondary,
        level=LEVEL,
        rope=plan.rope,
        failed=failed,
        trainings=plan.layout.trainings,
        images=images,
        spent=spent(plan, stage),
        error=error,
    ).estimates


def first_error(
    plan: Plan, first: Iterable[PlannedRun], values: Values
) -> tuple[float, int] | None:
    """Return the mean square of the first stage's error and its degrees of freedom (Stein 1945).

    None where the rule is no width, or the stage has no error to measure. A study that added runs
    until its error looked small must not be judged by that error: what is independent of the
    number of runs is the first stage's alone.

    Args:
        plan: with a `stopping` or without.
        first: the runs of its first stage.
        values: accuracy by arm and seed, percent; of these runs or of more.
    """
    if plan.stopping is None or plan.stopping.until == VERDICTS:
        return None
    known: dict[str, dict[int, float]] = {}
    for run in first:
        if run.seed in values.get(run.arm, {}) and run.arm not in plan.layout.dummies:
            known.setdefault(run.arm, {})[run.seed] = values[run.arm][run.seed]
    spread = fit_blocks(known, plan.layout.trainings).spread
    variance = spread.error_variance
    return None if variance is None else (variance, spread.error_df)


def spent(plan: Plan, stage: int) -> float:
    """Return the share of alpha that the tests may use where a study ends with a stage.

    That of the look, so that a false verdict of the report is one of some look. The shares are
    equal: then a contrast that was closed early is tested as the look tested it that closed it. A
    width is reached without a test, which leaves all of alpha to the report: its error is that of
    the first stage (`first_error`).
    """
    rule = plan.stopping
    if rule is None or rule.until != VERDICTS:
        return 1.0
    return rule.shares[stage] or next(share for share in rule.shares if share)


def undecided(plan: Plan, closed: Mapping[str, str], failed: Collection[str] = ()) -> list[str]:
    """Return the contrasts that are asked for, not closed and without an arm that failed."""
    return list(_open(plan, failed, closed))


def _verdicts(
    plan: Plan, stage: int, still: Mapping[str, tuple[Estimate, tuple[str, ...]]]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return what a look closes, and the growth of runs that would decide each of the others."""
    rule = plan.stopping
    assert rule is not None
    found: dict[str, str] = {}
    if rule.shares[stage] == 0:  # no look
        return found, dict.fromkeys(still, 1.0)
    for name, (estimate, _) in still.items():
        if estimate.verdict in ("helps", "hurts", "equal"):
            found[name] = estimate.verdict
        elif "zero spread" in estimate.notes:
            found[name] = OUT_OF_REACH
    size = max(len(still) - len(found), 1)
    hurdle = Hurdle(alpha=(1 - LEVEL) * rule.shares[stage], size=size, rope=plan.rope)
    growth: dict[str, float] = {}
    for name, (estimate, _) in still.items():
        growth[name] = math.inf
        if name in found or estimate.standard_error is None:
            continue
        growth[name] = max(growth_to_decide(estimate, hurdle), 1.0)
        chance = chance_to_decide(estimate, hurdle, rule.stages[-1] / rule.stages[stage])
        if chance < _LEAST_CHANCE and stage < len(rule.stages) - 1:
            found[name] = OUT_OF_REACH
    return found, growth


def _widths(
    width: float, stage: int, still: Mapping[str, tuple[Estimate, tuple[str, ...]]]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return whose interval is as narrow as wanted or never will be, and what the others need."""
    found: dict[str, str] = {}
    growth: dict[str, float] = {}
    for name, (estimate, _) in still.items():
        growth[name] = 1.0
        if estimate.standard_error is None:
            found[name] = OUT_OF_REACH
            continue
        growth[name] = growth_to_width(estimate, width)
        if growth[name] == 1:
            found[name] = REACHED
        elif width <= floor(estimate):
            found[name] = REFUSED
    return found, growth


def _target(rule: Stopping, stage: int, seeds: int, growth: float) -> int:
    """Return how many seeds an arm should have for a contrast after the next stage."""
    if rule.until == VERDICTS:
        return max(rule.stages[stage + 1], seeds)
    return min(math.ceil(min(growth * seeds, MAX_SEEDS) - 1e-9), rule.stages[stage + 1])


def _seeds(plan: Plan, values: Values) -> dict[str, set[int]]:
    """Return the seeds that each arm has, whatever became of them."""
    found = {arm.name: set(values.get(arm.name, ())) for arm in plan.layout.arms}
    for run in plan.runs:
        found[run.arm].add(run.seed)
    return found


def _families(plan: Plan) -> tuple[Weights, Weights]:
    return plan.layout.split.sides, {
        f"{place} {contrast.label}": contrast.weights
        for place, contrast in enumerate(plan.layout.contrasts)
        if contrast.family == COMPONENTS
    }


def _open(
    plan: Plan, failed: Collection[str], closed: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the arms of every contrast that waits for a decision and may get one.

    The sides of the split are asked for, their interaction is not.
    """
    primary, secondary = _families(plan)
    asked = {name: one for name, one in primary.items() if name != "by_blocks interaction"}
    found = {
        name: tuple(arm for arm, weight in weights.items() if weight)
        for name, weights in {**asked, **secondary}.items()
        if name not in closed
    }
    return {name: arms for name, arms in found.items() if arms and not {*arms} & {*failed}}


def _geometric(first: int, last: int, count: int) -> list[int]:
    """Return whole numbers that grow by about one factor from `first` to `last`."""
    found = [first]
    for place in range(1, count):
        found.append(
            max(math.floor(first * (last / first) ** (place / (count - 1)) + 1e-9), found[-1] + 1)
        )
    return found
