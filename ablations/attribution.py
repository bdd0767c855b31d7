"""Attribution: from accuracies by arm and seed to effects with intervals and verdicts.

One randomised-block fit over all runs of a study; its residual is the error of every contrast.
No pandas and no statsmodels here: `ablate report` must start fast.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ablations.image_noise import Images
from ablations.randomised_block import BlockFit, fit_blocks

MIN_ERROR_DF = 6  # below, no verdict (design.md section 8)
_EACH_ITS_OWN: Mapping[str, str] = MappingProxyType({})
_NONE: Mapping[str, Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The answer to one contrast, in the unit of the values (accuracy points)."""

    delta: float | None  # None: an arm of it has no finished run, or nothing was to be trained
    level: float
    interval: tuple[float, float] | None = None  # pointwise
    simultaneous: tuple[float, float] | None = None  # Bonferroni over its family
    standard_error: float | None = None
    seed_error: float | None = None  # the part of it that more seeds lower
    image_error: float | None = None  # the part that only more images lower; None: not measured
    n: int = 0  # independent runs on the smaller side
    error_df: float | None = None  # of the seeds' part, as the rule of verdicts counts them
    df: float | None = None  # Satterthwaite's, of the whole error: of interval and p
    p: float | None = None  # two-sided
    p_holm: float | None = None
    verdict: str | None = None  # helps, hurts, equal, unresolved; None: no verdict is possible
    method: str = "block"  # welch: each arm's own variance; means: no seed in common
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The plain mean of an arm's runs."""

    value: float
    interval: tuple[float, float] | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that the values of a study say."""

    estimates: Mapping[str, Estimate]  # primary and secondary, by name
    means: Mapping[str, Mean]  # of the arms that have a finished run
    error_df: int
    seed_correlation: float | None  # of two arms' runs on one seed; None: cannot be measured
    zero_spread: tuple[str, ...]  # arms whose seeds, two or more, all gave the same value


def analyse(
    values: Mapping[str, Mapping[int, float]],
    primary: Mapping[str, Mapping[str, float]],
    secondary: Mapping[str, Mapping[str, float]],
    *,
    level: float = 0.95,
    rope: float | None = None,
    failed: Collection[str] = (),
    trainings: Mapping[str, str] = _EACH_ITS_OWN,
    described: Mapping[str, Mapping[str, float]] = _NONE,
    null: Mapping[str, Mapping[str, float]] = _NONE,
    images: Images | None = None,
    spent: float = 1.0,
) -> Analysis:
    """Estimate contrasts from `{arm: {seed: value}}`.

    Tests are adjusted by Holm's step-down procedure within each family, `primary` (the training /
    architecture split) and `secondary` (the components), at alpha = 1 - level each: the chance of
    any false `helps` or `hurts` is at most alpha in a family, and at most 2 alpha over both. A
    family counts every contrast that was declared with weights, also those that cannot be tested
    (as p = 1), so a failed arm makes no other verdict easier. Simultaneous intervals are
    Bonferroni's, somewhat wider than Holm's tests.

    `equal` needs the pointwise 1 - 2 alpha interval inside [-rope, rope], and then wins.
    A contrast with an arm in `failed` is at best `unresolved`, whatever its finished runs say: runs
    that fail are not a random sample. Where nothing was trained, or the error has fewer than
    MIN_ERROR_DF degrees of freedom or no spread, the verdict is None.

    Args:
        values: finite accuracies; an arm may lack seeds or all of them.
        primary: weights of arm means by name, summing to 0; empty for what is not to be trained.
        secondary: likewise.
        level: of the intervals.
        rope: largest difference that counts as none, in points; None: `equal` is never concluded.
        failed: arms with a run that ended without a result.
        trainings: names the training of arms that share one; such runs are not independent:
            `n` counts them once per side, and the error is measured on one arm of each training.

    Raises:
        ValueError: a value is not finite, weights do not sum to 0, one name is in both families,
            or `level` or `rope` is impossible.
    """
    _check(values, primary, secondary, level, rope)
    finished = {arm: by_seed for arm, by_seed in values.items() if by_seed}
    fit = fit_blocks(finished, trainings)
    estimates: dict[str, Estimate] = {}
    for family in (primary, secondary):
        used = {name: _nonzero(weights) for name, weights in family.items()}
        found = {
            name: _estimate(fit, weights, level, _n(weights, values, trainings))
            for name, weights in used.items()
        }
        found = _adjusted(found, size=sum(bool(weights) for weights in used.values()))
        for name, estimate in found.items():
            doubtful = not used[name].keys().isdisjoint(failed)
            verdict = _verdict(estimate, rope)
            if doubtful and (estimate.delta is None or verdict is not None):
                verdict = "unresolved"
            estimates[name] = replace(estimate, verdict=verdict)
    return Analysis(
        estimates=estimates,
        means={arm: _mean(fit, arm, finished[arm], level) for arm in finished},
        error_df=fit.spread.error_df,
        seed_correlation=fit.seed_correlation,
        zero_spread=tuple(
            arm for arm, by_seed in finished.items() if len(by_seed) > len({*by_seed.values()}) == 1
        ),
    )


def holm(p: Sequence[float], size: int | None = None) -> list[float]:
    """Return Holm-adjusted p values; `size` is that of the family, if some are not tested."""
    size = len(p) if size is None else size
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, p[place] * (size - rank)))
        adjusted[place] = largest
    return adjusted


def _estimate(fit: BlockFit, weights: Mapping[str, float], level: float, n: int) -> Estimate:
    if not weights or not weights.keys() <= fit.arms.keys():
        return Estimate(delta=None, level=level)
    common: dict[str, Any] = {"level": level, "n": n}
    found = fit.contrast(weights)
    if found is None:
        return Estimate(
            delta=fit.difference_of_means(weights),
            error_df=0,
            method="means",
            notes=("no seed in common",),
            **common,
        )
    delta, variance = found
    error = fit.standard_error(variance)
    if error is None:
        notes = ("zero spread",) if fit.spread.error_df else ()
        return Estimate(delta=delta, error_df=fit.spread.error_df, notes=notes, **common)
    from scipy.special import stdtr  # takes 0.1 s, for which one run per arm has no use

    return Estimate(
        delta=delta,
        interval=_around(delta, error, fit.spread.error_df, 1 - level),
        standard_error=error,
        error_df=fit.spread.error_df,
        p=float(2 * stdtr(fit.spread.error_df, -abs(delta) / error)),
        **common,
    )


def _adjusted(family: Mapping[str, Estimate], size: int) -> dict[str, Estimate]:
    tested = {name: one.p for name, one in family.items() if one.p is not None}
    found = dict(family)
    for name, p_holm in zip(tested, holm(list(tested.values()), size), strict=True):
        one = family[name]
        found[name] = replace(one, p_holm=p_holm, simultaneous=_interval(one, 1 - one.level, size))
    return found


def _verdict(estimate: Estimate, rope: float | None) -> str | None:
    if estimate.delta is None or estimate.error_df is None or estimate.p_holm is None:
        return None
    if estimate.error_df < MIN_ERROR_DF:
        return None
    alpha = 1 - estimate.level
    if rope is not None:
        low, high = _interval(estimate, 2 * alpha)
        if -rope <= low and high <= rope:
            return "equal"
    if estimate.p_holm > alpha:
        return "unresolved"
    return "helps" if estimate.delta > 0 else "hurts"


def _mean(fit: BlockFit, arm: str, by_seed: Mapping[int, float], level: float) -> Mean:
    found = fit.mean(arm)
    interval = None if found is None else _around(*found, 1 - level)
    return Mean(value=math.fsum(by_seed.values()) / len(by_seed), interval=interval, n=len(by_seed))


def _n(
    weights: Mapping[str, float],
    values: Mapping[str, Mapping[int, float]],
    trainings: Mapping[str, str],
) -> int:
    sides: dict[bool, set[tuple[str, int]]] = {True: set(), False: set()}
    for arm, weight in weights.items():
        for seed in values.get(arm, ()):
            sides[weight > 0].add((trainings.get(arm, arm), seed))
    return min(len(side) for side in sides.values())


def _interval(estimate: Estimate, alpha: float, size: int = 1) -> tuple[float, float]:
    assert estimate.delta is not None and estimate.standard_error is not None
    assert estimate.error_df is not None
    return _around(estimate.delta, estimate.standard_error, estimate.error_df, alpha / size)


def _around(middle: float, error: float, df: float, alpha: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    reach = float(stdtrit(df, 1 - alpha / 2)) * error
    return middle - reach, middle + reach


def _nonzero(weights: Mapping[str, float]) -> dict[str, float]:
    return {arm: weight for arm, weight in weights.items() if weight}


def _check(
    values: Mapping[str, Mapping[int, float]],
    primary: Mapping[str, Mapping[str, float]],
    secondary: Mapping[str, Mapping[str, float]],
    level: float,
    rope: float | None,
) -> None:
    if not 0.5 < level < 1:
        raise ValueError(f"level {level} must lie between 0.5 and 1, as 0.95")
    if rope is not None and not 0 < rope < math.inf:
        raise ValueError(f"rope {rope} must be above 0, in accuracy points")
    for arm, by_seed in values.items():
        for seed, value in by_seed.items():
            if not math.isfinite(value):
                raise ValueError(f"the value of arm {arm!r}, seed {seed} is {value}: not finite")
    if both := primary.keys() & secondary.keys():
        raise ValueError(f"contrasts in both families: {', '.join(sorted(both))}")
    for name, weights in {**primary, **secondary}.items():
        total = math.fsum(weights.values())
        if not abs(total) < 1e-9:
            raise ValueError(f"the weights of contrast {name!r} sum to {total}, not to 0")
