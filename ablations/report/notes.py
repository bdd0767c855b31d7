"""The notes of a report: what a reader must know beside the numbers, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablations.attribution import MIN_ERROR_DF, Analysis, Estimate
from ablations.certificate import pairs
from ablations.image_noise import Images
from ablations.observed import FOLLOWING, aspects
from ablations.plans import FAILED, LATE_SPLIT, NULL, Contrast, Outcome, Plan, values_by_arm
from ablations.report.analysis import Answer
from ablations.report.gates import gates
from ablations.report.uncertainty import uncertainty

_LISTED = 8  # certificates that are told in full
_LONGEST = 200  # characters of one error; the whole traceback is in the run's folder


def findings(
    plan: Plan,
    outcomes: Sequence[Outcome],
    answer: Answer,
    *,
    rope: float | None,
    images: Images | None,
    spent: float,
) -> list[str]:
    """Return the notes, what went wrong first."""
    analysis = answer.analysis
    pairs = list(zip(plan.layout.contrasts, answer.estimates, strict=True))
    found = [
        *_runs(outcomes, plan.layout.contrasts),
        *(() if plan.published else gates(plan, outcomes, analysis.zero_spread)),
        *_not_trained(plan.layout.contrasts),
        *_spread(pairs),
        *_verdicts(plan, analysis, pairs, answer.trainings),
        *_equal(pairs, rope),
        *(() if plan.published else uncertainty(pairs, answer.gaps, analysis, images, spent)),
        *_shared(answer.trainings),
        *_late(plan),
        *plan.layout.notes,
        *plan.layout.aliases,
        *plan.notes,
    ]
    return [_one_line(note) for note in found]


def certified(plan: Plan, certificates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one note: what each arm was proven to change before it was trained."""
    if plan.published is not None:
        return []
    damaged = [str(one["damaged"]) for one in certificates if "damaged" in one]
    if damaged:
        return [_one_line(f"certificates are damaged and cannot be shown: {', '.join(damaged)}")]
    wanted = [(parent.name, arm.name) for parent, arm in pairs(plan.layout)]
    known = {(one.get("parent"), one.get("arm")): one for one in certificates if one.get("treated")}
    treated = [known[pair] for pair in wanted if pair in known]
    without = [f"{arm} against {parent}" for parent, arm in wanted if (parent, arm) not in known]
    if without:
        return [
            _one_line(
                f"no certificate is kept of {', '.join(without)}: the runs were made for another"
                " study, which proved their arms against other parents (certificate.json of a run)"
            )
        ]
    if len(treated) > _LISTED:
        return [
            f"certified before training: each of {len(plan.layout.arms)} arms differs from its"
            " parent in what it declares and in nothing else; `ablate plan` tells in what"
        ]
    found = [
        f"{one['arm']} ({', '.join(aspects(one['changed'].keys() - set(FOLLOWING)))})"
        for one in treated
    ]
    return [
        _one_line(
            "certified before training: each arm differs from its parent in what it declares and in"
            f" nothing else: {'; '.join(found)}"
        )
    ]


def _one_line(text: str) -> str:
    # Errors and reasons come from outside: no line breaks, no control characters.
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _runs(outcomes: Sequence[Outcome], contrasts: Sequence[Contrast]) -> Iterable[str]:
    for outcome in outcomes:
        if outcome.status in FAILED:
            lines = outcome.error.strip().splitlines()
            reason = lines[-1][:_LONGEST] if lines else ""
            status = outcome.status.replace("_", " ")
            where = f"{outcome.run.arm}, seed {outcome.run.seed}: {status}"
            yield f"{where}: {reason}" if reason else where
    left = [one for one in outcomes if one.status != "finished" and one.status not in FAILED]
    if left:
        yield f"{len(left)} of {len(outcomes)} runs have not finished: these numbers may still move"
    planned: dict[str, set[int]] = {}
    for outcome in outcomes:
        planned.setdefault(outcome.run.arm, set()).add(outcome.run.seed)
    finished = {arm: by_seed.keys() for arm, by_seed in values_by_arm(outcomes).items() if by_seed}
    lacking = len({frozenset(planned[arm] - seeds) for arm, seeds in finished.items()}) > 1
    compared = [{one.control, one.treatment} & planned.keys() for one in contrasts]
    uneven = any(len({frozenset(planned[arm or ""]) for arm in pair}) > 1 for pair in compared)
    if lacking or uneven:
        yield (
            "some arms lack seeds that others have: deltas are adjusted for it, and are not the"
            " differences of the values"
        )


def _not_trained(contrasts: Sequence[Contrast]) -> Iterable[str]:
    for contrast in contrasts:
        if contrast.outcome != "applied":
            yield f"{contrast.label} is {contrast.outcome.replace('_', ' ')}: {contrast.reason}"


def _spread(pairs: Sequence[tuple[Contrast, Estimate]]) -> Iterable[str]:
    if any("zero spread" in estimate.notes for _, estimate in pairs):
        yield (
            "zero spread: the seeds change nothing beside what all arms share, so there is no error"
            " to make an interval of"
        )
    apart = [contrast.label for contrast, estimate in pairs if estimate.method == "means"]
    if apart:
        yield (
            f"no seed in common: {', '.join(apart)} compare plain means over different seeds,"
            " without an interval"
        )


def _verdicts(
    plan: Plan,
    analysis: Analysis,
    pairs: Sequence[tuple[Contrast, Estimate]],
    trainings: Mapping[str, str],
) -> Iterable[str]:
    if plan.published is not None:
        yield (
            f"published numbers, trained by others ({plan.published.source}): one per arm and no"
            " seeds, so no intervals and no verdicts"
        )
        return
    known = [(contrast, estimate) for contrast, estimate in pairs if estimate.delta is not None]
    if known and analysis.error_df < MIN_ERROR_DF:
        arms = min(len(analysis.means), max(len({trainings[arm] for arm in analysis.means}), 2))
        enough = 1 + -(-MIN_ERROR_DF // (arms - 1)) if arms > 1 else 0
        more = f": {enough} seeds would do" if enough > len(plan.seeds) else ""
        yield (
            f"no verdicts: {analysis.error_df} error degrees of freedom,"
            f" {MIN_ERROR_DF} are needed{more}"
        )
    unresolved = [
        contrast.label
        for contrast, estimate in pairs
        if estimate.verdict == "unresolved" and contrast.family != NULL
    ]
    if unresolved:
        yield (
            f"unresolved with the runs so far: {', '.join(unresolved)}; this does not say that they"
            " change nothing"
        )


def _equal(pairs: Sequence[tuple[Contrast, Estimate]], rope: float | None) -> Iterable[str]:
    equal = [contrast.label for contrast, estimate in pairs if estimate.verdict == "equal"]
    if equal and rope is not None:
        yield f"equal means: within {rope:g} points; {', '.join(equal)}"


def _shared(trainings: Mapping[str, str]) -> Iterable[str]:
    arms: dict[str, list[str]] = {}
    for arm, training in trainings.items():
        arms.setdefault(training, []).append(arm)
    for names in arms.values():
        if len(names) > 1:
            yield f"one training bit for bit, so counted once: {' and '.join(names)}"


def _late(plan: Plan) -> Iterable[str]:
    late = [name for name in (*plan.layout.names, LATE_SPLIT) if name in plan.late]
    if late:
        yield f"added after the first plan, so exploratory: {', '.join(late)}"
