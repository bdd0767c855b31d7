"""A training step against timm's, and the roofline: `python tests/benchmarks/gpu_step.py`.

ResNet-RS-50 at 160 pixels with all of its recipe that a step holds (stochastic depth, dropout,
label smoothing, weight decay, averaged weights), on images that are on the device already: by the
steps that `fit` takes, and by timm's public API as its script does (`create_optimizer_v2`,
`ModelEmaV3`, autocast, channels last). Interleaved rounds; bf16 on a GPU, float32 on a CPU.
`--compile` adds ours with its blocks compiled.

The share of the roofline: FLOPs of a step are 3 x 2 x multiply-adds (the backward pass is twice the
forward one) over what a large matrix product reaches here; bytes are counted as if nothing was
fused (a layer reads its input and writes its output, and backwards reads the output's gradient and
the input and writes the input's gradient: 3 inputs and 2 outputs; a parameter is read with its
gradient, momentum and average, and three of them are written: 28 bytes) over what a large copy
reaches here.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from step_overhead import Given, _clock
from torch import nn

from lightning_modules import Classifier, ImageData
from lightning_modules.compilation import compile_blocks
from lightning_modules.cost import count
from lightning_modules.execution import Execution
from lightning_modules.feeding import Batch
from lightning_modules.sections import copy_bandwidth, matmul_peak, wait
from lightning_modules.training import _trainer, quiet
from recipes import Recipe, edit, load

CLASSES, WARM_UP = 1000, 3


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resolution", type=int, default=160)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = torch.device(args.device)
    recipe = edit(
        load("resnet_rs_50_160"),
        {
            "data.dataset": "digits",
            "data.stored_size": 8,
            "data.minival_fraction": 0,
            "data.resolution": args.resolution,
            "data.batch_size": args.batch,
            "optim.epochs": 1,
            "optim.warmup_epochs": 0,
            "optim.precision": "bf16" if device.type == "cuda" else "32",
        },
    )
    ways: dict[str, Callable[[int], float]] = {"timm": timm_steps(recipe, device)}
    ways["ours"] = lambda steps: our_steps(recipe, device, steps)
    if args.compile:
        ways["ours, compiled"] = lambda steps: our_steps(recipe, device, steps, True)
    rows: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(WARM_UP)
    for _ in range(args.rounds):
        for name, way in ways.items():
            rows[name].append(way(args.steps) / args.steps)
    flops, moved = demand(recipe)
    rate, bandwidth = matmul_peak(device, recipe.optim.precision), copy_bandwidth(device)
    print(
        f"{device}: {rate / 1e12:.2f} TFLOP/s in products, {bandwidth / 1e9:.0f} GB/s in copies;"
        f" bounds by them: {args.batch * rate / flops:.0f} and"
        f" {args.batch * bandwidth / moved:.0f} images/s (nothing fused)"
    )
    for name, each in rows.items():
        median = statistics.median(each)
        ratio = statistics.median(a / b for a, b in zip(rows["timm"], each, strict=True))
        print(
            f"  {name:15} {1000 * median:8.1f} ms [{1000 * min(each):.1f}, {1000 * max(each):.1f}]"
            f"  {args.batch / median:7.0f} images/s  {ratio:.2f} x timm"
            f"  {flops / median / rate:.0%} of compute, {moved / median / bandwidth:.0%} of memory"
        )
    if args.json:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        about = {
            "schema_version": 1,
            "device": name,
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("torch", "timm", "pytorch-lightning")},
            "settings": {key: value for key, value in vars(args).items() if key != "json"},
            "seconds_per_step": rows,
            "flops": flops,
            "bytes": moved,
            "flops_per_second": rate,
            "bytes_per_second": bandwidth,
        }
        args.json.write_text(json.dumps(about, indent=1))


def batch_of(recipe: Recipe, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised images, channels last, and classes, on the device."""
    size, count_ = recipe.data.resolution, recipe.data.batch_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count_, 3, size, size, generator=generator)
    targets = torch.randint(0, CLASSES, (count_,), generator=generator)
    return images.to(device, memory_format=torch.channels_last), targets.to(device)


def our_steps(recipe: Recipe, device: torch.device, steps: int, compiled: bool = False) -> float:
    """Return the seconds of steps as `fit` takes them."""
    images, targets = batch_of(recipe, device)
    given = [Batch(images, targets, len(images) * step, True) for step in range(steps + WARM_UP)]

    class GivenData(ImageData):
        def train_dataloader(self) -> Any:
            return Given(given)

        def transfer_batch_to_device(self, batch: Any, *_: Any) -> Any:
            return batch

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    class Clock(type(_clock())):  # type: ignore[misc]
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == WARM_UP:
                wait(device)
                self.began = time.perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            wait(device)
            self.seconds = time.perf_counter() - self.began

    module = Classifier(recipe, classes=CLASSES)
    if compiled:
        compile_blocks(module.network)
    with tempfile.TemporaryDirectory() as folder, quiet():
        data, clock = GivenData(edit(recipe, {"data.batch_size": 16}), cache=Path(folder)), Clock()
        data.setup()
        execution = Execution(device=str(device), checkpoint_seconds=None, evaluations=0)
        _trainer(recipe, execution, device, Path(folder), [clock], data, None).fit(module, data)
    return float(clock.seconds)


def timm_steps(recipe: Recipe, device: torch.device) -> Callable[[int], float]:
    """Return the same by timm's functions, in the order of its script."""
    from timm import create_model
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    model, optim = recipe.model, recipe.optim
    network = create_model(
        "resnetrs50", drop_rate=float(model.dropout), drop_path_rate=float(model.drop_path)
    ).to(device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(
        network, opt="sgd", lr=1e-3, momentum=float(optim.momentum), weight_decay=4e-5
    )
    average = ModelEmaV3(network, decay=0.9999)
    loss_of = LabelSmoothingCrossEntropy(float(recipe.loss.label_smoothing))
    images, targets = batch_of(recipe, device)
    bf16 = optim.precision == "bf16"

    def run(steps: int) -> float:
        for step in range(steps + WARM_UP):
            if step == WARM_UP:
                wait(device)
                began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = loss_of(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(network, step=step)
        wait(device)
        return time.perf_counter() - began

    return run


def demand(recipe: Recipe) -> tuple[float, float]:
    """Return the FLOPs and the bytes of a step, as the module says they are counted."""
    size, images = recipe.data.resolution, recipe.data.batch_size
    _, macs = count(recipe.model, CLASSES, size)
    with torch.device("meta"):
        network = Classifier(recipe, classes=CLASSES).network.to("meta")
    width = 2 if recipe.optim.precision == "bf16" else 4
    return 3.0 * 2.0 * macs * images, traffic(network, (images, 3, size, size), width)


def traffic(network: nn.Module, shape: tuple[int, ...], width: int) -> float:
    """Return the bytes that a step moves where nothing is fused.

    Args:
        network: looked at on the meta device.
        shape: of the images.
        width: bytes of a value of an activation.
    """
    values = 0

    def see(module: nn.Module, given: Any, made: Any) -> None:
        nonlocal values
        values += 3 * given[0].numel() + 2 * made.numel()

    network = copy.deepcopy(network).to("meta").eval()
    leaves = [one for one in network.modules() if not list(one.children())]
    handles = [one.register_forward_hook(see) for one in leaves if not isinstance(one, nn.Identity)]
    with torch.no_grad():
        network(torch.empty(shape, device="meta"))
    for handle in handles:
        handle.remove()
    parameters = sum(one.numel() for one in network.parameters())
    return float(values * width + 28 * parameters)


if __name__ == "__main__":
    main()
