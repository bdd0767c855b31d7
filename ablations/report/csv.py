"""A report as comma-separated values: one row per contrast, one column per number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

_AS_IT_IS = ("label", "base", "component", "kind", "outcome")
_COST = ("params", "macs", "train_images_per_second", "peak_memory_bytes", "seconds")
COLUMNS = (
    "study",
    "data",
    *_AS_IT_IS,
    "edits",  # as JSON
    "control",
    "treatment",
    "estimand",
    "delta",
    "low",
    "high",
    "level",
    "n",
    "error_df",
    "verdict",
    "p",
    "p_holm",
    *_COST,
)


def to_csv(document: Mapping[str, Any]) -> str:
    """Return one row per contrast; what is null is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for contrast in document["contrasts"]:
        low, high = contrast["interval"] or (None, None)
        writer.writerow(
            {
                **contrast,
                **contrast["cost"],
                "study": document["study"],
                "data": document["data"],
                "edits": json.dumps(contrast["edits"], allow_nan=False),
                "low": low,
                "high": high,
            }
        )
    return text.getvalue()
