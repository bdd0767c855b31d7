"""How long reports of 1,000 runs take, and their size: `python tests/benchmarks/thousand_runs.py`.

Plans real studies of 1,000 runs on the digits and makes up what their runs would leave: results,
curves of 100 epochs, predictions of every evaluated image, environments, certificates. Then times
`ablate report` in every format, a cold process each time. `n` rounds (3) as the one argument.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from ten_thousand import ABLATE, SHAPES, Timed, child, clocks, levels, passed, result

from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.report import FORMATS
from ablations.report.fresh import state_of
from ablations.revisions import open_or_freeze
from ablations.study import plan_study
from lightning_modules.data import open_source, parse_data
from lightning_modules.files import write_json, write_text

MANY_SEEDS = replace(SHAPES["100 arms x 100 seeds"], seeds=10)
MANY_ARMS = replace(  # 1 + 33 alone + 12 * 12 + 12 * 9 together
    SHAPES["1000 arms x 10 seeds"],
    add=",".join(
        [
            levels("ls", "epsilon", 12, 0.01, 0.24),
            levels("sd", "rate", 12, 0.01, 0.24),
            levels("do", "rate", 9, 0.01, 0.15),
        ]
    ),
    seeds=4,
)
REQUESTS = {"100 arms x 10 seeds": MANY_SEEDS, "286 arms x 4 seeds": MANY_ARMS}
EPOCHS, FAILED = 100, 10


def fill(ledger: Ledger, plan: Plan) -> None:
    """Leave what workers leave; a few runs failed."""
    generator = np.random.default_rng(0)
    labels = open_source(parse_data("digits")).validation.labels
    arms = {arm.name: arm.recipe for arm in plan.layout.arms}
    worth = {name: generator.normal(0, 0.5) for name in arms}
    for number, run in enumerate(plan.runs):
        folder = ledger.begin(run.id, arms[run.arm], run.seed, plan.data)
        write_json(
            folder / "environment.json", {"schema_version": 1, "python": "3.11", "host": number % 4}
        )
        rows = [
            f'{{"epoch": {epoch}, "step": {6 * epoch}, "train/loss": {2.4 / epoch:.6f}'
            + (f', "val/top1": {90 - 90 / epoch:.4f}' if epoch % 20 == 0 else "")
            + "}\n"
            for epoch in range(1, EPOCHS + 1)
        ]
        write_text(folder / "metrics.jsonl", "".join(rows))
        if number % (len(plan.runs) // FAILED) == 1:
            ledger.finish(run.id, "failed", None, "RuntimeError: made up (log.txt)")
            continue
        wrong = generator.random(len(labels)) < (10 - worth[run.arm] + generator.normal()) / 100
        predicted = np.where(wrong, (labels + 1) % 10, labels).astype(np.int32)
        right = predicted == labels
        loss = np.where(right, 0.1, 2.0).astype(np.float32)
        np.savez_compressed(folder / "predictions.npz", predicted=predicted, loss=loss)
        np.save(folder / "correct.npy", np.packbits(right))
        top1 = 100 * float(right.mean())
        about = {"top1": top1, "top1_raw": top1, "evaluated_images": len(labels)}
        ledger.finish(run.id, "finished", result(number, plan) | about, "")
    ledger.keep_certificates(
        plan.study,
        [
            {
                "schema_version": 1, "arm": arm.name, "parent": "base", "treated": True,
                "components": [str(one) for one in arm.components], "wrong": [],
                "declared": {"loss.label_smoothing": [0.0, 0.1]},
                "changed": {"loss": "3.554 -> 3.585"}, "unchanged": ["first weights"] * 20,
            }
            for arm in plan.layout.arms[1:]
        ],
    )  # fmt: skip


def main() -> None:
    """Print median and range of every format, and the size of what it wrote."""
    repeats = int(sys.argv[1]) if sys.argv[1:] else 3
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    for shape, request in REQUESTS.items():
        with tempfile.TemporaryDirectory() as home:
            ledger = Ledger(Path(home))
            ledger.check_writable()
            prepared = plan_study(request, ledger.home, study="large")
            open_or_freeze(prepared, ledger)
            plan = thaw(ledger.study_folder("large"))[0]
            fill(ledger, plan)
            print(f"{shape}: {len(plan.runs)} runs, {len(plan.layout.contrasts)} contrasts")
            looks = []
            for _ in range(repeats):
                begun = clocks(resource.RUSAGE_SELF)
                state_of(plan, ledger)  # what `--watch` asks again and again
                looks.append(passed(begun, clocks(resource.RUSAGE_SELF)))
            print(f"  state     {Timed(looks)}", flush=True)
            for form in FORMATS:
                path = Path(home) / f"report.{form}"
                words = ("-c", ABLATE, "report", "large", "--home", home, "--format", form)
                rounds = [timed(*words, "-o", str(path)) for _ in range(repeats)]
                size = path.stat().st_size / 1e6
                print(f"  {form:9} {Timed(rounds)}  {size:6.2f} MB", flush=True)


def timed(*words: str) -> tuple[float, float]:
    """Return the seconds of a new process; failed runs make its exit code 1."""
    code = f"{words[1].removesuffix('sys.exit(main())')}assert main() == 1"
    begun = clocks(resource.RUSAGE_CHILDREN)
    child(words[0], code, *words[2:])
    return passed(begun, clocks(resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
