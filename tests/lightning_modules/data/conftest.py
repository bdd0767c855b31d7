"""Small image files, as noise that JPEG can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def noise(height: int = 8, width: int = 8) -> np.ndarray:
    small = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_image(path: Path, mode: str = "RGB", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise()).convert(mode).save(path, **options)


def write_folders(
    root: Path, classes: str = "ab", validation: str = "val", images: int = 2
) -> Path:
    for part in ("train", validation):
        for name in classes:
            for i in range(images):
                write_image(root / part / name / f"{i}.jpg")
    return root
