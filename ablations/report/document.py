"""The one object that every report is made from: `ablate report --format json`.

Its keys are a contract (design.md section 9). What has no key there is told in `notes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.attribution import Analysis, Estimate
from ablations.image_noise import Images
from ablations.plans import BASE, Contrast, Outcome, Plan
from ablations.report.analysis import Answer, analysis_of
from ablations.report.notes import certified, findings
from recipes.text import plain

SCHEMA_VERSION = 1
COST = ("params", "macs", "train_images_per_second", "peak_memory_bytes", "seconds")


def document(
    plan: Plan,
    outcomes: Sequence[Outcome],
    certificates: Sequence[Mapping[str, Any]] = (),
    *,
    level: float = 0.95,
    rope: float | None = None,
    images: Images | None = None,
    spent: float = 1.0,
    error: tuple[float, int] | None = None,
    concluded: bool = True,
    told: Sequence[str] = (),
    answer: Answer | None = None,
) -> dict[str, Any]:
    """Return the answers of a study as plain values, none of them NaN.

    `cost` is that of the treatment arm, as a mean over its finished runs. `told` are further notes;
    `error` and `concluded` are those of `analysis_of`. `answer` is what `analysis_of` returns for
    the same, where it is at hand.

    Raises:
        RequestError: a finished run has a value that is not finite or was made on other data than
            the plan's, or `level`, `rope` or `spent` is impossible.
    """
    layout = plan.layout
    if answer is None:
        answer = analysis_of(
            plan,
            outcomes,
            level=level,
            rope=rope,
            images=images,
            spent=spent,
            error=error,
            concluded=concluded,
        )
    analysis = answer.analysis
    base, by_arm = _base(plan, analysis), _by_arm(outcomes)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.study,
        "design": layout.design,
        "metric": "top1",
        "protocol": plan.protocol,
        "data": plan.data,
        "seeds": list(plan.seeds),
        "base": base,
        "bases": [base],
        "contrasts": [
            _contrast(plan, contrast, estimate, by_arm)
            for contrast, estimate in zip(layout.contrasts, answer.estimates, strict=True)
        ],
        "split": _split(plan, analysis),
        "runs": [_run(plan, outcome) for outcome in outcomes],
        "notes": [
            *findings(plan, outcomes, answer, rope=rope, images=images, spent=spent),
            *told,
            *certified(plan, certificates),
        ],
    }


def _by_arm(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.status == "finished":
            found.setdefault(one.run.arm, []).append(one)
    return found


def _base(plan: Plan, analysis: Analysis) -> dict[str, Any]:
    mean = analysis.means.get(BASE)
    if mean is None:
        return {"recipe": plan.base, "value": None, "interval": None, "n": 0}
    interval = None
    if mean.interval is not None:  # an accuracy lies within these, whatever a t limit says
        interval = [max(mean.interval[0], 0.0), min(mean.interval[1], 100.0)]
    return {"recipe": plan.base, "value": mean.value, "interval": interval, "n": mean.n}


def _contrast(
    plan: Plan,
    contrast: Contrast,
    estimate: Estimate,
    by_arm: Mapping[str, Sequence[Outcome]],
) -> dict[str, Any]:
    return {
        "label": contrast.label,
        "base": plan.base,
        "component": contrast.component,
        "kind": None if contrast.kind is None else contrast.kind.value,
        "outcome": contrast.outcome,
        "edits": plain(contrast.edits),
        "control": contrast.control,
        "treatment": contrast.treatment,
        "estimand": contrast.estimand,
        "delta": estimate.delta,
        "interval": None if estimate.interval is None else list(estimate.interval),
        "level": estimate.level,
        "n": estimate.n,
        "error_df": estimate.error_df,
        "verdict": estimate.verdict,
        "p": estimate.p,
        "p_holm": estimate.p_holm,
        "cost": _cost(by_arm.get(contrast.treatment or "", ())),
    }


def _cost(finished: Sequence[Outcome]) -> dict[str, float | None]:
    found = {name: _mean([one.cost.get(name) for one in finished]) for name in COST}
    return found | {"seconds": _mean([one.seconds for one in finished])}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in map(_finite, values) if value is not None]
    if not known:
        return None
    # A count that all runs agree on stays a whole number.
    return known[0] if len(set(known)) == 1 else math.fsum(known) / len(known)


def _split(plan: Plan, analysis: Analysis) -> dict[str, Any]:
    split = plan.layout.split

    def side(name: str) -> dict[str, Any]:
        estimate = analysis.estimates[name]
        return {
            "delta": estimate.delta,
            "interval": None if estimate.interval is None else list(estimate.interval),
            "n": estimate.n,
            "verdict": estimate.verdict,
        }

    blocks = split.by_blocks
    return {
        "by_ladder": {name: side(f"by_ladder {name}") for name in split.by_ladder},
        "by_blocks": None
        if blocks is None
        else {name: side(f"by_blocks {name}") for name in blocks},
    }


def _run(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.run.id,
        "arm": outcome.run.arm,
        "seed": None if plan.published else outcome.run.seed,
        "status": outcome.status,
        "value": _finite(outcome.value),
        "seconds": _finite(outcome.seconds),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
