import numpy as np
import pytest
import torch
from PIL import Image

from lightning_modules.augment.resample import resize_boxes
from lightning_modules.augment.warping import _sampled, warp

PIL_NAMES = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def random_images(count, height, width, seed=0):
    """Noise, with one image of flat halves: the hardest and the most visible for a kernel."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    images[0, :, :, : width // 2], images[0, :, :, width // 2 :] = 0, 255
    return torch.from_numpy(images)


def random_boxes(count, height, width, seed=0):
    generator = np.random.default_rng(seed)
    tall = np.ceil(generator.uniform(0.2, 1.0, count) * height)
    wide = np.ceil(generator.uniform(0.2, 1.0, count) * width)
    top, left = generator.uniform(size=count), generator.uniform(size=count)
    corners = np.rint([top * (height - tall), left * (width - wide)])
    return np.stack([*corners, tall, wide], axis=1)


def to_pil(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def from_pil(images):
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def pil_resized(images, boxes, size, interpolation):
    results = []
    for image, (top, left, tall, wide) in zip(images, boxes, strict=True):
        box = (left, top, left + wide, top + tall)
        # In two steps: PIL alone takes rows first where that is cheaper.
        columns = to_pil(image).crop(box).resize((size, int(tall)), PIL_NAMES[interpolation])
        results.append(columns.resize((size, size), PIL_NAMES[interpolation]))
    return from_pil(results)


def difference(first, second):
    return (first.int() - second.int()).abs()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (32, 32, 32),
        (40, 57, 16),
        (11, 9, 24),
        (70, 57, 48),
        (40, 57, 64),
    ],  # the last two one by one
)
def test_resize_is_pil_within_its_rounding(interpolation, height, width, size):
    images = random_images(6, height, width)
    boxes = random_boxes(6, height, width)
    boxes[1] = 0, 0, height, width
    off = difference(
        resize_boxes(images, boxes, size, interpolation),
        pil_resized(images, boxes, size, interpolation),
    )
    levels = 2 if size > 32 else 1  # torch's fixed point has fewer bits than PIL's
    assert off.max() <= levels
    assert off.float().mean() < 0.01 * levels


def test_shrinking_by_a_whole_factor_averages():
    images = random_images(2, 32, 32)
    boxes = np.array([[0, 0, 32, 32]] * 2, dtype=np.float64)
    small = resize_boxes(images, boxes, 1, "bilinear")
    weights = np.maximum(0, 1 - np.abs(np.arange(32) + 0.5 - 16) / 32)
    weights /= weights.sum()
    expected = np.einsum("nchw,h,w->nc", images.numpy().astype(float), weights, weights)
    assert np.abs(small[:, :, 0, 0].numpy() - expected).max() <= 1


@pytest.mark.parametrize("size", [16, 40])
def test_flip_mirrors_the_marked_images(size):
    images = random_images(5, 20, 30)
    boxes = random_boxes(5, 20, 30)
    flip = np.array([True, False, True, False, True])
    plain = resize_boxes(images, boxes, size, "bicubic")
    mirrored = resize_boxes(images, boxes, size, "bicubic", flip)
    mask = torch.from_numpy(flip)
    assert torch.equal(mirrored[~mask], plain[~mask])
    assert difference(mirrored[mask], plain[mask].flip(3)).max() <= 1


def test_whole_boxes_at_the_same_size_only_flip():
    images = random_images(4, 16, 16)
    boxes = np.array([[0, 0, 16, 16]] * 4, dtype=np.float64)
    flip = np.array([True, False, False, True])
    expected = images.clone()
    expected[[0, 3]] = expected[[0, 3]].flip(3)
    assert torch.equal(resize_boxes(images, boxes, 16, "bicubic"), images)
    assert torch.equal(resize_boxes(images, boxes, 16, "bicubic", flip), expected)
    # One box that is not whole takes the general path, which must agree.
    boxes[1] = 1, 1, 12, 12
    general = resize_boxes(images, boxes, 16, "bicubic", flip)
    assert torch.equal(general[[0, 2, 3]], expected[[0, 2, 3]])


def test_batches_and_chunks_do_not_change_a_resize(monkeypatch):
    images, boxes = random_images(9, 24, 24), random_boxes(9, 24, 24)
    flip = np.arange(9) % 2 == 0
    whole = resize_boxes(images, boxes, 16, "bicubic", flip)
    parts = [
        resize_boxes(images[s], boxes[s], 16, "bicubic", flip[s]) for s in (slice(4), slice(4, 9))
    ]
    assert torch.equal(torch.cat(parts), whole)
    monkeypatch.setattr("lightning_modules.augment.resample._CHUNK_BYTES", 100_000)
    assert torch.equal(resize_boxes(images, boxes, 16, "bicubic", flip), whole)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_one_by_one_is_the_whole_batch_within_two_levels(monkeypatch, interpolation):
    images, boxes = random_images(9, 60, 50), random_boxes(9, 60, 50)
    flip = np.arange(9) % 2 == 0
    singly = resize_boxes(images, boxes, 48, interpolation, flip)
    monkeypatch.setattr("lightning_modules.augment.resample.SMALL", 48 * 48)
    off = difference(resize_boxes(images, boxes, 48, interpolation, flip), singly)
    assert off.max() <= 2
    assert off.float().mean() < 0.02


def test_resize_ignores_autocast():
    images, boxes = random_images(3, 24, 24), random_boxes(3, 24, 24)
    expected = resize_boxes(images, boxes, 16, "bilinear")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize_boxes(images, boxes, 16, "bilinear"), expected)


def test_resize_leaves_the_input_alone():
    images, boxes = random_images(3, 24, 24), random_boxes(3, 24, 24)
    kept, kept_boxes = images.clone(), boxes.copy()
    result = resize_boxes(images, boxes, 16, "bicubic", np.array([True, False, True]))
    assert result.dtype == torch.uint8
    assert torch.equal(images, kept)
    assert np.array_equal(boxes, kept_boxes)


def affine_maps(count, seed=0):
    """Random maps near the identity, about the centre of a 20 x 28 image."""
    generator = np.random.default_rng(seed)
    linear = np.eye(2) + generator.uniform(-0.5, 0.5, (count, 2, 2))
    center = np.array([14.0, 10.0])
    shift = center - linear @ center + generator.uniform(-4, 4, (count, 2))
    return np.concatenate([linear, shift[:, :, None]], axis=2).reshape(count, 6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_warp_is_pil(interpolation):
    images, maps = random_images(12, 20, 28), affine_maps(12)
    maps[0] = 1, 0, 3, 0, 1, -5
    maps[1] = 1, 0, -2.25, 0, 1, 0.75
    maps[2] = 1, 0.3, -2.5, 0, 1, 0
    maps[3] = 1, 0, 0, -0.2, 1, 3.125
    affine = Image.Transform.AFFINE
    expected = from_pil(
        [
            to_pil(image).transform(
                (28, 20), affine, tuple(row), PIL_NAMES[interpolation], fillcolor=(128, 128, 128)
            )
            for image, row in zip(images, maps, strict=True)
        ]
    )
    # The engine of GPUs too, which PIL stands in for on a CPU.
    off = difference(_sampled(images, maps, 128, interpolation), expected)
    whole = difference(warp(images, maps, 128, interpolation), expected)
    assert whole.max() <= off.max()
    # PIL's fixed point may choose the neighbour or the fill where a source lies on a boundary.
    assert (off > 1).float().mean() < 0.001
    assert (off > 0).float().mean() < (0.001 if interpolation == "nearest" else 0.02)


def test_warp_takes_exactly_the_nearest_pixel():
    images, maps = random_images(3, 20, 28), affine_maps(3)
    expected = np.full(images.shape, 7, dtype=np.uint8)
    for n, (a, b, c, d, e, f) in enumerate(maps):
        for y in range(20):
            for x in range(28):
                column = int(np.floor(a * (x + 0.5) + b * (y + 0.5) + c))
                row = int(np.floor(d * (x + 0.5) + e * (y + 0.5) + f))
                if 0 <= column < 28 and 0 <= row < 20:
                    expected[n, :, y, x] = images[n, :, row, column]
    assert np.array_equal(warp(images, maps, 7, "nearest").numpy(), expected)


def test_bad_values_are_named():
    images = random_images(2, 8, 8)
    boxes = np.array([[0, 0, 8, 8]] * 2, dtype=np.float64)
    with pytest.raises(ValueError, match=r"'lanczos' is not one of \['bilinear', 'bicubic'\]"):
        resize_boxes(images, boxes, 4, "lanczos")
    with pytest.raises(ValueError, match="'box' is not one of"):
        warp(images, np.zeros((2, 6)), 0, "box")
    with pytest.raises(ValueError, match="uint8 batch of shape"):
        resize_boxes(images.float(), boxes, 4, "bilinear")
    with pytest.raises(ValueError, match=r"\(2, 4\) is needed"):
        resize_boxes(images, boxes[:1], 4, "bilinear")
    with pytest.raises(ValueError, match="flip has shape"):
        resize_boxes(images, boxes, 4, "bilinear", np.array([True]))
    with pytest.raises(ValueError, match="size 0"):
        resize_boxes(images, boxes, 0, "bilinear")
    for bad in ([0, 0, 0, 8], [0, 1, 8, 8], [-1, 0, 4, 4], [0, 0.5, 4, 4]):
        with pytest.raises(ValueError, match="is empty, not whole or leaves 8x8"):
            resize_boxes(images, np.array([[0, 0, 8, 8], bad], dtype=np.float64), 4, "bilinear")
