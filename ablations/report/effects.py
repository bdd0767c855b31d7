"""Every effect of a study in one row, with all that is known of its error. For data frames."""

from __future__ import annotations

from typing import Any

from ablations.attribution import Estimate
from ablations.plans import Layout
from ablations.report.analysis import Answer

# Accuracy points; low and high are limits at the level, pointwise and all at once; standard_error
# is of both parts; df is that of the limits, error_df that of the seeds' part.
EFFECTS = (
    "name", "family", "estimand", "component", "delta", "low", "high", "simultaneous_low",
    "simultaneous_high", "standard_error", "seed_error", "image_error", "df", "error_df", "n", "p",
    "p_holm", "verdict", "method",
)  # fmt: skip
LACK_OF_FIT = "lack of fit"  # its name, where `estimand` says of which question


def effects(layout: Layout, answer: Answer) -> list[dict[str, Any]]:
    """Return one row, with the keys of EFFECTS, per contrast, side of the split and lack of fit."""
    rows = [
        _row(contrast.label, contrast.estimand, contrast.component, estimate)
        for contrast, estimate in zip(layout.contrasts, answer.estimates, strict=True)
    ]
    rows += [_row(name, None, None, estimate) for name, estimate in answer.split.items()]
    rows += [_row(LACK_OF_FIT, name, None, estimate) for name, estimate in answer.gaps.items()]
    return rows


def _row(
    name: str, estimand: str | None, component: str | None, estimate: Estimate
) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    lowest, highest = estimate.simultaneous or (None, None)
    return {
        "name": name,
        "family": estimate.family,
        "estimand": estimand,
        "component": component,
        "delta": estimate.delta,
        "low": low,
        "high": high,
        "simultaneous_low": lowest,
        "simultaneous_high": highest,
        "standard_error": estimate.standard_error,
        "seed_error": estimate.seed_error,
        "image_error": estimate.image_error,
        "df": estimate.df,
        "error_df": estimate.error_df,
        "n": estimate.n,
        "p": estimate.p,
        "p_holm": estimate.p_holm,
        "verdict": estimate.verdict,
        "method": estimate.method,
    }
