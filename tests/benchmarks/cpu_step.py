"""What makes a step cheaper on a CPU: `python tests/benchmarks/cpu_step.py [--rounds 5]`.

Small maps: a 3 x 3 convolution of `nn.Conv2d` against ours, forward and backward, on 64 images, and
a whole step of timm's resnet10t with either. Freed memory: the same step in processes whose
allocator gives it back and keeps it, with page faults. One thread, float32, channels last; rounds
are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from timm import create_model
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_modules.allocation import keep_freed_memory
from lightning_modules.small_maps import speed_small_maps

IMAGES, STEPS = 64, 8
CONVOLUTIONS = ((512, 512, 1, 1), (256, 512, 2, 2), (256, 256, 2, 1))  # in, out, pixels, stride
SIZES = (32, 64)


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", choices=["given", "kept"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        print(json.dumps(in_a_process(args.memory)))
        return
    found: dict[str, dict[str, list[float]]] = {}
    for each in CONVOLUTIONS:
        ways = {name: convolution(*each, name == "ours") for name in ("torch", "ours")}
        found["{} to {} channels, {} px, stride {}".format(*each)] = timed(ways, args.rounds)
    for size in SIZES:
        ways = {name: step(size, name == "ours") for name in ("torch", "ours")}
        found[f"step of resnet10t, {size} px"] = timed(ways, args.rounds)
    for size in SIZES:
        found[f"step, {size} px, freed memory"] = {"given": [], "kept": []}
    faults: dict[str, list[int]] = {}
    for _ in range(args.rounds):
        for how in ("given", "kept"):
            command = [sys.executable, __file__, "--memory", how]
            seen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            for size, (seconds, count) in seen.items():
                found[f"step, {size} px, freed memory"][how].append(seconds)
                faults.setdefault(f"{size} px, {how}", []).append(count)
    for name, rows in found.items():
        first, second = rows.values()
        ratios = [b / a for a, b in zip(first, second, strict=True)]
        told = "  ".join(f"{key} {spread(each, 1000)} ms" for key, each in rows.items())
        print(f"{name:44} {told}  {spread(ratios, 1, 2)} x")
    for name, counts in faults.items():
        print(f"page faults a step, {name}: {statistics.median(counts):.0f}")
    if args.json:
        about = {
            "schema_version": 1,
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("torch", "timm")},
            "seconds": found,
            "page_faults_per_step": faults,
        }
        args.json.write_text(json.dumps(about, indent=1))


def spread(values: list[float], factor: float, digits: int = 1) -> str:
    """Return median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return " ".join(
        (
            f"{factor * middle:.{digits}f}",
            f"[{factor * low:.{digits}f}, {factor * high:.{digits}f}]",
        )
    )


def timed(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a call of each way, round by round."""
    rows: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(STEPS):
                way()
            rows[name].append((time.perf_counter() - began) / STEPS)
    return rows


def convolution(
    inside: int, outside: int, side: int, stride: int, ours: bool
) -> Callable[[], None]:
    """Return a forward and backward pass of one convolution."""
    layer = nn.Sequential(nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False))
    layer = layer.to(memory_format=torch.channels_last)
    if ours:
        speed_small_maps(layer)
    given = torch.randn(IMAGES, inside, side, side).contiguous(memory_format=torch.channels_last)
    given.requires_grad_()
    gradient = torch.randn_like(layer(given))

    def run() -> None:
        layer(given).backward(gradient)
        given.grad = None

    return run


def step(size: int, ours: bool = True) -> Callable[[], None]:
    """Return a training step of resnet10t."""
    network = create_model("resnet10t", num_classes=10).to(memory_format=torch.channels_last)
    if ours:
        speed_small_maps(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    images = torch.randn(IMAGES, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(IMAGES, dtype=torch.long)

    def run() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), targets).backward()
        optimizer.step()

    return run


def in_a_process(how: str) -> dict[int, tuple[float, int]]:
    """Return by size the seconds and the page faults of a step of this process."""
    if how == "kept":
        keep_freed_memory()
    found = {}
    for size in SIZES:
        run = step(size)
        run()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        began = time.perf_counter()
        for _ in range(STEPS):
            run()
        seconds = (time.perf_counter() - began) / STEPS
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        found[size] = (seconds, faults // STEPS)
    return found


if __name__ == "__main__":
    main()
