"""How a study's wall time grows: `python tests/benchmarks/growth.py [--rounds 3] [--json FILE]`.

The tiny recipe on the digits with 1 to 16 times the runs (seeds), images (`data.train_fraction`)
and epochs; every study in a fresh home, by workers whose server has imported before, in turns.
A line with an intercept is laid through the medians; the largest distance from it is printed, as
a share of the time that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import ablations
from ablations.study import Options

FACTORS = (1, 2, 4, 8, 16)
WHAT = ("runs", "images", "epochs")


def study_seconds(what: str, factor: int) -> float:
    """Return the wall seconds of a study of two arms, from the request to its last result."""
    images = factor / 16 if what == "images" else 1.0
    epochs = {"epochs": factor, "images": 8}.get(what, 1)
    settings = (
        f"optim.epochs={epochs}",
        "optim.warmup_epochs=0",
        f"data.train_fraction={images}",
        "data.batch_size=16",
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ablations.run(
            "tiny",
            "ls",
            seeds=factor if what == "runs" else 1,
            settings=settings,
            home=folder,
            options=Options(track="none", device="cpu"),
        )
        return time.perf_counter() - began


def line(seconds: list[float]) -> dict[str, float]:
    """Return intercept and slope of seconds over `FACTORS`, and the largest relative distance."""
    factors, found = np.array(FACTORS, float), np.array(seconds)
    slope, intercept = np.polyfit(factors, found, 1, w=1 / found)  # of relative distances
    distance = np.abs(intercept + slope * factors - found) / found
    return {
        "intercept": float(intercept),
        "slope": float(slope),
        "largest_distance": float(distance.max()),
        # From 4 x to 16 x, without the intercept: 1 where the growth is linear.
        "exponent": float(np.log((found[4] - intercept) / (found[2] - intercept)) / np.log(4)),
    }


def measure(rounds: int) -> dict[str, Any]:
    """Return the seconds by what is multiplied and by how much, and the lines through them."""
    study_seconds("runs", 1)  # the server imports
    cells = {what: {factor: list[float]() for factor in FACTORS} for what in WHAT}
    for _ in range(rounds):
        for factor in FACTORS:
            for what in WHAT:
                cells[what][factor].append(study_seconds(what, factor))
    lines = {
        what: line([statistics.median(found) for found in cells[what].values()]) for what in WHAT
    }
    return {
        "schema_version": 1,
        "seconds": cells,
        "lines": lines,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "timm", "pytorch-lightning")},
    }


def main() -> None:
    """Print a table: median and range by factor, and the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    print("".join(f"{f'{factor} x':>20}" for factor in ("", *FACTORS)).replace(" x", "  ", 1))
    for what, cells in found["seconds"].items():
        row = [
            f"{statistics.median(one):7.2f} [{min(one):.2f}, {max(one):.2f}]"
            for one in cells.values()
        ]
        print(f"{what:20}" + "".join(f"{text:>20}" for text in row))
    for what, fit in found["lines"].items():
        print(
            f"{what}: {fit['intercept']:.2f} s + {fit['slope']:.3f} s x factor, off by at most"
            f" {fit['largest_distance']:.0%}; exponent {fit['exponent']:.2f}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
