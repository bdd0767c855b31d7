"""What a step costs beside its arithmetic: `python tests/benchmarks/step_overhead.py`.

The same network, batches, optimiser and losses go through a bare PyTorch loop, through Lightning
as one begins with it (default Trainer, `self.log` of loss and a torchmetrics accuracy every step),
and through our steps as `fit` takes them (mean loss of every epoch logged; accuracy is logged by
the evaluations). Rounds are interleaved; one thread. The small network is an MLP of 64-64-10 on
batches of 128; the large one is as deep and wide as a step of about 50 ms needs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

BATCH, STEPS = 128, {"small": 400, "large": 20}


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", choices=["bare", "ours"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(_peak(args.memory))
        return
    found: dict[str, Any] = {}
    for size, steps in STEPS.items():
        ways = {"bare": bare, "lightning": lightning, "ours": ours}
        rows: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way(size, 5)  # allocations and kernel choice
        for _ in range(args.rounds):
            for name, way in ways.items():
                rows[name].append(1000 * way(size, steps) / steps)
        found[size] = rows
        base = statistics.median(rows["bare"])
        print(f"{size} network, ms per step: median [range], n {args.rounds}")
        for name, each in rows.items():
            median = statistics.median(each)
            print(
                f"  {name:9} {median:7.3f} [{min(each):.3f}, {max(each):.3f}]"
                f"  over bare {median - base:+.3f} ({(median / base - 1) * 100:+.1f} %)"
            )
    memory = {}
    for side in ("bare", "ours"):
        command = [sys.executable, __file__, "--memory", side]
        memory[side] = int(subprocess.run(command, capture_output=True, text=True).stdout)
    print(
        f"peak memory of a process: bare {memory['bare'] / 2**20:.0f} MiB, ours"
        f" {memory['ours'] / 2**20:.0f} MiB, {memory['ours'] / memory['bare']:.2f} x"
    )
    if args.json:
        about = {
            "schema_version": 1,
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("torch", "pytorch-lightning")},
            "ms_per_step": found,
            "peak_memory_bytes": memory,
        }
        args.json.write_text(json.dumps(about, indent=1))


def network(size: str) -> Any:
    """Return the network of 64 inputs and 10 classes."""
    from torch import nn

    if size == "small":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, 1024), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Linear(1024, 1024), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 10))


def batches(steps: int) -> list[tuple[Any, Any]]:
    """Return fixed random batches."""
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, BATCH, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 10, (8, BATCH), generator=generator)
    return [(images[step % 8], targets[step % 8]) for step in range(steps)]


def bare(size: str, steps: int) -> float:
    """Return the seconds of a loop that does nothing else."""
    import torch
    from torch.nn.functional import cross_entropy

    model, given = network(size), batches(steps)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    began = time.perf_counter()
    for images, targets in given:
        optimizer.zero_grad()
        cross_entropy(model(images), targets).backward()
        optimizer.step()
    return time.perf_counter() - began


def lightning(size: str, steps: int) -> float:
    """Return the seconds of the steps of a default Trainer with loss and accuracy logged."""
    import pytorch_lightning as pl
    import torch
    from torch.nn.functional import cross_entropy
    from torchmetrics.classification import MulticlassAccuracy

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.accuracy = network(size), MulticlassAccuracy(10)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            logits = self.network(batch[0])
            loss = cross_entropy(logits, batch[1])
            self.log("loss", loss)
            self.log("accuracy", self.accuracy(logits, batch[1]))
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, fused=True)

    with tempfile.TemporaryDirectory() as folder, _hushed():
        clock = _clock()
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", default_root_dir=folder, callbacks=[clock]
        )
        trainer.fit(Module(), Given(batches(steps)))
    return float(clock.seconds)


def ours(size: str, steps: int) -> float:
    """Return the seconds of the steps that `fit` takes, with what watches a run."""
    from lightning_modules import Classifier, ImageData
    from lightning_modules.execution import Execution
    from lightning_modules.feeding import Batch
    from lightning_modules.observers import Curves
    from lightning_modules.training import _trainer, quiet
    from lightning_modules.waiting import Waiting
    from recipes import edit, load

    given = [
        Batch(images, targets, BATCH * place, True)
        for place, (images, targets) in enumerate(batches(steps))
    ]

    class GivenData(ImageData):
        def train_dataloader(self) -> Any:
            return Given(given)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    changes = {"optim.epochs": 1, "optim.warmup_epochs": 0, "data.minival_fraction": 0}
    recipe = edit(load("tiny"), changes)
    module = Classifier(recipe)
    module.network = network(size)
    with tempfile.TemporaryDirectory() as folder, quiet():
        data = GivenData(recipe, cache=Path(folder))
        data.setup()
        import torch

        device, clock = torch.device("cpu"), _clock()
        watching = [Curves(Path(folder) / "metrics.jsonl", time.perf_counter()), Waiting(device)]
        execution = Execution(device="cpu", on_progress=lambda progress: None)
        trainer = _trainer(recipe, execution, device, Path(folder), [*watching, clock], data, None)
        trainer.fit(module, data)
    return float(clock.seconds)


class Given:
    """A loader of batches that are there already."""

    def __init__(self, made: list[Any]) -> None:
        self._made = made

    def __len__(self) -> int:
        return len(self._made)

    def __iter__(self) -> Any:
        return iter(self._made)


def _clock() -> Any:
    import pytorch_lightning as pl

    class Clock(pl.Callback):
        seconds = 0.0

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.began = time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.seconds = time.perf_counter() - self.began

    return Clock()


@contextlib.contextmanager
def _hushed() -> Any:
    import logging

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield


def _peak(side: str) -> int:
    """Return the peak resident bytes of this process after steps of one way."""
    import pytorch_lightning  # noqa: F401  (both sides with the same imports)
    import torch

    import lightning_modules.training  # noqa: F401
    from lightning_modules.cost import peak_memory, reset_peak_memory

    reset_peak_memory(torch.device("cpu"))
    (bare if side == "bare" else ours)("large", 20)
    return int(peak_memory(torch.device("cpu")) or 0)


if __name__ == "__main__":
    main()
