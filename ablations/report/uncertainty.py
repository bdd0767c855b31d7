"""Notes about how sure the numbers are: families, noise, what was assumed, and how it went."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ablations.attribution import MIN_ERROR_DF, SPLIT, Analysis, Estimate
from ablations.correctness import MISSING, KeptImages
from ablations.image_noise import Images
from ablations.plans import COMPONENTS, NULL, Contrast
from ablations.power import smallest_effect
from ablations.report.words import interval, probability, signed
from ablations.welch import DIFFERENT

Pairs = Sequence[tuple[Contrast, Estimate]]
_LISTED = 5  # more names are only counted


def uncertainty(
    pairs: Pairs,
    gaps: Mapping[str, Estimate],
    analysis: Analysis,
    images: Images | None,
    spent: float,
) -> Iterator[str]:
    """Yield the notes; `gaps` are the lack of fit by estimand."""
    yield from shared_alpha(analysis, spent)
    yield from together(pairs)
    yield from noise(analysis)
    yield from without_images(pairs, analysis, images)
    yield from own_variances(pairs, analysis)
    yield from bands(pairs)
    for estimand, gap in gaps.items():
        yield from lack_of_fit(estimand, gap)
    yield from null_calibration(pairs)


def shared_alpha(analysis: Analysis, spent: float) -> Iterable[str]:
    """Tell how the tests share alpha, where there are two families or several looks."""
    sizes = {family: 0 for family in (SPLIT, COMPONENTS)}
    level = 0.95
    for one in analysis.estimates.values():
        if one.family in sizes and one.p_holm is not None:
            sizes[one.family] += 1
            level = one.level
    if spent < 1 and any(sizes.values()):
        yield (
            f"stopped at a look that may use {spent:.3g} of alpha: p values are divided by it"
            " before they are adjusted"
        )
    if all(sizes.values()):
        yield (
            f"tests: {sizes[SPLIT]} of the split and {sizes[COMPONENTS]} of the components share"
            f" alpha {1 - level:.3g} half and half (Holm within each; a half wholly resolved"
            " passes to the other)"
        )


def together(pairs: Pairs) -> Iterable[str]:
    """Print the intervals that hold all at once."""
    wide = [
        f"{contrast.label} {interval(estimate.simultaneous)}"
        for contrast, estimate in pairs
        if estimate.simultaneous is not None and estimate.family == COMPONENTS
    ]
    if len(wide) > 1:
        level = pairs[0][1].level
        yield f"{100 * level:g} % intervals that hold all at once (Bonferroni): {', '.join(wide)}"


def noise(analysis: Analysis) -> Iterable[str]:
    """Tell what was measured of the noise of seeds and images."""
    parts = []
    if analysis.run_sd is not None and analysis.error_df:
        parts.append(f"one run differs by sd {analysis.run_sd:.2f} between seeds")
    both = [
        (one.seed_error, one.image_error)
        for one in analysis.estimates.values()
        if one.seed_error is not None and one.image_error is not None and one.family == COMPONENTS
    ]
    if both:
        seeds, images = (statistics.median(part) for part in zip(*both, strict=True))
        parts.append(
            f"a delta's standard error is {seeds:.2f} by seeds and {images:.2f} by the"
            f" {analysis.images} images, which more seeds cannot lower (medians)"
        )
    if parts:
        yield f"measured noise: {'; '.join(parts)}"
    if analysis.seed_correlation is not None:
        yield f"measured correlation of arms on one seed: {analysis.seed_correlation:.2f}"


def without_images(pairs: Pairs, analysis: Analysis, images: Images | None) -> Iterable[str]:
    """Tell whose intervals hold for these images only, and why."""
    lacking = [
        contrast.label
        for contrast, estimate in pairs
        if estimate.interval is not None
        and estimate.image_error is None
        and estimate.family != NULL  # arms of one recipe: the images have no part in it
    ]
    reasons = sorted(set(images.unread.values())) if isinstance(images, KeptImages) else []
    if lacking:
        whose = "intervals are" if not analysis.images else f"the intervals of {_some(lacking)} are"
        if isinstance(images, KeptImages):
            old = sum(reason == MISSING for reason in images.unread.values())
            why = [f"{old} runs were {MISSING}"] if old else []
            why += [reason for reason in reasons if reason != MISSING]
        else:
            why = ["which images each run got right is not known"]
        yield (
            f"{whose} of seeds alone, for these images and no others"
            f"{': ' + _some(why) if why else ''}"
        )
    elif reasons:
        yield f"not read beside the other runs of their arms: {_some(reasons)}"


def own_variances(pairs: Pairs, analysis: Analysis) -> Iterable[str]:
    """Tell where arms were not pooled, and what it costs."""
    if analysis.bartlett is None or analysis.bartlett >= DIFFERENT:
        return
    short = [
        contrast.label
        for contrast, estimate in pairs
        if estimate.method == "welch" and (estimate.error_df or 0) < MIN_ERROR_DF
    ]
    pooled = [
        contrast.label
        for contrast, estimate in pairs
        if estimate.method == "block" and estimate.interval is not None
    ]
    yield (
        f"arms differ in their spread between seeds (Bartlett, p {probability(analysis.bartlett)}),"
        " so each contrast has its own arms' variances (Welch)"
        + (
            f"; no verdict, fewer than {MIN_ERROR_DF} degrees of freedom: {_some(short)}"
            * bool(short)
        )
        + (f"; still pooled, one run in an arm: {_some(pooled)}" * bool(pooled))
    )


def bands(pairs: Pairs) -> Iterable[str]:
    """Tell what each component is worth first and last, where both were asked."""
    found = []
    for contrast, first in pairs:
        if contrast.estimand != "alone" or first.delta is None:
            continue
        for other, last in pairs:
            same = (other.component, other.label) == (contrast.component, contrast.label)
            if same and other.estimand == "in_recipe" and last.delta is not None:
                found.append(f"{contrast.label} {_found(first)} to {_found(last)}")
                break
    if found:
        yield f"first in to last in: {'; '.join(found)}"


def lack_of_fit(estimand: str, gap: Estimate) -> Iterable[str]:
    """Tell whether the effects sum to the whole, and what gap would have been seen."""
    if gap.interval is None or gap.p is None or gap.standard_error is None or gap.df is None:
        return
    alpha = 1 - gap.level
    least = smallest_effect(gap.standard_error, gap.df, alpha)
    words = "no evidence against additivity" if gap.p > alpha else "effects do not add"
    yield (
        f"lack of fit: the effects ({estimand.replace('_', ' ')}) sum to {signed(gap.delta)}"
        f" {interval(gap.interval)} more than full minus base (p {probability(gap.p)}): {words};"
        f" a gap of {least:.2f} would be found with 80 % power"
    )


def null_calibration(pairs: Pairs) -> Iterable[str]:
    """Read out what the procedure made of contrasts that are 0 by construction."""
    null = [(contrast, estimate) for contrast, estimate in pairs if estimate.family == NULL]
    names = [contrast.label for contrast, _ in null]
    tested = [
        (one.delta / one.standard_error, one)
        for _, one in null
        if one.delta is not None and one.standard_error is not None and one.p is not None
    ]
    if not tested:
        return
    judged = [one for _, one in tested if one.verdict is not None]
    false = sum(one.verdict in ("helps", "hurts") for one in judged)
    largest, worst = max(tested, key=lambda pair: abs(pair[0]))
    ratio = math.sqrt(math.fsum(t**2 for t, _ in tested) / len(tested))
    called = f"{false} of {len(judged)} called helps or hurts" if judged else "no verdicts"
    yield (
        f"null calibration, what is 0 by construction ({_some(names)}): {called}; largest"
        f" |t| {abs(largest):.2f} (p {probability(worst.p)}); spread {ratio:.2f} times the standard"
        " error, which is that of unpaired runs: dummies share no random numbers with other arms"
    )


def _found(estimate: Estimate) -> str:
    limits = "" if estimate.interval is None else f" {interval(estimate.interval)}"
    return f"{signed(estimate.delta)}{limits}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
