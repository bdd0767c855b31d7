"""Kill a study at random moments until it is done, and hold it against one that nobody disturbed.

Only processes of sessions that were started here are killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

# 20 runs: five arms, of which the base and `ema` share their trainings; every stream is drawn from.
STUDY = (
    *("--base", "tiny", "--add", "sd,ra,se,ema", "--design", "one-at-a-time", "--seeds", "4"),
    *("--set", "optim.epochs=6", "--track", "none", "--keep", "last", "--study", "s"),
    *("--checkpoint-every", "0.1s", "--device", "cpu"),
)
RUNS = 20
ABLATE = (sys.executable, "-c", "import sys; from ablations.cli import main; sys.exit(main())")
TIMES = {"seconds", "train_seconds", "data_seconds", "train_images_per_second", "peak_memory_bytes"}
_LONGEST = 1800.0  # of a whole campaign, so that what hangs is seen


def start(home: Path, workers: int, *more: str) -> subprocess.Popen[str]:
    """Start `ablate` on the study, in a session of its own and on as many cores as workers."""
    cores = sorted(os.sched_getaffinity(0))[: max(workers, 1)]  # so that each has one thread
    return subprocess.Popen(
        [*ABLATE, *STUDY, "--home", str(home), "--slots", str(workers), *more],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def written(home: Path) -> dict[str, Any]:
    """Return all that the runs of a home gave, but what a clock says."""
    found = {}
    for folder in sorted((home / "runs").iterdir()):
        status = json.loads((folder / "status.json").read_text())["status"]
        result = json.loads((folder / "result.json").read_text()) if status == "finished" else {}
        stored = np.load(folder / "predictions.npz") if result else {}
        weights = folder / "weights.pt"
        state = torch.load(weights, weights_only=True) if weights.exists() else {}
        # Which runs shared their training is a matter of which were missing together.
        kept = {name: value for name, value in result.items() if name not in {*TIMES, "training"}}
        found[folder.name] = {
            "status": status,
            "result": kept,
            "predictions": {name: stored[name].tobytes() for name in stored},
            "curve": (folder / "metrics.jsonl").read_text() if result else "",
            "weights": {name: value.numpy().tobytes() for name, value in state.items()},
        }
    return found


@dataclass
class Watch:
    """Sees, many times a second, which results a home has: none may change once it is finished."""

    home: Path
    finished: dict[str, int] = field(default_factory=dict)  # by run, the file that its result is
    doubled: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            self.look()

    def look(self) -> None:
        for path in (self.home / "runs").glob("*/result.json"):
            with contextlib.suppress(OSError, ValueError):
                run = path.parent.name
                status = json.loads((path.parent / "status.json").read_text())["status"]
                number = path.stat().st_ino
                if self.finished.get(run, number) != number:
                    self.doubled.append(run)
                if status == "finished" or run in self.finished:
                    self.finished[run] = number


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def workers_of(driver: int) -> list[int]:
    """Return the workers: children of the server, which is the child that has some."""
    return [worker for server in children(driver) for worker in children(server)]


def strike(driver: subprocess.Popen[str], kind: str, chance: random.Random) -> bool:
    """Kill what `kind` says of a driver's processes; return whether there was such."""
    if driver.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        if kind == "worker":
            found = workers_of(driver.pid)
            if not found:
                return False
            os.kill(chance.choice(found), signal.SIGKILL)
        elif kind == "server":
            found = [child for child in children(driver.pid) if children(child)]
            if not found:
                return False
            os.kill(found[0], signal.SIGKILL)
        elif kind == "group":
            os.killpg(driver.pid, signal.SIGKILL)
        else:
            os.kill(driver.pid, {"driver": 9, "term": 15, "int": 2}[kind])
        return True
    return False


@dataclass
class Campaign:
    """Kills over one study in one home, until there were enough and the study is done."""

    home: Path
    workers: int
    drivers: int
    kinds: Sequence[str]
    enough: int
    chance: random.Random
    pause: float  # seconds between kills, on average
    kills: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    def carry_out(self) -> Watch:
        """Return what was seen of the results."""
        watch, end = Watch(self.home), time.monotonic() + _LONGEST
        running = [self._start() for _ in range(self.drivers)]
        with watch.watching():
            while any(driver.poll() is None for driver in running) or not self._is_done(watch):
                assert time.monotonic() < end, f"not done: {self.kills}; {self.said[-3:]}"
                for place, driver in enumerate(running):
                    if driver.poll() is not None and not self._is_done(watch):
                        self._hear(driver)
                        running[place] = self._start()
                time.sleep(self.chance.expovariate(1 / self.pause))
                victim = self.chance.choice(running)
                kind = self.chance.choice(self.kinds)
                if self.kills.total() < self.enough and strike(victim, kind, self.chance):
                    self.kills[kind] += 1
        for driver in running:
            self._hear(driver)
        return watch

    def _start(self) -> subprocess.Popen[str]:
        driver = start(self.home, self.workers, "--retry")
        # Read as it comes, so that a driver never waits for a full pipe.
        threading.Thread(target=self._read, args=(driver,), daemon=True).start()
        return driver

    def _read(self, driver: subprocess.Popen[str]) -> None:
        assert driver.stderr is not None
        with driver.stderr:
            self.said.extend(driver.stderr)

    def _hear(self, driver: subprocess.Popen[str]) -> None:
        driver.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)  # nobody of the dead driver's session stays

    def _is_done(self, watch: Watch) -> bool:
        watch.look()
        return len(watch.finished) == RUNS
