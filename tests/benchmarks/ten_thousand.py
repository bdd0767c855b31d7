"""How long 10,000 runs take to plan and to look at: `python tests/benchmarks/ten_thousand.py [n]`.

Plans real studies of 10,000 runs in fresh homes, each in a process of its own, up to the frozen
`plan.yaml`; nothing is trained. Then makes what workers would leave (80 % finished, some failed,
a few running and held), and times `ablate status`, a cold process each time with its files in
the page cache, and what a study asks of its plan before it trains. Beside the seconds of the wall
stand those of the processor, which another program on the machine does not change as much.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Plan, Run
from ablations.request import Request

RUNNING, FAILED, DONE = 8, 50, 8000  # of the 10,000
ABLATE = "import sys; from ablations.cli import main; sys.exit(main())"


def levels(name: str, argument: str, count: int, low: float, high: float) -> str:
    """Return a component at so many levels, as `ls(epsilon=0.01|0.02)`."""
    step = (high - low) / (count - 1)
    words = "|".join(f"{low + step * place:.6g}" for place in range(count))
    return f"{name}({argument}={words})"


SHAPES = {
    "100 arms x 100 seeds": Request(
        base="tiny",
        add=",".join(
            [
                levels("ls", "epsilon", 24, 0.01, 0.24),
                levels("sd", "rate", 24, 0.01, 0.24),
                levels("do", "rate", 24, 0.01, 0.24),
                levels("wd", "value", 24, 2e-5, 9e-5),
                levels("ra", "magnitude", 3, 5, 15),
            ]
        ),
        design="one-at-a-time",
        seeds=100,
    ),
    "1000 arms x 10 seeds": Request(  # 1 + 63 alone + 24 * 24 + 24 * 15 together
        base="tiny",
        add=",".join(
            [
                levels("ls", "epsilon", 24, 0.01, 0.24),
                levels("sd", "rate", 24, 0.01, 0.24),
                levels("do", "rate", 15, 0.01, 0.15),
            ]
        ),
        design="one-at-a-time",
        interactions=("ls:sd", "ls:do"),
        seeds=10,
    ),
}


@dataclass(frozen=True)
class Timed:
    """Seconds of several rounds: of the wall, and of the processor."""

    rounds: list[tuple[float, float]]

    def __str__(self) -> str:
        """Return median and range of both, and n."""
        words = []
        for seconds in zip(*self.rounds, strict=True):
            low, high, middle = min(seconds), max(seconds), statistics.median(seconds)
            words.append(f"{middle:6.2f} s [{low:.2f}, {high:.2f}]")
        return f"{words[0]}  of CPU {words[1]}  n {len(self.rounds)}"


def plan_and_freeze(home: Path, shape: str) -> None:
    """Plan a study and freeze it, as `ablate run` does before its first training."""
    from ablations.revisions import open_or_freeze
    from ablations.study import plan_study

    ledger = Ledger(home)
    ledger.check_writable()
    begun = clocks(resource.RUSAGE_SELF)
    prepared = plan_study(SHAPES[shape], home, study="large")
    planned = clocks(resource.RUSAGE_SELF)
    open_or_freeze(prepared, ledger)
    frozen = clocks(resource.RUSAGE_SELF)
    print(*passed(begun, planned), *passed(planned, frozen))


def clocks(who: int) -> tuple[float, float]:
    """Return the time on the wall, and the processor's time of this process or of its children."""
    used = resource.getrusage(who)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def passed(before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds between two readings of the clocks."""
    return after[0] - before[0], after[1] - before[1]


def fill(ledger: Ledger, plan: Plan, stack: contextlib.ExitStack) -> None:
    """Leave what workers leave of most runs; a few are held, as by workers that live."""
    arms = {arm.name: arm.recipe for arm in plan.layout.arms}
    for number, run in enumerate(plan.runs[: RUNNING + FAILED + DONE]):
        if number < RUNNING:
            stack.enter_context(ledger.claim(run.id, lambda: None))
        if number < RUNNING + FAILED:
            ledger.begin(run.id, arms[run.arm], run.seed, plan.data)
        if number >= RUNNING + FAILED:
            ledger.finish(run.id, "finished", result(number, plan), "")
        elif number >= RUNNING:
            ledger.finish(run.id, "failed", None, "RuntimeError: made up (log.txt)")


def result(number: int, plan: Plan) -> dict[str, Any]:
    """Return a result as a worker writes it, with a made-up accuracy."""
    top1 = 90.0 + number % 97 / 40
    return {
        "status": "finished", "message": "", "top1": top1, "top1_raw": top1, "top1_ema": None,
        "loss": 0.25, "evaluated_images": 360, "minival_top1": top1 - 1, "chance_top1": 10.2,
        "epochs": 100, "steps": 900, "seconds": 9.5, "train_seconds": 8.0, "data_seconds": 0.5,
        "train_images_per_second": 3200.0, "peak_memory_bytes": None, "params": 310746,
        "macs": 569600, "data_fingerprint": plan.data_fingerprint, "results_version": 3,
    }  # fmt: skip


def questions(ledger: Ledger) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what a study asks of its plan before it trains, by name."""
    from ablations.answers import outcomes_of
    from ablations.study import Options, Prepared, make_jobs, missing_runs
    from ablations.trainings import shared_jobs
    from lightning_modules.data import data_facts, parse_data

    plan, request, _ = thaw(ledger.study_folder("large"))
    spec, options = parse_data("digits"), Options(track="none")
    facts = data_facts(spec, ledger.cache)
    prepared = Prepared(plan=plan, request=request, spec=spec, facts=facts, notes=())
    runs: list[Run] = list(plan.runs)
    jobs = make_jobs(prepared, runs, ledger, options)
    yield "read the frozen plan", lambda: thaw(ledger.study_folder("large"))
    yield "missing_runs", lambda: missing_runs(plan, ledger)
    yield "outcomes_of", lambda: outcomes_of(plan, ledger)
    yield "make_jobs, of all runs", lambda: make_jobs(prepared, runs, ledger, options)
    yield "shared_jobs, of all runs", lambda: shared_jobs(plan, runs, jobs)


def child(*words: str) -> tuple[tuple[float, float], str]:
    """Run a new process of Python; return its seconds and what it printed."""
    begun = clocks(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return passed(begun, clocks(resource.RUSAGE_CHILDREN)), done.stdout


def measure(shape: str, repeats: int) -> None:
    """Print the seconds of one shape of study."""
    whole, planned, frozen, answered = [], [], [], []
    with contextlib.ExitStack() as stack:
        for _ in range(repeats):
            home = stack.enter_context(tempfile.TemporaryDirectory())
            seconds, said = child(__file__, "plan", home, shape)
            numbers = [float(word) for word in said.split()]
            whole.append(seconds)
            planned.append((numbers[0], numbers[1]))
            frozen.append((numbers[2], numbers[3]))
        ledger = Ledger(Path(home))
        plan = thaw(ledger.study_folder("large"))[0]
        size = (ledger.study_folder("large") / "plan.yaml").stat().st_size / 1e6
        assert len(plan.runs) == 10_000, len(plan.runs)
        print(f"{shape}, plan.yaml of {size:.1f} MB")
        print(f"  plan and freeze, process   {Timed(whole)}")
        print(f"    of these: plan           {Timed(planned)}")
        print(f"    of these: freeze         {Timed(frozen)}", flush=True)
        fill(ledger, plan, stack)
        words = ("-c", ABLATE, "status", "large", "--home", home)
        for _ in range(repeats + 1):
            seconds, said = child(*words)
            answered.append(seconds)
        assert f"{DONE} finished, {10_000 - DONE - FAILED - RUNNING} missing" in said, said[:500]
        print(f"  ablate status              {Timed(answered[1:])}", flush=True)
        for name, ask in questions(ledger):
            rounds = []
            for _ in range(repeats):
                begun = clocks(resource.RUSAGE_SELF)
                ask()
                rounds.append(passed(begun, clocks(resource.RUSAGE_SELF)))
            print(f"  {name:25}  {Timed(rounds)}", flush=True)


def main() -> None:
    """Print median and range of every step, for two shapes of a study."""
    words = sys.argv[1:]
    if words[:1] == ["plan"]:
        plan_and_freeze(Path(words[1]), words[2])
        return
    repeats = int(words[0]) if words else 5
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    for shape in SHAPES:
        measure(shape, repeats)


if __name__ == "__main__":
    main()
