"""What ledger, leases and checkpoints cost: `python tests/benchmarks/ledger_overhead.py`.

The same training by `fit` alone, without checkpoints, and as a worker carries it out (`perform`:
the run claimed and recorded, its lease kept alive and looked at, checkpoints at their default
times), in turns in one process with one thread. Beside the two times, which a busy machine spreads
wider than their difference, every piece is timed where it is called: its own time, without that of
another piece inside it. What a heartbeat costs is counted though it is spent in a thread of its
own. `--every 1` takes checkpoints as often as it can, for what one of them costs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning_modules.training as training
from ablations import leases
from ablations.launch import job as jobs
from ablations.launch.job import Job, perform
from ablations.ledger import Ledger
from lightning_modules import Execution, fit
from lightning_modules.checkpoint_files import FOLDER
from lightning_modules.checkpoints import Checkpoints
from lightning_modules.observers import Heartbeat
from lightning_modules.speed import seconds_per_run
from recipes import Recipe, edit, load

# What is timed: where it is found, its name, and what it is in words.
PIECES: tuple[tuple[Any, str, str], ...] = (
    (leases.Claim, "attempt", "claim a run"),
    (leases.Lease, "release", "release a run"),
    (leases.Lease, "beat", "heartbeat"),
    (leases.Lease, "check", "look at the lease"),
    (leases.Lease, "confirm", "confirm the lease at the disk"),
    (Ledger, "recover", "read how the run stands"),
    (jobs, "_begin", "record that a run begins"),
    (Ledger, "finish", "record how it ended"),
    (training, "newest", "look for a checkpoint"),
    (training, "forget_checkpoints", "remove the checkpoints"),
    (Checkpoints, "_save", "take a checkpoint"),
    (Checkpoints, "on_train_batch_start", "ask at a step whether it is time"),
    (Heartbeat, "on_train_batch_end", "ask after a step whether to tell"),
)


class Account:
    """Calls and own seconds of every piece."""

    def __init__(self) -> None:
        self.each: dict[str, list[float]] = defaultdict(list)
        self._inside = threading.local()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Time the pieces while the block runs."""
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in PIECES]
        for owner, name, words in PIECES:
            setattr(owner, name, self._timed(getattr(owner, name), words))
        try:
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def _timed(self, function: Any, words: str) -> Any:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            outer = getattr(self._inside, "spent", 0.0)
            self._inside.spent = 0.0  # by the pieces inside this one
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                whole = time.perf_counter() - began
                self.each[words].append(whole - self._inside.spent)
                self._inside.spent = outer + whole

        return timed

    @property
    def seconds(self) -> float:
        """Return the seconds of all pieces."""
        return sum(sum(each) for each in self.each.values())


def main() -> None:
    """Print tables; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a run, at least")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between checkpoints")
    parser.add_argument("--backbones", nargs="+", default=["tiny", "resnet18"])
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    versions = {name: version(name) for name in ("torch", "pytorch-lightning")}
    print(f"{platform.platform()}, {os.cpu_count()} cores, {versions}")
    found = {}
    for backbone in args.backbones:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found[backbone] = compare(backbone, args, Path(folder))
    if args.json:
        about = {"schema_version": 1, "cores": os.cpu_count(), "versions": versions}
        args.json.write_text(json.dumps({**about, "runs": found}, indent=1))


def compare(backbone: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train in turns both ways, print the times and the account, and return them."""
    execution = Execution(
        cache=folder / "cache",
        device="cpu",
        threads=1,
        checkpoint_seconds=args.every,
        on_progress=lambda progress: None,
    )
    recipe = long_enough(backbone, execution, args.seconds, folder / "first")
    ways: dict[str, list[tuple[float, float]]] = {"fit alone": [], "with all": []}
    shares, account, size = [], Account(), 0
    for turn in range(args.rounds):
        alone = replace(execution, checkpoint_seconds=None)
        own = folder / f"alone-{turn}"
        ways["fit alone"].append(_spent(fit, recipe, 0, alone, own))
        before, run = account.seconds, f"run-{turn}"
        job = Job(
            run=run,
            arm="base",
            seed=0,
            recipe=recipe,
            data="digits",
            home=folder,
            execution=execution,
        )
        with account.open(), _largest(folder / "runs" / run / FOLDER) as sizes:
            ways["with all"].append(_spent(_made, job))
        shares.append((account.seconds - before) / ways["with all"][-1][0])
        size = max(size, *sizes)
    print(f"\n{backbone}: {recipe.optim.epochs} epochs, checkpoints every {args.every:g} s")
    for name, each in ways.items():
        print(f"  {name:10} wall {_range([wall for wall, _ in each])}", end="")
        print(f"  CPU {_range([cpu for _, cpu in each])} s")
    print(f"  of a run: {100 * statistics.median(shares):.2f} %", end="")
    print(f" [{100 * min(shares):.2f}, {100 * max(shares):.2f}]", end="")
    print(f"; the largest checkpoint has {size / 1e6:.1f} MB")
    wall = sum(wall for wall, _ in ways["with all"])
    print(f"  {'piece':36} {'per run':>8} {'median ms':>10} {'most ms':>9} {'of run':>8}")
    for words, calls in sorted(account.each.items(), key=lambda item: -sum(item[1])):
        print(
            f"  {words:36} {len(calls) / args.rounds:8.0f} {1000 * statistics.median(calls):10.3f}"
            f" {1000 * max(calls):9.2f} {100 * sum(calls) / wall:7.3f} %"
        )
    return {
        "epochs": recipe.optim.epochs,
        "every_seconds": args.every,
        "checkpoint_bytes": size,
        "wall_and_cpu_seconds": ways,
        "shares": shares,
        "pieces": {
            words: {"calls": len(calls), "seconds": sum(calls), "median": statistics.median(calls)}
            for words, calls in account.each.items()
        },
    }


def long_enough(backbone: str, execution: Execution, seconds: float, scratch: Path) -> Recipe:
    """Return the tiny recipe, or it with another network, of so many epochs that it takes that."""
    recipe = load("tiny")
    if backbone != "tiny":
        recipe = edit(recipe, {"model.backbone": backbone, "model.layers": (), "model.width": 1.0})
    recipe = edit(recipe, {"optim.epochs": 10})
    fit(edit(recipe, {"optim.epochs": 1, "optim.warmup_epochs": 0}), 0, execution, scratch)
    one = seconds_per_run(recipe, execution) / 10
    return edit(recipe, {"optim.epochs": max(int(1.2 * seconds / one) + 1, 10)})


def _made(job: Job) -> None:
    ended = perform(job, lambda progress: None)
    assert ended[0][0] == "finished", ended


def _spent(work: Any, *given: Any) -> tuple[float, float]:
    """Return the seconds by the clock and those of this process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*given)
    return time.perf_counter() - wall, time.process_time() - cpu


@contextlib.contextmanager
def _largest(folder: Path) -> Iterator[list[int]]:
    """Watch, now and then, how large the checkpoints of a folder are."""
    over, sizes = threading.Event(), [0]

    def watch() -> None:
        while not over.wait(1.0):
            for path in folder.glob("*.ckpt"):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(path.stat().st_size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def _range(each: list[float]) -> str:
    return f"{statistics.median(each):.2f} [{min(each):.2f}, {max(each):.2f}]"


if __name__ == "__main__":
    main()
