"""Augmented images have the distribution of the reference's: timm's transform, image by image.

Crop, mirror and RandAugment of one photograph, many times, by both; statistics of the images are
compared by the two-sample Kolmogorov-Smirnov test. Seeds are fixed. The same test must see a
weaker magnitude, a missing mirror, another crop: it could fail.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_images

from lightning_modules import ImageData
from lightning_modules.augment.operations import GREY
from recipes import Recipe, edit

COUNT, SIZE = 900, 48
RECIPE = {
    "data.dataset": "imagefolder",
    "data.resolution": SIZE,
    "data.stored_size": 64,
    "data.batch_size": 50,
    "data.train_fraction": 1.0,
    "data.minival_fraction": 0.0,
    "data.crop": "random_resized",
    "data.crop_area": 0.08,
    "data.interpolation": "bicubic",
    "data.flip": True,
    "augment.randaug_layers": 2,
    "augment.randaug_magnitude": 10.0,
    "augment.randaug_space": "timm",
}


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """64 x 64 pixels, brighter on one side than on the other."""
    whole = Image.fromarray(load_sample_images().images[0])
    return whole.crop((120, 0, 540, 420)).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def reference(photograph: Image.Image) -> np.ndarray:
    from timm.data import create_transform

    kept, numbers = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transform = create_transform(
            SIZE,
            is_training=True,
            auto_augment="rand-m10-n2",
            color_jitter=None,
            interpolation="bicubic",
            mean=(GREY / 255,) * 3,  # what a warp uncovers, too
            std=(1 / 255,) * 3,
        )
        made = torch.stack([transform(photograph) for _ in range(COUNT)])
    random.setstate(kept)
    np.random.set_state(numbers)
    return (made + GREY).round().numpy()


@pytest.fixture(scope="module")
def folder(photograph: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    root = tmp_path_factory.mktemp("photograph")
    for part, count in (("train", 50), ("val", 1)):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                photograph.save(root / part / name / f"{number}.png")
    yield root


def ours(tiny: Recipe, folder, cache, **changes: object) -> np.ndarray:
    leaves = RECIPE | {name.replace("_", ".", 1): value for name, value in changes.items()}
    data = ImageData(edit(tiny, leaves), folder=folder, cache=cache, seed=3)
    data.setup()
    part = data.part("train").gather(np.arange(100))
    made = [data.augmented(part, epoch, 0) for epoch in range(COUNT // 100)]
    return torch.cat(made).numpy().astype(np.float64)


def statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    half = SIZE // 2
    return {
        "mean": images.mean(axis=(1, 2, 3)),
        "spread": images.std(axis=(1, 2, 3)),
        "red over blue": (images[:, 0] - images[:, 2]).mean(axis=(1, 2)),
        "left over right": (images[..., :half] - images[..., half:]).mean(axis=(1, 2, 3)),
        "top over bottom": (images[:, :, :half] - images[:, :, half:]).mean(axis=(1, 2, 3)),
        "along rows": np.abs(np.diff(images, axis=3)).mean(axis=(1, 2, 3)),
        "along columns": np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)),
        "fill": (np.abs(images - GREY).max(axis=1) == 0).mean(axis=(1, 2)),
        "darkest": images.min(axis=(1, 2, 3)),
        "brightest": images.max(axis=(1, 2, 3)),
    }


def least(first: np.ndarray, second: np.ndarray) -> float:
    """Return the smallest p of all statistics, times their number (Bonferroni)."""
    found, others = statistics(first), statistics(second)
    return len(found) * min(float(ks_2samp(found[name], others[name]).pvalue) for name in found)


def test_augmented_images_are_distributed_as_the_references(tiny, folder, cache, reference):
    assert least(ours(tiny, folder, cache), reference) > 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {"augment_randaug_magnitude": 6.0},
        {"augment_randaug_layers": 1},
        {"data_flip": False},
        {"data_crop_area": 0.2},
    ],
    ids=lambda changes: "".join(changes),
)
def test_the_comparison_sees_another_recipe(tiny, folder, cache, reference, changes):
    assert least(ours(tiny, folder, cache, **changes), reference) < 0.001
