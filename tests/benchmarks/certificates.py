"""How long it takes to certify a plan: `python tests/benchmarks/certificates.py [repeats]`.

Times the look at every arm, in a fresh home, with and without the start of the workers (which
import torch once, and then train too).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from ablations.launch.local import LocalPool
from ablations.ledger import Ledger
from ablations.packing import choose_slots
from ablations.proving import prove
from ablations.request import Request
from ablations.study import Options, make_jobs, plan_study, prepare_images

PLANS = {
    "ten components on tiny, one at a time": Request(
        base="tiny", add="paper", design="one-at-a-time"
    ),
    "the command of the mission": Request(base="resnet200", add="ra,ls,sd,se,resnetd"),
}


def seconds(request: Request) -> tuple[int, float, float]:
    """Return the number of arms, the seconds of the workers' start and those of the looks."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, options = Ledger(Path(folder)), Options(track="none")
        ledger.check_writable()
        prepared = plan_study(request, ledger.home)
        prepare_images(prepared, ledger, lambda done, total: None, check=False)
        plan = prepared.plan
        jobs = make_jobs(prepared, plan.runs, ledger, options)
        executions = {job.arm: job.execution for job in jobs}
        slots = choose_slots(len(plan.runs), options)
        began = time.perf_counter()
        with LocalPool(slots.count, slots.devices, slots.threads) as pool:
            for _ in pool.run([]):
                pass
            started = time.perf_counter()
            prove(pool, plan, executions, ledger, slots.threads, print)
            done = time.perf_counter()
        return len(plan.layout.arms), started - began, done - started


def main() -> None:
    """Print one line per plan: arms, median and range of the seconds."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, request in PLANS.items():
        rows = [seconds(request) for _ in range(repeats)]
        looks = [look for _, _, look in rows]
        print(
            f"{name}: {rows[0][0]} arms, {statistics.median(looks):.1f} s"
            f" [{min(looks):.1f}, {max(looks):.1f}], n {repeats};"
            f" first start of the workers {rows[0][1]:.1f} s"
        )


if __name__ == "__main__":
    main()
