"""Attribution: from accuracies by arm and seed to effects with intervals and verdicts.

One randomised-block fit over all runs of a study; its residual is the seeds' part of the error of
every contrast, and the images are the other part (docs/statistics.md). No pandas and no
statsmodels here: `ablate report` must start fast. Half of its length is the contract of `analyse`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ablations.dummies import dummies_of, unshared
from ablations.families import Family, adjusted, holm, shares
from ablations.image_noise import ImageNoise, Images, ImageVariance, Question
from ablations.limits import around
from ablations.measured import Mean, Measured, mean_of, measure, unpaired
from ablations.plans import COMPONENTS, DESCRIBED, NULL
from ablations.randomised_block import fit_blocks
from ablations.welch import arm_errors

MIN_ERROR_DF = 6  # below, no verdict (design.md section 8)
SPLIT = "split"  # the primary family of tests
_EACH_ITS_OWN: Mapping[str, str] = MappingProxyType({})
_NONE: Mapping[str, Mapping[str, float]] = MappingProxyType({})

Weights = Mapping[str, float]
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The answer to one contrast, in the unit of the values (accuracy points)."""

    delta: float | None  # None: an arm of it has no finished run, or nothing was to be trained
    level: float
    interval: tuple[float, float] | None = None  # pointwise
    simultaneous: tuple[float, float] | None = None  # Bonferroni, at its family's share of alpha
    standard_error: float | None = None
    seed_error: float | None = None  # the part of it that more seeds lower
    image_error: float | None = None  # the part that only more images lower; None: not measured
    n: int = 0  # independent runs on the smaller side
    error_df: float | None = None  # of the seeds' part, as the rule of verdicts counts them
    df: float | None = None  # of the whole error: of interval and p
    p: float | None = None  # two-sided
    p_holm: float | None = None
    verdict: str | None = None  # helps, hurts, equal, unresolved; None: no verdict is possible
    method: str = "block"  # welch: each arm's own variance; means: no seed in common
    family: str = COMPONENTS  # or split, null, described
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that the values of a study say."""

    estimates: Mapping[str, Estimate]  # of all families, by name
    means: Mapping[str, Mean]  # of the arms that have a finished run
    error_df: int
    seed_correlation: float | None  # of two arms' runs on one seed; None: cannot be measured
    zero_spread: tuple[str, ...]  # arms whose seeds, two or more, all gave the same value
    run_sd: float | None = None  # of one run between seeds, points; None: cannot be measured
    images: int = 0  # evaluated in each run, as far as the images' part was measured; 0: it was not
    bartlett: float | None = None  # p that all arms have one variance; None: cannot be tested


def analyse(
    values: Values,
    primary: Mapping[str, Weights],
    secondary: Mapping[str, Weights],
    *,
    level: float = 0.95,
    rope: float | None = None,
    failed: Collection[str] = (),
    trainings: Mapping[str, str] = _EACH_ITS_OWN,
    described: Mapping[str, Weights] = _NONE,
    null: Mapping[str, Weights] = _NONE,
    images: Images | None = None,
    spent: float = 1.0,
    error: tuple[float, int] | None = None,
) -> Analysis:
    """Estimate contrasts from `{arm: {seed: value}}`.

    The families `primary` (the training / architecture split) and `secondary` (the components)
    share alpha = 1 - level half and half, each by Holm's procedure; one that is wholly rejected
    passes its share on. So the chance of any false `helps` or `hurts` among both is at most alpha.
    `null` holds contrasts that are 0 by construction: a family of its own with all of alpha, to see
    what the procedure makes of them. A family counts every contrast that was declared with weights,
    also those that cannot be tested (as p = 1), so a failed arm makes no other verdict easier.
    Simultaneous intervals are Bonferroni's at the family's share, wider than Holm's tests.
    `described` contrasts get an interval and p, and no verdict.

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
        described: as `primary`; outside every family.
        null: as `primary`; zero by construction.
        images: which images each run got right; None, or None of a run: the error of what reads it
            is the seeds' alone.
        spent: share of alpha that the tests of this look may use, for looks at growing data: p is
            divided by it, and the two one-sided tests use alpha times it. The shares of all looks
            sum to 1 at most (Bonferroni).
        error: mean square of the runs' error, points squared, and its degrees of freedom, where
            these are known from elsewhere: by Stein (1945), of the first stage of a study whose
            number of runs followed from them. None: of all runs. Where variances clearly differ,
            Welch's are of all runs in either case.

    Raises:
        ValueError: a value is not finite, weights do not sum to 0 or name an unknown arm, one name
            is in two families, images do not give the value of their run, or `level`, `rope` or
            `spent` is impossible.
    """
    families = {SPLIT: primary, COMPONENTS: secondary, NULL: null, DESCRIBED: described}
    _check(values, families, level, rope, spent)
    dummies = dummies_of(families)
    finished = {arm: by_seed for arm, by_seed in values.items() if by_seed and arm not in dummies}
    fit = fit_blocks(finished, trainings)
    given = {arm: by_seed for arm, by_seed in values.items() if by_seed}
    whole = fit_blocks(unshared(given, dummies), trainings) if len(given) > len(finished) else fit
    errors = arm_errors(fit)
    asked = {
        name: _nonzero(weights) for family in families.values() for name, weights in family.items()
    }
    loads = {
        name: fit.loads(weights)
        for name, weights in asked.items()
        if weights and weights.keys() <= finished.keys()
    }
    noise = None
    seen: Mapping[tuple[str, str], ImageVariance] = {}
    if images is not None and fit.spread.run_variance is not None:
        noise = ImageNoise(images, fit, finished)
        seen = noise.of(
            {
                ("contrast", name): Question(weights=asked[name], loads=found)
                for name, found in loads.items()
                if found is not None
            }
            | {("mean", arm): Question(weights={arm: 1.0}) for arm in finished}
        )
    found = {
        name: unpaired(whole, weights)
        if name in null
        else measure(fit, errors, weights, loads.get(name), seen.get(("contrast", name)), error)
        for name, weights in asked.items()
    }
    adjusted_p, portions = _adjust(families, asked, found, spent)
    doubtful = frozenset(failed)
    estimates = {
        name: _estimate(
            found[name],
            family=family,
            level=level,
            n=_n(asked[name], values, trainings) if asked[name].keys() <= given.keys() else 0,
            p_holm=adjusted_p.get(name),
            portion=portions[family],
            rope=rope,
            spent=spent,
            failed=not doubtful.isdisjoint(asked[name]),
        )
        for family, contrasts in families.items()
        for name in contrasts
    }
    run_variance = fit.spread.run_variance
    return Analysis(
        estimates=estimates,
        means={
            arm: mean_of(fit, errors, arm, by_seed, seen.get(("mean", arm)), level)
            if arm in finished
            else mean_of(whole, None, arm, by_seed, None, level)
            for arm, by_seed in given.items()
        },
        error_df=fit.spread.error_df if error is None else error[1],
        seed_correlation=fit.seed_correlation,
        zero_spread=tuple(
            arm for arm, by_seed in given.items() if len(by_seed) > len({*by_seed.values()}) == 1
        ),
        run_sd=None if run_variance is None else math.sqrt(run_variance),
        images=noise.count if noise is not None and seen else 0,
        bartlett=None if errors is None else errors.p,
    )


def _adjust(
    families: Mapping[str, Mapping[str, Weights]],
    asked: Mapping[str, Weights],
    found: Mapping[str, Measured],
    spent: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the adjusted p values by name, and the part of alpha of one member by family."""
    tested: dict[str, list[str]] = {}
    tests: dict[str, Family] = {}
    for family in (SPLIT, COMPONENTS, NULL):
        known = {name: found[name].p for name in families[family]}
        p = {name: one for name, one in known.items() if one is not None}
        declared = sum(bool(asked[name]) for name in families[family])
        tested[family] = list(p)
        tests[family] = Family(
            p=[min(one / spent, 1.0) for one in p.values()], untested=declared - len(p)
        )
    pair = (tests[SPLIT], tests[COMPONENTS])
    results = [*adjusted(*pair), holm(tests[NULL].p, tests[NULL].size)]
    halves = [*shares(pair), 1.0]
    return (
        {
            name: one
            for names, adjusted_p in zip(tested.values(), results, strict=True)
            for name, one in zip(names, adjusted_p, strict=True)
        },
        {
            family: spent * half / max(tests[family].size, 1)
            for family, half in zip(tests, halves, strict=True)
        }
        | {DESCRIBED: 0.0},
    )


def _estimate(
    found: Measured,
    *,
    family: str,
    level: float,
    n: int,
    p_holm: float | None,
    portion: float,
    rope: float | None,
    spent: float,
    failed: bool,
) -> Estimate:
    delta, error, df, alpha = found.delta, found.error, found.df, 1 - level
    interval = simultaneous = verdict = None
    if delta is not None and error is not None and df is not None:
        interval = around(delta, error, df, alpha)
        if family != DESCRIBED:
            simultaneous = around(delta, error, df, alpha * portion)
            verdict = _verdict(found, p_holm, alpha, rope, spent)
    if failed and family != DESCRIBED and (delta is None or verdict is not None):
        verdict = "unresolved"
    return Estimate(
        delta=delta,
        level=level,
        interval=interval,
        simultaneous=simultaneous,
        standard_error=error,
        seed_error=None if found.seeds is None else math.sqrt(found.seeds),
        image_error=None if found.images is None else math.sqrt(found.images.variance),
        n=n,
        error_df=found.error_df,
        df=df,
        p=found.p,
        p_holm=p_holm,
        verdict=verdict,
        method=found.method,
        family=family,
        notes=found.notes,
    )


def _verdict(
    found: Measured, p_holm: float | None, alpha: float, rope: float | None, spent: float
) -> str | None:
    assert found.delta is not None and found.error is not None and found.df is not None
    if p_holm is None or found.error_df is None or found.error_df < MIN_ERROR_DF:
        return None
    if rope is not None:
        low, high = around(found.delta, found.error, found.df, 2 * alpha * spent)
        if -rope <= low and high <= rope:
            return "equal"
    if p_holm > alpha:
        return "unresolved"
    return "helps" if found.delta > 0 else "hurts"


def _n(weights: Weights, values: Values, trainings: Mapping[str, str]) -> int:
    sides: dict[bool, set[tuple[str, int]]] = {True: set(), False: set()}
    for arm, weight in weights.items():
        for seed in values.get(arm, ()):
            sides[weight > 0].add((trainings.get(arm, arm), seed))
    return min(len(side) for side in sides.values())


def _nonzero(weights: Weights) -> dict[str, float]:
    return {arm: weight for arm, weight in weights.items() if weight}


def _check(
    values: Values,
    families: Mapping[str, Mapping[str, Weights]],
    level: float,
    rope: float | None,
    spent: float,
) -> None:
    if not 0.5 < level < 1:
        raise ValueError(f"level {level} must lie between 0.5 and 1, as 0.95")
    if rope is not None and not 0 < rope < math.inf:
        raise ValueError(f"rope {rope} must be above 0, in accuracy points")
    if not 0 < spent <= 1:
        raise ValueError(f"spent {spent} must be a share of alpha: above 0, at most 1")
    for arm, by_seed in values.items():
        for seed, value in by_seed.items():
            if not math.isfinite(value):
                raise ValueError(f"the value of arm {arm!r}, seed {seed} is {value}: not finite")
    family_of: dict[str, str] = {}
    for family, contrasts in families.items():
        for name, weights in contrasts.items():
            if name in family_of:
                raise ValueError(
                    f"contrasts in two families, {family_of[name]} and {family}: {name}"
                )
            family_of[name] = family
            total = math.fsum(weights.values())
            if not abs(total) < 1e-9:
                raise ValueError(f"the weights of contrast {name!r} sum to {total}, not to 0")
            if unknown := weights.keys() - values.keys():
                raise ValueError(
                    f"contrast {name!r} weighs {', '.join(map(repr, sorted(unknown)))}, which is no"
                    f" arm of these values: {', '.join(map(repr, values))}"
                )
