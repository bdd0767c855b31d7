import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from lightning_modules.augment import operations as ops


def images_of_many_kinds(seed=0):
    """Noise, narrow ranges, flat images and few levels: (12, 3, 24, 18)."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (12, 3, 24, 18), dtype=np.uint8)
    images[1] = generator.integers(90, 120, images[1].shape)
    images[2] = 77
    images[3] = generator.choice([3, 200], images[3].shape)
    images[4] = generator.integers(0, 2, images[4].shape)
    images[5] = np.clip(generator.normal(60, 15, images[5].shape), 0, 255)
    images[6, 0], images[6, 1] = 0, 255
    images[7] = np.arange(18) * 14
    return torch.from_numpy(images)


def by_pil(images, function):
    """Apply `function(pil image, number of the image)` to each image."""
    results = []
    for n, image in enumerate(images):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        results.append(np.asarray(function(picture, n)))
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2)


def assert_close(result, expected, levels=0):
    assert result.dtype == torch.uint8
    assert result.shape == expected.shape
    assert (result.int() - expected.int()).abs().max() <= levels


FACTORS = np.array([0.0, 0.1, 0.37, 0.9, 1.0, 1.1, 1.72, 1.9, 2.8, 3.7, 0.55, 1.45])
ENHANCERS = {
    "color": (ops.color, ImageEnhance.Color),
    "brightness": (ops.brightness, ImageEnhance.Brightness),
    "sharpness": (ops.sharpness, ImageEnhance.Sharpness),
    "contrast": (
        lambda images, factors: ops.contrast(images, factors, ops.mean_greys(images)),
        ImageEnhance.Contrast,
    ),
}


@pytest.mark.parametrize("name", ENHANCERS)
@pytest.mark.parametrize("turn", range(3))
def test_enhancers_are_pil(name, turn):
    images, factors = images_of_many_kinds(turn), np.roll(FACTORS, turn)
    function, enhancer = ENHANCERS[name]
    expected = by_pil(images, lambda picture, n: enhancer(picture).enhance(float(factors[n])))
    assert_close(function(images, factors), expected, levels=1)
    exact = (function(images, factors) == expected).float().mean()
    assert exact > 0.999


def test_autocontrast_equalize_and_invert_are_pil():
    images = images_of_many_kinds()
    assert_close(ops.autocontrast(images), by_pil(images, lambda p, n: ImageOps.autocontrast(p)))
    assert_close(ops.equalize(images), by_pil(images, lambda p, n: ImageOps.equalize(p)))
    assert_close(ops.invert(images), by_pil(images, lambda p, n: ImageOps.invert(p)))


def test_equalize_is_pil_on_a_large_image():
    images = (torch.rand(2, 3, 200, 150) ** 3 * 255).to(torch.uint8)
    assert_close(ops.equalize(images), by_pil(images, lambda p, n: ImageOps.equalize(p)))


def test_posterize_solarize_and_solarize_add_follow_their_formulas():
    images = images_of_many_kinds()
    bits = np.array([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4])
    expected = by_pil(images, lambda p, n: ImageOps.posterize(p, int(bits[n])))
    assert_close(ops.posterize(images, bits), expected)
    thresholds = np.linspace(0, 256, 12)
    expected = by_pil(images, lambda p, n: ImageOps.solarize(p, float(thresholds[n])))
    assert_close(ops.solarize(images, thresholds), expected)
    additions = np.arange(12) * 20.0
    pixels, added = images.numpy().astype(int), additions.astype(int)[:, None, None, None]
    expected = np.where(pixels < 128, np.minimum(pixels + added, 255), pixels)
    assert np.array_equal(ops.solarize_add(images, additions).numpy(), expected)


@pytest.mark.parametrize("bits", [0, 9])
def test_posterize_names_bad_bits(bits):
    with pytest.raises(ValueError, match=f"1 to 8 bits, got {bits} to {bits}"):
        ops.posterize(images_of_many_kinds(), np.full(12, bits))


def test_counted_greys_are_a_number_of_pixels():
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    assert ops.counted_greys(image, 1.0).item() == 224 * 224 // 256 == 196
    assert ops.counted_greys(image, 224 / 256).item() == 255
    assert ops.counted_greys(image[:, :, :32, :32], 1.0).item() == 4
    assert ops.counted_greys(image.repeat(1, 1, 2, 2), 1.0).item() == 255


def tensorflow_contrast(image, factor):
    """One image (H, W, 3) by the steps of the paper's code, autoaugment.py, in NumPy alone."""
    grey = np.round(image @ np.array([0.2989, 0.587, 0.114])).astype(int)
    counts = np.bincount(grey.reshape(-1), minlength=256)
    target = min(counts.sum() / 256.0, 255.0)  # how many pixels there are, not how bright
    start, end = np.full(image.shape, int(target), np.float32), image.astype(np.float32)
    return np.clip(start + np.float32(factor) * (end - start), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [16, 160, 300])
def test_contrast_with_counted_greys_is_that_of_the_paper(side):
    generator = np.random.default_rng(side)
    pixels = generator.integers(0, 256, (len(FACTORS), side, side, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    found = ops.contrast(images, FACTORS, ops.counted_greys(images, 1.0))
    for image, factor, result in zip(pixels, FACTORS, found, strict=True):
        assert np.array_equal(result.permute(1, 2, 0), tensorflow_contrast(image, factor))


def test_mean_greys_are_pil():
    images = images_of_many_kinds()
    flat = by_pil(images, lambda p, n: ImageEnhance.Contrast(p).degenerate)
    assert torch.equal(ops.mean_greys(images), flat[:, 0, 0, 0].float())


GEOMETRY = {
    "rotate": lambda p, v, k: p.rotate(v, k, fillcolor=(128, 128, 128)),
    "shear_x": lambda p, v, k: moved(p, (1, v, 0, 0, 1, 0), k),
    "shear_y": lambda p, v, k: moved(p, (1, 0, 0, v, 1, 0), k),
    "translate_x": lambda p, v, k: moved(p, (1, 0, v, 0, 1, 0), k),
    "translate_y": lambda p, v, k: moved(p, (1, 0, 0, 0, 1, v), k),
}
GEOMETRY_VALUES = {
    "rotate": np.array([-45.0, -30, -13.7, 0, 5, 30, 45, 60, -60, 17, 22, 3]),
    "shear": np.array([-0.45, -0.3, 0, 0.15, 0.3, 0.45, 0.61, -0.61, 0.02, -0.01, 0.33, 0.1]),
    "translate": np.array([-150.0, -18, -7.3, -1, 0, 0.4, 1, 2.2, 6, 17, 24, 100]),
}


def moved(picture, matrix, kernel):
    fill = (128, 128, 128)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, kernel, fillcolor=fill)


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic"])
def test_geometry_is_pil(name, kernel):
    images, values = images_of_many_kinds(), GEOMETRY_VALUES[name.split("_")[0]]
    pil_kernel = Image.Resampling[kernel.upper()]
    expected = by_pil(images, lambda p, n: GEOMETRY[name](p, float(values[n]), pil_kernel))
    anchor = (0.0,) if name.startswith("shear") else ()
    result = getattr(ops, name)(images, values, *anchor, 128, kernel)
    off = (result.int() - expected.int()).abs()
    assert (
        off > 1
    ).float().mean() < 0.002  # PIL's fixed point on pixel boundaries; 0.6 would lie on many


@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_shear_with_the_anchor_of_tensorflow_keeps_the_first_line(name):
    images = images_of_many_kinds()
    levels = GEOMETRY_VALUES["shear"]
    result = getattr(ops, name)(images, levels, 0.5, 128, "nearest").numpy()
    source = images.numpy() if name == "shear_x" else images.numpy().swapaxes(2, 3)
    result = result if name == "shear_x" else result.swapaxes(2, 3)
    height, width = source.shape[2:]
    for n, level in enumerate(levels):
        for y in range(height):
            column = np.floor(np.arange(width) + level * y + 0.5).astype(int)  # x' = x + level y
            inside = (column >= 0) & (column < width)
            clear = np.abs((np.arange(width) + level * y + 0.5) % 1 - 0.5) < 0.499  # no ties
            expected = np.where(inside, source[n, :, y, np.clip(column, 0, width - 1)].T, 128)
            assert np.array_equal(result[n, :, y, clear], expected[:, clear].T)
    assert np.array_equal(result[:, :, 0], source[:, :, 0])


def test_cutout_fills_a_square_cut_at_the_border():
    images = images_of_many_kinds()
    generator = np.random.default_rng(1)
    centers, halves = generator.uniform(size=(12, 2)), np.arange(12)
    result = ops.cutout(images, halves, centers, 128)
    for n in range(12):
        row, column = int(centers[n, 0] * 24), int(centers[n, 1] * 18)
        half = int(halves[n])
        expected = images[n].clone()
        expected[:, max(0, row - half) : row + half, max(0, column - half) : column + half] = 128
        assert torch.equal(result[n], expected)


def test_operations_leave_the_input_alone():
    images = images_of_many_kinds()
    kept = images.clone()
    values = np.full(12, 4.0)
    ops.autocontrast(images), ops.equalize(images), ops.invert(images)
    ops.posterize(images, values), ops.solarize(images, values), ops.solarize_add(images, values)
    ops.color(images, values), ops.brightness(images, values), ops.sharpness(images, values)
    ops.contrast(images, values, ops.mean_greys(images))
    ops.cutout(images, values, np.full((12, 2), 0.5), 128)
    ops.rotate(images, values, 128, "nearest")
    ops.translate_x(images, values, 128, "bicubic")
    assert torch.equal(images, kept)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_work(side):
    images = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    factors = np.array([0.5, 1.9, 2.8])
    expected = by_pil(images, lambda p, n: ImageEnhance.Sharpness(p).enhance(float(factors[n])))
    assert_close(ops.sharpness(images, factors), expected, levels=1)
    assert_close(ops.equalize(images), by_pil(images, lambda p, n: ImageOps.equalize(p)))
