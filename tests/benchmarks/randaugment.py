"""RandAugment of whole batches against PIL's: `python tests/benchmarks/randaugment.py`.

Two operations of magnitude 10 on decoded images: `timm` against timm's `rand_augment_transform`
(mid-grey fill, as our space has it), `torchvision` against torchvision's RandAugment of PIL images
(9 of its 30), both as PIL images to begin and to end with; `resnet_rs`, which has no reference in
PIL, alone. Interleaved rounds in one process that is kept on one core (where the system can).
`--device cuda` moves ours to a GPU; the references stay on their core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from lightning_modules.augment import RandAugment

COUNT, BATCH = 512, 128
MAGNITUDES = {"timm": 10.0, "torchvision": 9.0, "resnet_rs": 10.0}


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 160])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found: dict[str, dict[str, list[float]]] = {}
    for size in args.sizes:
        images = pictures(size)
        for space in MAGNITUDES:
            ways = {"ours": ours(images, space, args.device), **reference(images, space)}
            for way in ways.values():
                way()
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    rates[name].append(COUNT / (time.perf_counter() - began))
            found[f"{space} {size}"] = rates
            told = [f"{name} {spread(each, 0)}" for name, each in rates.items()]
            if "PIL" in rates:
                ratios = [a / b for a, b in zip(rates["ours"], rates["PIL"], strict=True)]
                told.append(f"{spread(ratios, 2)} x")
            print(f"{space:12} {size:4} px  {'  '.join(told)}")
    if args.json:
        names = ("torch", "torchvision", "timm", "pillow")
        about = {
            "schema_version": 1,
            "cores": os.cpu_count(),
            "machine": platform.processor() or platform.machine(),
            "device": args.device,
            "versions": {name: version(name) for name in names},
            "images_per_second": found,
        }
        args.json.write_text(json.dumps(about, indent=1))


def spread(values: list[float], digits: int) -> str:
    """Return median and range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def pictures(size: int) -> list[Image.Image]:
    """Return crops of scikit-learn's two photographs."""
    draw = np.random.default_rng(0)
    whole, found = load_sample_images().images, []
    for number in range(COUNT):
        pixels = whole[number % 2]
        top, left = (int(draw.integers(0, side - size)) for side in pixels.shape[:2])
        found.append(Image.fromarray(pixels[top : top + size, left : left + size]))
    return found


def ours(images: list[Image.Image], space: str, device: str) -> Callable[[], None]:
    """Return a pass over the images in batches, to uint8 batches on the device."""
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
    batches = torch.from_numpy(pixels).to(device).split(BATCH)
    augment = RandAugment(2, space, magnitude=MAGNITUDES[space])

    def run() -> None:
        for number, batch in enumerate(batches):
            augment(batch, 0, 0, number * BATCH)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def reference(images: list[Image.Image], space: str) -> dict[str, Callable[[], None]]:
    """Return the same by PIL, where there is such a reference."""
    if space == "timm":
        from timm.data.auto_augment import rand_augment_transform

        augment = rand_augment_transform("rand-m10-n2", {"img_mean": (128, 128, 128)})
    elif space == "torchvision":
        from torchvision.transforms import RandAugment as Reference

        augment = Reference(2, int(MAGNITUDES[space]))
    else:
        return {}

    def run() -> None:
        for image in images:
            augment(image)

    return {"PIL": run}


if __name__ == "__main__":
    main()
