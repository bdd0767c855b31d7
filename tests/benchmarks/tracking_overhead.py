"""What it costs that runs are shown: `python tests/benchmarks/tracking_overhead.py [--rounds 3]`.

One study (tiny on the digits, two arms, seeds by --seeds) by the command line, in fresh homes, with
`--track none` and with W&B offline in turns: the wall time of the command, and the seconds of its
runs by their own account. Offline files are written by W&B's own client.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ABLATE = "import sys; from ablations.cli import main; sys.exit(main())"


def study(track: str, seeds: int, epochs: int) -> dict[str, float]:
    """Return the wall seconds of a command, those of its runs, and the bytes of a shown run."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--base", "tiny", "--add", "ls", "--seeds", str(seeds), "--track", track]
        words += ["--set", f"optim.epochs={epochs}", "--set", "optim.warmup_epochs=0"]
        known = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", ABLATE, *words, "--home", folder, "--format", "json"],
            env={**known, "WANDB_MODE": "offline"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        wall = time.perf_counter() - began
        runs = json.loads(done.stdout)["runs"]
        shown = list(Path(folder).glob("tracking/wandb/offline-run-*"))
        assert len(shown) == (len(runs) if track == "wandb" else 0)
        sizes = [path.lstat().st_size for one in shown for path in (one, *one.rglob("*"))]
    return {
        "wall": wall,
        "runs": sum(one["seconds"] for one in runs),
        "bytes": sum(sizes) / max(len(shown), 1),
    }


def main() -> None:
    """Print a row for each way: median and range."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"none": [], "wandb": []}
    for _ in range(arguments.rounds):
        for track, rounds in found.items():
            rounds.append(study(track, arguments.seeds, arguments.epochs))
    for track, rounds in found.items():
        cells = []
        for name, digits in (("wall", 1), ("runs", 1), ("bytes", 0)):
            values = sorted(one[name] for one in rounds)
            cells.append(
                f"{name} {statistics.median(values):.{digits}f}"
                f" [{values[0]:.{digits}f}, {values[-1]:.{digits}f}]"
            )
        print(f"--track {track:6} n {len(rounds)}  {'   '.join(cells)}")
    print(f"{os.cpu_count()} cores, wandb {version('wandb')}, torch {version('torch')}")


if __name__ == "__main__":
    main()
