"""JPEGs decoded at a smaller scale: the same crop, nearly the same pixels, where it shrinks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from lightning_modules.data import FileItems, read_crop
from lightning_modules.data.decode import decode_scaled
from lightning_modules.data.items import labels_array
from lightning_modules.image_data import ImageData
from recipes import RecipeError, edit, load
from tests.lightning_modules.data.conftest import write_folders


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> FileItems:
    """scikit-learn's two photographs as 640 x 427 JPEGs, and one of them as a PNG."""
    folder = tmp_path_factory.mktemp("photos")
    images = [Image.fromarray(image) for image in load_sample_images().images]
    images[0].save(folder / "0.jpg", quality=90)
    images[1].save(folder / "1.jpg", quality=90)
    images[1].save(folder / "2.png")
    return FileItems(("0.jpg", "1.jpg", "2.png"), labels_array([0, 1, 1]), folder)


@pytest.mark.parametrize("box", [(17, 20, 590, 411), (100, 3, 581, 400)])
@pytest.mark.parametrize("size", [32, 64, 160])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_scaled_crop_is_the_exact_one_within_two_levels(
    photos: FileItems, box: tuple[float, float, float, float], size: int, interpolation: str
) -> None:
    """Stated in docs/data.md: at most 2 levels of 255 in the mean; a shift by a pixel gives 5."""
    for i in (0, 1):
        exact = read_crop(photos, i, lambda h, w: box, size, interpolation).astype(int)
        scaled = read_crop(photos, i, lambda h, w: box, size, interpolation, scaled=True)
        assert 0 < np.abs(exact - scaled).mean() <= 2
        assert abs((exact - scaled).mean()) < 0.5  # and no brighter or darker


def test_it_is_exact_where_the_crop_would_not_shrink_or_is_no_jpeg(photos: FileItems) -> None:
    for i, box, size in ((0, (11, 10, 329, 400), 160), (2, (0, 0, 640, 427), 32)):
        exact = read_crop(photos, i, lambda h, w, box=box: box, size, "bicubic")
        scaled = read_crop(photos, i, lambda h, w, box=box: box, size, "bicubic", scaled=True)
        np.testing.assert_array_equal(exact, scaled)


@pytest.mark.parametrize(
    ("needed", "scale"), [(0.51, None), (0.5, 0.5), (0.4, 0.5), (0.375, 0.375), (0.01, 0.125)]
)
@pytest.mark.parametrize("shape", [(375, 500), (377, 501), (64, 65), (1001, 767)])
def test_the_scale_is_the_least_that_is_enough(
    needed: float, scale: float | None, shape: tuple[int, int]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", shape[::-1], (200, 30, 90)).save(file, "JPEG")
    found = decode_scaled(file.getvalue(), needed)
    if scale is None:
        assert found is None
    else:
        assert found is not None and found[1] == scale
        assert found[0].shape[:2] == tuple(-int(-side * scale // 1) for side in shape)


def test_training_images_alone_are_scaled(tmp_path: Path) -> None:
    photo = load_sample_images().images[0]
    root = write_folders(tmp_path, images=2)
    for path in root.rglob("*.jpg"):
        Image.fromarray(photo).save(path)
    leaves = {
        "data.dataset": "imagefolder",
        "data.stored_size": 0,
        "data.resolution": 64,
        "data.batch_size": 2,
        "data.train_fraction": 1.0,
        "data.minival_fraction": 0.0,
        "evaluate.split": "validation",
    }
    images = []
    for decode in ("exact", "scaled"):
        data = ImageData(edit(load("tiny"), {**leaves, "data.decode": decode}), folder=root)
        data.setup()
        images.append(
            [data.first_batches(part, 2, 1)[0].images.int() for part in ("train", "validation")]
        )
    (train, validation), (scaled, same) = images
    assert validation.equal(same)
    assert 0 < (train - scaled).abs().float().mean() <= 2


def test_what_is_stored_is_not_decoded_at_a_smaller_scale() -> None:
    with pytest.raises(RecipeError, match="data.decode = scaled needs data.stored_size = 0"):
        edit(load("tiny"), {"data.decode": "scaled", "data.stored_size": 8})
