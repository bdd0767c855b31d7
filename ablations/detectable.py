"""The smallest effects that a plan can resolve, before anything is trained.

The planned runs go through the randomised-block fit of the answer, for the weight of every run in
every contrast and the degrees of freedom of the error; only the noise is taken from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ablations.attribution import MIN_ERROR_DF
from ablations.limits import df_of_sum
from ablations.noise import Noise
from ablations.plans import COMPONENTS, NULL, Plan
from ablations.power import smallest_effect
from ablations.randomised_block import BlockFit, fit_blocks

_FITTED_SEEDS = 20  # equal seeds beyond these are counted by proportion
_MORE_SEEDS = 20  # that are tried for verdicts

Seeds = Mapping[str, frozenset[int]]  # by arm


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The smallest true effects that are found with 80 % power, in points. None: none is."""

    pointwise: float | None  # its own interval leaves out 0
    verdict: float | None  # it is called helps or hurts, at Holm's first step in its family
    image_floor: float  # pointwise, with infinitely many seeds


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What a plan can resolve."""

    seeds: Mapping[str, int]  # runs by arm that this counts with
    error_df: int
    enough_seeds: int | None  # per arm, for verdicts; None: there are enough, or none would do
    contrasts: tuple[Detectable | None, ...]  # in the plan's order; None: nothing to be trained
    split: Mapping[str, Mapping[str, Detectable]]  # by_ladder, by_blocks: side


@dataclass(frozen=True, kw_only=True)
class _Error:
    """The error that a plan's runs will leave."""

    fit: BlockFit
    scale: float  # of the fit's variances: its seeds over those that are planned
    df: int
    noise: Noise


def prospect(plan: Plan, noise: Noise, level: float = 0.95) -> Prospect:
    """Return the smallest effects that a plan can resolve, at its last look.

    The split and the components share 1 - level half and half, where a plan has both; null
    contrasts are tested by themselves, and what is only described has no verdict.
    """
    seeds = _planned(plan)
    trainings = plan.layout.trainings
    fit, scale, df = _fitted(seeds, trainings)
    error = _Error(fit=fit, scale=scale, df=df, noise=noise)
    split = {
        "by_ladder": _nonempty(plan.layout.split.by_ladder),
        "by_blocks": _nonempty(plan.layout.split.by_blocks or {}),
    }
    sides = sum(len(found) for found in split.values())
    declared = [one.family for one in plan.layout.contrasts if one.weights]
    share = 0.5 if sides and COMPONENTS in declared else 1.0
    alpha = 1 - level
    last = alpha * (plan.stopping.shares[-1] if plan.stopping is not None else 1.0)
    steps = {
        COMPONENTS: last * share / max(declared.count(COMPONENTS), 1),
        NULL: last / max(declared.count(NULL), 1),
    }
    return Prospect(
        seeds={arm: len(found) for arm, found in seeds.items()},
        error_df=df,
        enough_seeds=None if df >= MIN_ERROR_DF else _enough(seeds, trainings),
        contrasts=tuple(
            _detectable(error, one.weights, alpha, steps.get(one.family)) if one.weights else None
            for one in plan.layout.contrasts
        ),
        split={
            way: {
                side: _detectable(error, weights, alpha, last * share / sides)
                for side, weights in found.items()
            }
            for way, found in split.items()
        },
    )


def _detectable(
    error: _Error, weights: Mapping[str, float], alpha: float, step: float | None
) -> Detectable:
    noise = error.noise
    size = math.fsum(abs(weight) for weight in weights.values()) / 2  # 1 for a simple difference
    of_images = noise.image_variance * size**2 / noise.images
    image_df = max(noise.images - 1, 1)
    floor = smallest_effect(math.sqrt(of_images), image_df, alpha)
    squares = _squares(error.fit, weights)
    if squares is None or error.df == 0:
        return Detectable(pointwise=None, verdict=None, image_floor=floor)
    of_seeds = noise.seed_variance * squares * error.scale
    total = of_seeds + of_images
    # The seeds' part is known by the study's own error, the images' by the images.
    df = df_of_sum(of_seeds, error.df, of_images, 2 * of_images**2 / image_df)
    has_verdict = step is not None and error.df >= MIN_ERROR_DF
    return Detectable(
        pointwise=smallest_effect(math.sqrt(total), df, alpha),
        verdict=smallest_effect(math.sqrt(total), df, step) if has_verdict and step else None,
        image_floor=floor,
    )


def _squares(fit: BlockFit, weights: Mapping[str, float]) -> float | None:
    """Return the sum of a contrast's squared run coefficients; None where seeds do not cancel."""
    found = fit.loads({arm: weight for arm, weight in weights.items() if weight})
    return None if found is None else found.variance


def _planned(plan: Plan) -> dict[str, frozenset[int]]:
    """Return the seeds by arm; with looks for verdicts, as if every arm got those of the last.

    At least what is planned anyway, at most what `max_runs` leaves each arm.
    """
    found: dict[str, set[int]] = {arm.name: set() for arm in plan.layout.arms}
    for run in plan.runs:
        found[run.arm].add(run.seed)
    if plan.stopping is not None and plan.stopping.until == "verdicts":
        last = plan.stopping.stages[-1]
        if plan.stopping.max_runs is not None:
            last = min(last, plan.stopping.max_runs // len(found))
        for seeds in found.values():
            seeds.update(range(last))
    return {arm: frozenset(seeds) for arm, seeds in found.items()}


def _fitted(seeds: Seeds, trainings: Mapping[str, str]) -> tuple[BlockFit, float, int]:
    """Return the fit of planned runs, the scale of its variances, and the df of its error."""
    kinds = set(seeds.values())
    count = len(next(iter(kinds)))
    if len(kinds) > 1 or count <= _FITTED_SEEDS:
        fit = fit_blocks({arm: dict.fromkeys(s, 0.0) for arm, s in seeds.items()}, trainings)
        return fit, 1.0, fit.spread.error_df
    fit = fit_blocks({arm: dict.fromkeys(range(_FITTED_SEEDS), 0.0) for arm in seeds}, trainings)
    by_seed = fit.spread.error_df // (_FITTED_SEEDS - 1)  # equal seeds: (arms - 1) each
    return fit, _FITTED_SEEDS / count, by_seed * (count - 1)


def _enough(seeds: Seeds, trainings: Mapping[str, str]) -> int | None:
    """Return how many seeds per arm would give verdicts, where every arm gets as many more."""
    top = max(max(found) for found in seeds.values()) + 1
    for more in range(1, _MORE_SEEDS + 1):
        wider = {arm: found | frozenset(range(top, top + more)) for arm, found in seeds.items()}
        if _fitted(wider, trainings)[2] >= MIN_ERROR_DF:
            return min(len(found) for found in seeds.values()) + more
    return None


def _nonempty(sides: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {side: weights for side, weights in sides.items() if weights}
