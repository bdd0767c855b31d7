"""Learning curves of arms: means over their runs, with the lowest and the highest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.ledger import Ledger
from ablations.plans import Outcome

CURVES = ("val/top1", "train/loss")  # accuracy in percent on minival; mean loss of an epoch


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A number by epoch, over the runs of an arm."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]  # of the lowest seed
    high: tuple[float, ...]
    n: int  # runs at the first of these epochs


def curves_of(outcomes: Sequence[Outcome], ledger: Ledger) -> dict[str, dict[str, Curve]]:
    """Return the curves of a study's runs by name and arm; without those that no run has."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {name: {} for name in CURVES}
    for one in outcomes:
        for row in _rows(ledger.run_folder(one.run.id) / "metrics.jsonl"):
            for name in CURVES:
                value, epoch = row.get(name), row.get("epoch")
                if isinstance(value, int | float) and isinstance(epoch, int):
                    points = found[name].setdefault(one.run.arm, {})
                    points.setdefault(epoch, []).append(float(value))
    return {
        name: {arm: _curve(points) for arm, points in by_arm.items()}
        for name, by_arm in found.items()
        if by_arm
    }


def _curve(points: Mapping[int, Sequence[float]]) -> Curve:
    epochs = sorted(points)
    return Curve(
        epochs=tuple(epochs),
        mean=tuple(math.fsum(points[epoch]) / len(points[epoch]) for epoch in epochs),
        low=tuple(min(points[epoch]) for epoch in epochs),
        high=tuple(max(points[epoch]) for epoch in epochs),
        n=len(points[epochs[0]]),
    )


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """Yield the rows of a curve; the last one may be in the middle of being written."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
