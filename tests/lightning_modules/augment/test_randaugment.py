import numpy as np
import pytest
import timm.data.auto_augment as timm_source
import torch
from torchvision.transforms import RandAugment as TorchvisionRandAugment

from lightning_modules.augment import operations as ops
from lightning_modules.augment.randaugment import WIDTH, RandAugment
from lightning_modules.augment.spaces import SPACES, operation_names
from lightning_modules.augment.warping import warp
from lightning_modules.streams import draws

ALL = sorted(SPACES)


def random_images(count, height=20, width=16, seed=0):
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def arguments(space, magnitude, **settings):
    described = RandAugment(2, space, magnitude=magnitude, **settings).describe()
    return {
        name: next(iter(entry.values()), None) for name, entry in described["operations"].items()
    }


# The table of paper/facts.md 3.6: M, rotate, shear, translate, factor, bits, Solarize without and
# with the wrap of TensorFlow 2, SolarizeAdd, Cutout.
PAPER = [
    (10, 30.0, 0.30, 100.0, 1.9, 4, 256, 0, 110, 40),
    (15, 45.0, 0.45, 150.0, 2.8, 6, 384, 128, 165, 60),
    (20, 60.0, 0.60, 200.0, 3.7, 8, 512, 0, 220, 80),
]


@pytest.mark.parametrize("row", PAPER, ids=lambda row: f"m{row[0]}")
def test_magnitudes_are_those_of_the_paper(row):
    magnitude, rotate, shear, translate, factor, bits, threshold, wrapped, add, half = row
    found = arguments("resnet_rs", magnitude)
    assert found["Rotate"] == pytest.approx([-rotate, rotate])
    assert found["ShearX"] == found["ShearY"] == pytest.approx([-shear, shear])
    assert found["TranslateX"] == found["TranslateY"] == pytest.approx([-translate, translate])
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert found[name] == pytest.approx(factor)
    assert (found["Posterize"], found["Solarize"]) == (bits, threshold)
    assert (found["SolarizeAdd"], found["Cutout"]) == (add, half)
    assert arguments("resnet_rs", magnitude, solarize_wrap=True)["Solarize"] == wrapped
    for name in ("AutoContrast", "Equalize", "Invert"):
        assert found[name] is None


def test_pixel_scale_moves_only_the_constants_in_pixels():
    whole, scaled = arguments("resnet_rs", 15), arguments("resnet_rs", 15, pixel_scale=32 / 256)
    changed = {name for name in whole if whole[name] != scaled[name]}
    assert changed == {"TranslateX", "TranslateY", "Cutout"}
    assert scaled["TranslateX"] == [-18.75, 18.75]
    assert scaled["Cutout"] == 7
    assert RandAugment(2, "resnet_rs", magnitude=15).describe()["contrast_target"] == "pixel_count"


@pytest.mark.parametrize("magnitude", [3, 7, 9, 10, 15])
def test_the_timm_space_is_the_installed_timm(magnitude, monkeypatch):
    policy = timm_source.rand_augment_transform(f"rand-m{magnitude}-n2", {})
    theirs = {op.name.removesuffix("Rel"): op for op in policy.ops}
    assert tuple(theirs) == operation_names("timm")
    assert {op.prob for op in policy.ops} == {SPACES["timm"].probability}
    found = arguments("timm", magnitude)
    monkeypatch.setattr(timm_source, "_randomly_negate", abs)
    for name, op in theirs.items():
        if op.level_fn is None:
            assert found[name] is None
        else:
            (expected,) = op.level_fn(min(magnitude, 10), op.hparams)
            highest = found[name][1] if isinstance(found[name], list) else found[name]
            assert highest == pytest.approx(max(1, expected) if name == "Posterize" else expected)
    signed = {name for name in theirs if isinstance(found[name], list)}
    assert signed == {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}


@pytest.mark.parametrize("magnitude", [0, 9, 15, 30])
def test_the_torchvision_space_is_the_installed_torchvision(magnitude):
    theirs = TorchvisionRandAugment()._augmentation_space(31, (1, 1))
    assert tuple(theirs) == operation_names("torchvision")
    found = arguments("torchvision", magnitude)
    for name, (magnitudes, signed) in theirs.items():
        if magnitudes.ndim == 0:
            assert found[name] is None
            continue
        value = float(magnitudes[magnitude])
        if name in ("Color", "Contrast", "Brightness", "Sharpness"):
            assert found[name] == pytest.approx([1 - value, 1 + value])
        elif signed:
            assert found[name] == pytest.approx([-value, value], abs=1e-6)
        else:
            assert found[name] == pytest.approx(value, abs=1e-4)


def expected_image(space, image, name, value, uniforms, pixel_scale):
    """One operation on one image (1, 3, H, W), written without groups or mixtures."""
    rules, values = SPACES[space], np.array([value])
    height, width = image.shape[2:]
    kernel = rules.kernels[int(uniforms[5] * len(rules.kernels))]
    if name.startswith("Translate"):
        pixels = value if space == "resnet_rs" else value * (width if name[-1] == "X" else height)
        pixels = float(int(pixels)) if space == "torchvision" else pixels
        x, y = (pixels, 0.0) if name[-1] == "X" else (0.0, pixels)
        return warp(image, np.array([[1, 0, x, 0, 1, y]]), rules.fill, kernel)
    if name.startswith("Shear"):
        shear = ops.shear_x if name[-1] == "X" else ops.shear_y
        return shear(image, values, 0.5 if space == "resnet_rs" else 0.0, rules.fill, kernel)
    if name == "Contrast":
        counted = ops.counted_greys(image, pixel_scale)
        return ops.contrast(
            image, values, counted if space == "resnet_rs" else ops.mean_greys(image)
        )
    plain = {
        "AutoContrast": lambda: ops.autocontrast(image),
        "Equalize": lambda: ops.equalize(image),
        "Invert": lambda: ops.invert(image),
        "Identity": lambda: image,
        "Rotate": lambda: ops.rotate(image, values, rules.fill, kernel),
        "Posterize": lambda: ops.posterize(image, values),
        "Solarize": lambda: ops.solarize(image, values),
        "SolarizeAdd": lambda: ops.solarize_add(image, values),
        "Color": lambda: ops.color(image, values),
        "Brightness": lambda: ops.brightness(image, values),
        "Sharpness": lambda: ops.sharpness(image, values),
        "Cutout": lambda: ops.cutout(image, values, uniforms[None, 3:5], rules.fill),
    }
    return plain[name]()


@pytest.mark.parametrize("space", ALL)
def test_a_batch_is_its_images_one_by_one(space):
    images, scale = random_images(150), 16 / 256
    augment = RandAugment(1, space, pixel_scale=scale, magnitude=9)
    result = augment(images, 4, 2, 30)
    uniforms = draws(4, ("randaugment", 0), 2, 30, 150, WIDTH)
    names, found, seen = operation_names(space), arguments(space, 9, pixel_scale=scale), set()
    for n, row in enumerate(uniforms):
        name = names[int(row[0] * len(names))]
        value = found[name]
        if isinstance(value, list):
            value = value[int(row[2] >= 0.5)]
        image = images[n : n + 1]
        if row[1] < SPACES[space].probability:
            seen.add(name)
            image = expected_image(space, image, name, value, row, scale)
        assert torch.equal(result[n], image[0]), (n, name)
    assert seen == set(names)


@pytest.mark.parametrize("space", ALL)
def test_batch_size_and_rank_do_not_matter(space):
    images = random_images(40)
    augment = RandAugment(3, space, magnitude=8)
    whole = augment(images, 1, 5, 100)
    for cuts in ([0, 20, 40], [0, 1, 2, 39, 40]):
        pairs = zip(cuts[:-1], cuts[1:], strict=True)
        parts = [augment(images[low:high], 1, 5, 100 + low) for low, high in pairs]
        assert torch.equal(torch.cat(parts), whole)


def test_layers_are_applied_in_turn_and_the_first_does_not_depend_on_their_number():
    images = random_images(30)
    one, two = (RandAugment(layers, "resnet_rs", magnitude=10) for layers in (1, 2))
    first = one(images, 0, 0, 0)
    rows = draws(0, ("randaugment", 1), 0, 0, 30, WIDTH)
    assert torch.equal(two(images, 0, 0, 0), two._layer(first, rows))


@pytest.mark.parametrize("space", ALL)
def test_operations_are_chosen_uniformly(space):
    names = operation_names(space)
    uniforms = draws(0, ("randaugment", 0), 0, 0, 1000 * len(names), WIDTH)
    counts = np.bincount((uniforms[:, 0] * len(names)).astype(int), minlength=len(names))
    assert len(counts) == len(names)
    assert ((counts - 1000) ** 2 / 1000).sum() < 39.3  # chi-square, 15 degrees, p = 0.0006


@pytest.mark.parametrize("space", ALL)
def test_seed_and_epoch_change_the_images_and_the_input_is_left_alone(space):
    images = random_images(20)
    kept = images.clone()
    augment = RandAugment(2, space, magnitude=9)
    results = [augment(images, *key) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 20))]
    assert all(result.dtype == torch.uint8 and result.shape == images.shape for result in results)
    assert torch.equal(results[0], augment(images, 0, 0, 0))
    assert all(not torch.equal(results[0], other) for other in results[1:])
    assert torch.equal(images, kept)


def test_global_random_state_is_neither_read_nor_moved():
    images = random_images(20)
    augment = RandAugment(2, "timm", magnitude=9)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = augment(images, 0, 0, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(augment(images, 0, 0, 0), first)


def test_magnitude_moves_the_strength_but_not_the_choices():
    images = random_images(200)
    augment = RandAugment(1, "resnet_rs", pixel_scale=1 / 16, magnitude=2)
    weak = augment(images, 0, 0, 0)
    augment.magnitude = 12.5
    strong = augment(images, 0, 0, 0)
    rows = draws(0, ("randaugment", 0), 0, 0, 200, WIDTH)
    names = np.array(operation_names("resnet_rs"))[(rows[:, 0] * 16).astype(int)]
    same = (weak == strong).flatten(1).all(1).numpy()
    fixed = np.isin(names, ["AutoContrast", "Equalize", "Invert"])
    assert same[fixed].all()
    assert not same[~fixed].any()
    assert augment.describe()["magnitude"] == 12.5


@pytest.mark.parametrize("space", ALL)
@pytest.mark.parametrize("magnitude", [0, 0.5, 29.9, 30])
def test_every_accepted_magnitude_runs(space, magnitude):
    images = random_images(64, 8, 8)
    RandAugment(2, space, magnitude=magnitude)(images, 0, 0, 0)


def test_non_square_images_and_channels_last_give_the_same_pixels():
    images = random_images(50, 12, 31)
    augment = RandAugment(2, "resnet_rs", magnitude=9)
    last = images.to(memory_format=torch.channels_last)
    assert torch.equal(augment(images, 0, 0, 0), augment(last, 0, 0, 0))


def test_bad_values_are_named_with_the_choices():
    with pytest.raises(
        ValueError, match=r"'tf' is not one of \['resnet_rs', 'timm', 'torchvision'"
    ):
        RandAugment(2, "tf")
    with pytest.raises(ValueError, match="is not one of"):
        operation_names("tf")
    with pytest.raises(ValueError, match="layers is 0"):
        RandAugment(0, "timm")
    with pytest.raises(ValueError, match="pixel_scale is 0"):
        RandAugment(2, "resnet_rs", pixel_scale=0)
    with pytest.raises(ValueError, match="solarize_wrap is for the space 'resnet_rs', not 'timm'"):
        RandAugment(2, "timm", solarize_wrap=True)
    with pytest.raises(ValueError, match="no magnitude yet"):
        RandAugment(2, "timm")(random_images(2), 0, 0, 0)
    for space, value in (("torchvision", 31), ("timm", -1), ("resnet_rs", float("nan"))):
        with pytest.raises(ValueError, match=f"magnitude is .*{space}"):
            RandAugment(2, space).magnitude = value
    with pytest.raises(ValueError, match="uint8 batch"):
        RandAugment(2, "timm", magnitude=9)(random_images(2).float(), 0, 0, 0)
