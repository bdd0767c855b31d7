"""How long 10,000 runs take to analyse: `python tests/benchmarks/attribution.py [arms] [seeds]`.

Makes a home with real files (status, result and correctness of every run), reads it as a report
does, and prints seconds and peak memory of each step; then statsmodels' least squares on as many
arms as it can do in a few seconds, on the same values, and how far its answers are from ours.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ablations.answers import images_of, outcomes_of
from ablations.attribution import analyse
from ablations.ledger import Ledger
from ablations.plans import Arm, Contrast, Layout, Plan, Run, Split, values_by_arm
from ablations.report import document
from recipes import Kind, edit, load, parse

IMAGES = 10_000
STATSMODELS_ARMS = 100


def a_plan(arms: int, seeds: int) -> Plan:
    """Return a ladder of this many arms: each contrast is a step."""
    base, component = load("tiny"), parse("ls")[0]
    names = ["base", *(f"arm{number}" for number in range(1, arms))]
    made = tuple(
        Arm(
            name=name,
            recipe=edit(base, {"loss.label_smoothing": place / (2 * arms)}),
            components=(component,) * (place > 0),
        )
        for place, name in enumerate(names)
    )
    contrasts = tuple(
        Contrast(
            label=f"+{after}",
            component="ls",
            kind=Kind.REGULARIZATION,
            control=before,
            treatment=after,
            weights={before: -1.0, after: 1.0},
        )
        for before, after in zip(names, names[1:], strict=False)
    )
    split = Split(by_ladder={"training": {}, "architecture": {}}, by_blocks=None)
    return Plan(
        study="large",
        base="tiny",
        layout=Layout(design="ladder", arms=made, contrasts=contrasts, split=split),
        seeds=tuple(range(seeds)),
        runs=tuple(
            Run(id=f"{place:05d}-{seed}", arm=name, seed=seed)
            for seed in range(seeds)
            for place, name in enumerate(names)
        ),
        data="digits",
        data_fingerprint="0" * 20,
    )


def write_home(plan: Plan, home: Path) -> None:
    """Write what a worker writes of each run, with random images right."""
    random, ledger = np.random.default_rng(0), Ledger(home)
    ledger.check_writable()
    hard = random.random(IMAGES)
    for run in plan.runs:
        folder = ledger.run_folder(run.id)
        folder.mkdir()
        correct = random.random(IMAGES) < 0.25 + 0.75 * hard
        np.save(folder / "correct.npy", np.packbits(correct))
        top1 = 100.0 * float(correct.mean())
        (folder / "result.json").write_text(
            f'{{"schema_version": 1, "top1": {top1!r}, "evaluated_images": {IMAGES},'
            f' "seconds": 10.0, "loss": 1.0, "params": 1000, "chance_top1": 10.0,'
            f' "data_fingerprint": "{plan.data_fingerprint}", "results_version": 3}}'
        )
        (folder / "status.json").write_text('{"schema_version": 1, "status": "finished"}')


def timed(name: str, call: Callable[[], Any]) -> Any:
    """Call, print the seconds and the peak memory of the process so far, return the answer."""
    began, worked = time.perf_counter(), time.process_time()
    found = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    seconds, busy = time.perf_counter() - began, time.process_time() - worked
    print(f"{name}: {seconds:.2f} s ({busy:.2f} s of CPU), peak {peak:.2f} GiB", flush=True)
    return found


def measure(arms: int, seeds: int, home: Path) -> None:
    """Time the reading and the analysis of a home that is there."""
    plan, ledger = a_plan(arms, seeds), Ledger(home)
    timed("imports and the plan in memory", lambda: None)
    began = time.perf_counter()
    outcomes = timed("read status and result of every run", lambda: outcomes_of(plan, ledger))
    images = images_of(plan, ledger, outcomes)
    found = timed(
        "read the images, analyse, write the document",
        lambda: document(plan, outcomes, images=images),
    )
    print(f"in all: {time.perf_counter() - began:.2f} s")
    assert all(one["interval"] is not None for one in found["contrasts"])
    values = values_by_arm(outcomes)
    weights = {one.label: one.weights for one in plan.layout.contrasts}
    timed("the same without images, in memory", lambda: analyse(values, {}, weights))
    few = dict(list(values.items())[:STATSMODELS_ARMS])
    first = {name: one for name, one in weights.items() if one.keys() <= few.keys()}
    ours = timed(f"{len(few)} arms without images", lambda: analyse(few, {}, first))
    timed(f"{len(few)} arms by statsmodels", lambda: against_statsmodels(few, ours.estimates))


def against_statsmodels(values: dict[str, dict[int, float]], ours: Any) -> None:
    """Print the largest difference of an estimate or its limits from statsmodels' OLS."""
    import pandas
    from statsmodels.formula.api import ols

    rows = [
        {"arm": arm, "seed": str(seed), "value": value}
        for arm, by_seed in values.items()
        for seed, value in by_seed.items()
    ]
    fit = ols("value ~ C(arm, Treatment('base')) + C(seed)", pandas.DataFrame(rows)).fit()
    names, worst = list(fit.params.index), 0.0
    for label, one in ours.items():
        vector = np.zeros(len(names))
        after = label[1:]
        before = "base" if after == "arm1" else f"arm{int(after[3:]) - 1}"
        vector[names.index(f"C(arm, Treatment('base'))[T.{after}]")] = 1.0
        if before != "base":
            vector[names.index(f"C(arm, Treatment('base'))[T.{before}]")] = -1.0
        test = fit.t_test(vector)
        low, high = test.conf_int(0.05)[0]
        theirs = (float(test.effect[0]), low, high)
        for mine, other in zip((one.delta, *one.interval), theirs, strict=True):
            worst = max(worst, abs(mine - other))
    print(f"largest difference from statsmodels: {worst:.1e} points")


def main() -> None:
    """Make the home in one process and measure in another, so that its memory is its own."""
    words = sys.argv[1:]
    arms, seeds = (int(word) for word in words[:2]) if words else (3333, 3)
    if len(words) > 2:
        measure(arms, seeds, Path(words[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_home(a_plan(arms, seeds), Path(folder))
        print(f"{arms} arms x {seeds} seeds, {IMAGES} images")
        subprocess.run([sys.executable, __file__, str(arms), str(seeds), folder], check=True)


if __name__ == "__main__":
    main()
