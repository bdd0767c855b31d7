"""Images per second of one core: `python tests/benchmarks/input_pipeline.py`.

Crop, mirror, RandAugment (2 of magnitude 10, timm's space) and normalisation of JPEG files, as timm
and torchvision (v2, on tensors) do it image by image, and as `ImageData` does it for whole batches:
from its cache of decoded images, and decoding every file at every access (`stored_size` 0).
Interleaved rounds in one process that is kept on one core (where the system can), as ours decodes
ahead in a thread; files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lightning_modules import ImageData
from lightning_modules.allocation import keep_freed_memory
from recipes import edit, load

BATCH = 64
CASES = {
    64: (64, 768),
    160: (224, 256),
}  # pixels that are trained on: of the files, number of files


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as workers do; it serves all three
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found: dict[int, dict[str, list[float]]] = {}
    for size, (side, count) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            files = written(Path(folder) / "images", side, count)
            ways: dict[str, Callable[[], int]] = {
                "timm": timm_way(files, size),
                "torchvision v2": torchvision_way(files, size),
                "ours, cached": our_way(Path(folder), size, side),
                "ours, from files": our_way(Path(folder), size, 0),
            }
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for way in ways.values():
                way()
            for _ in range(args.rounds):
                for name, way in ways.items():
                    began = time.perf_counter()
                    images = way()
                    rates[name].append(images / (time.perf_counter() - began))
        found[size] = rates
        print(f"{size} px from {side} px JPEG files, images/s of one core, n {args.rounds}")
        for name, each in rates.items():
            ratios = [a / b for a, b in zip(each, rates["timm"], strict=True)]
            print(
                f"  {name:17} {statistics.median(each):7.0f} [{min(each):.0f}, {max(each):.0f}]"
                f"  {statistics.median(ratios):.2f} x timm [{min(ratios):.2f}, {max(ratios):.2f}]"
            )
    if args.json:
        about = {
            "schema_version": 1,
            "cores": os.cpu_count(),
            "versions": {n: version(n) for n in ("torch", "torchvision", "timm", "pillow")},
            "images_per_second": found,
        }
        args.json.write_text(json.dumps(about, indent=1))


def written(folder: Path, side: int, count: int) -> list[Path]:
    """Write crops of scikit-learn's two photographs as JPEG files of two classes."""
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(0)
    photographs = load_sample_images().images
    files = []
    for part, number in [("train", n) for n in range(count)] + [("val", n) for n in range(2)]:
        pixels = photographs[number % 2]
        wide = max(side, 200)
        top = int(draw.integers(0, pixels.shape[0] - wide))
        left = int(draw.integers(0, pixels.shape[1] - wide))
        image = Image.fromarray(pixels[top : top + wide, left : left + wide])
        path = folder / part / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
        files += [path] if part == "train" else []
    return files


def timm_way(files: list[Path], size: int) -> Callable[[], int]:
    """Return a pass over the files through timm's training transform."""
    from timm.data import create_transform

    transform = create_transform(
        size,
        is_training=True,
        auto_augment="rand-m10-n2",
        color_jitter=None,
        interpolation="bicubic",
    )

    def run() -> int:
        for path in files:
            transform(Image.open(path).convert("RGB"))
        return len(files)

    return run


def torchvision_way(files: list[Path], size: int) -> Callable[[], int]:
    """Return a pass over the files through torchvision's v2 transforms on tensors."""
    from torchvision.io import ImageReadMode, read_image
    from torchvision.transforms import InterpolationMode, v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 10),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def run() -> int:
        for path in files:
            transform(read_image(str(path), ImageReadMode.RGB))
        return len(files)

    return run


def our_way(folder: Path, size: int, stored: int) -> Callable[[], int]:
    """Return an epoch of `ImageData`, to the float batches that the network is given."""
    changes: dict[str, Any] = {
        "data.dataset": "imagefolder",
        "data.resolution": size,
        "data.stored_size": stored,
        "data.batch_size": BATCH,
        "data.train_fraction": 1.0,
        "data.minival_fraction": 0.0,
        "data.crop": "random_resized",
        "data.crop_area": 0.08,
        "data.flip": True,
        "augment.randaug_layers": 2,
        "augment.randaug_magnitude": 10.0,
        "augment.randaug_space": "timm",
    }
    data = ImageData(
        edit(load("tiny"), changes), folder=folder / "images", cache=folder / "cache", threads=1
    )
    data.setup()

    def run() -> int:
        images = 0
        for batch in data.train_dataloader():
            images += len(data.prepare(batch, 0).images)
        return images

    return run


if __name__ == "__main__":
    main()
