"""How fast a run starts: `python tests/benchmarks/startup.py [--rounds 5] [--json FILE]`.

A fresh process (it imports, opens the digits, builds the tiny network and takes one step, as a
loop of separate processes does for every run) against a warm worker (a run is handed to it, and
takes its first step). In turns, with one thread each. The time of a step ends with its loss.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from ablations.launch.job import Job
from ablations.launch.local import LocalPool
from lightning_modules import Execution
from recipes import Recipe, edit, hook, load

ROOT = Path(__file__).parents[2]
STEPPED = "ABLATE_BENCHMARK_STEPPED"  # the file whose times are those of losses
FRESH = """
from pathlib import Path
import sys
from lightning_modules import Execution, fit
from tests.benchmarks.startup import recipe
fit(recipe(), 0, Execution(cache=Path(sys.argv[1]), device="cpu", threads=1), Path(sys.argv[2]))
"""


def stamped(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy, and write down when: `time.monotonic` holds for all processes."""
    loss = cross_entropy(logits, targets)
    with Path(os.environ[STEPPED]).open("a") as file:
        file.write(f"{time.monotonic()}\n")
    return loss


def recipe() -> Recipe:
    """Return the tiny recipe for one epoch, whose losses are timed."""
    leaves = {"optim.epochs": 1, "optim.warmup_epochs": 0}
    return edit(load("tiny"), {**leaves, "custom.stamped": hook("loss", stamped)})


def first_step(path: Path) -> float:
    """Return when the first loss was computed, and begin a new file."""
    first = float(path.read_text().split()[0])
    path.unlink()
    return first


def fresh(folder: Path, number: int) -> float:
    """Return the seconds from the start of a new process to its first step."""
    words = [sys.executable, "-c", FRESH, str(folder / "cache"), str(folder / f"fresh{number}")]
    began = time.monotonic()
    subprocess.run(words, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return first_step(Path(os.environ[STEPPED])) - began


def warm(pool: LocalPool, folder: Path, number: int) -> float:
    """Return the seconds from handing a run to a worker to its first step."""
    job = Job(
        run=f"run{number}",
        arm="base",
        seed=number,
        recipe=recipe(),
        data="digits",
        home=folder / "home",
        execution=Execution(cache=folder / "cache", device="cpu"),
    )
    began = time.monotonic()
    statuses = [event.status for event in pool.run([job]) if event.what == "ended"]
    assert statuses == ["finished"], statuses
    return first_step(Path(os.environ[STEPPED])) - began


def measure(rounds: int) -> dict[str, Any]:
    """Return the seconds of both, in turns, and what they were measured on."""
    found: dict[str, list[float]] = {"fresh": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[STEPPED] = str(folder / "stepped")
        os.environ["PYTHONPATH"] = str(ROOT)
        began = time.monotonic()
        with LocalPool(1, ("cpu",), 1) as pool:
            found["workers, imports"] = [time.monotonic() - began]
            found["first after imports"] = [warm(pool, folder, 0)]
            for number in range(1, rounds + 1):
                found["fresh"].append(fresh(folder, number))
                found["warm"].append(warm(pool, folder, number))
    ratios = [slow / fast for slow, fast in zip(found["fresh"], found["warm"], strict=True)]
    return {
        "schema_version": 1,
        "seconds": found,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "timm", "pytorch-lightning")},
    }


def main() -> None:
    """Print both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    for name, seconds in found["seconds"].items():
        spread = f"[{min(seconds):.3f}, {max(seconds):.3f}]"
        print(f"{name:19} {statistics.median(seconds):7.3f} s  {spread}  n {len(seconds)}")
    low, high = min(found["ratios"]), max(found["ratios"])
    print(f"a warm start is {found['ratio']:.0f} x faster [{low:.0f}, {high:.0f}]")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    from tests.benchmarks import startup  # under its own name: workers import the loss from there

    startup.main()
