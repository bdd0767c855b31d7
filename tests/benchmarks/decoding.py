"""Images per second from JPEG to crop: `python tests/benchmarks/decoding.py [--json FILE]`.

The same random crops (Inception's, of at least 8 % of the image) are read by PIL alone, by
`read_crop` exactly, and by `read_crop` scaled, on one thread and in turns. The images are
scikit-learn's two photographs, at several sizes; decoding alone is timed beside them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from sklearn.datasets import load_sample_images

from lightning_modules.augment import RANDOM_BOXES, box_width
from lightning_modules.data import FileItems, read_crop
from lightning_modules.data.items import labels_array
from lightning_modules.streams import draws

CASES = (((375, 500), 160), ((375, 500), 64), ((750, 1000), 224), ((1500, 2000), 224))
_COUNT = 24  # images of a round


def written(folder: Path, shape: tuple[int, int]) -> FileItems:
    """Write the photographs, cut at random and resized, with qualities from 80 to 95."""
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    random = np.random.default_rng(0)
    names = tuple(f"{k:02d}.jpg" for k in range(_COUNT))
    for k, name in enumerate(names):
        left, top = int(random.integers(0, 140)), int(random.integers(0, 52))
        part = photos[k % 2].crop((left, top, left + 500, top + 375))
        sized = part.resize(shape[::-1], Image.Resampling.BICUBIC)
        sized.save(folder / name, quality=80 + 5 * (k % 4))
    return FileItems(names, labels_array([0] * _COUNT), folder)


def ways(items: FileItems, size: int) -> dict[str, Callable[[int], Any]]:
    """Return each way to read an image, by name; the crops are the same."""

    def box(i: int) -> Callable[[int, int], tuple[float, float, float, float]]:
        def chosen(height: int, width: int) -> tuple[float, float, float, float]:
            uniforms = draws(0, "crop", 0, i, 1, box_width())
            found = RANDOM_BOXES["random_resized"](
                uniforms, np.array([height]), np.array([width]), area=(0.08, 1.0)
            )
            top, left, tall, wide = (float(number) for number in found[0])
            return left, top, left + wide, top + tall

        return chosen

    def pil(i: int) -> Any:
        with Image.open(io.BytesIO(items.content(i))) as image:
            cut = box(i)(image.height, image.width)
            sized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, cut)
        return np.asarray(sized)

    return {
        "PIL": pil,
        "exact": lambda i: read_crop(items, i, box(i), size, "bicubic"),
        "scaled": lambda i: read_crop(items, i, box(i), size, "bicubic", scaled=True),
        "decoding alone": lambda i: simplejpeg.decode_jpeg(items.content(i), "RGB"),
    }


def measure(rounds: int) -> dict[str, Any]:
    """Return images per second of each way, round by round, and how far scaled is from exact."""
    cases = []
    for shape, size in CASES:
        with tempfile.TemporaryDirectory() as name:
            items = written(Path(name), shape)
            found: dict[str, list[float]] = {}
            for _ in range(rounds):
                for way, read in ways(items, size).items():
                    began = time.perf_counter()
                    for i in range(_COUNT):
                        read(i)
                    rate = _COUNT / (time.perf_counter() - began)
                    found.setdefault(way, []).append(rate)
            reads = ways(items, size)
            apart = [
                np.abs(reads["exact"](i).astype(int) - reads["scaled"](i)) for i in range(_COUNT)
            ]
        gains = [fast / slow for fast, slow in zip(found["scaled"], found["exact"], strict=True)]
        cases.append(
            {
                "height": shape[0],
                "width": shape[1],
                "crop": size,
                "images_per_second": found,
                "gain": statistics.median(gains),
                "scaled_share": float(np.mean([one.any() for one in apart])),
                "mean_difference": float(np.mean(apart)),
            }
        )
    return {
        "schema_version": 1,
        "cases": cases,
        "threads": 1,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("simplejpeg", "pillow", "numpy")},
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    print("images/s on one thread, median [least, most]; difference in grey levels of 255")
    for case in found["cases"]:
        print(
            f"{case['width']} x {case['height']} -> {case['crop']}: scaled is"
            f" {case['gain']:.2f} x exact; {case['scaled_share']:.0%} of the crops are scaled,"
            f" mean difference {case['mean_difference']:.2f}"
        )
        for way, rates in case["images_per_second"].items():
            spread = f"[{min(rates):.0f}, {max(rates):.0f}]"
            print(f"  {way:15} {statistics.median(rates):6.0f}  {spread}  n {len(rates)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
