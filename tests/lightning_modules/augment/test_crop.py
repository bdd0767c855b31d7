import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop

from lightning_modules.augment.crop import (
    RANDOM_BOXES,
    SHIFT_WIDTH,
    box_width,
    center_boxes,
    distorted_boxes,
    random_resized_boxes,
    random_shift_boxes,
    shift,
)
from lightning_modules.streams import draws


def reference_box(uniforms, height, width, area, ratio, attempts):
    """One box by a loop, as torchvision's documentation tells it."""
    for attempt in range(attempts):
        target = height * width * (area[0] + (area[1] - area[0]) * uniforms[attempt])
        low, high = math.log(ratio[0]), math.log(ratio[1])
        aspect = math.exp(low + (high - low) * uniforms[attempts + attempt])
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(uniforms[-2] * (height - h + 1))
            return top, int(uniforms[-1] * (width - w + 1)), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.9, 1.0), (1.0, 1.0)])
def test_boxes_follow_the_loop(area):
    generator = np.random.default_rng(0)
    heights, widths = generator.integers(8, 400, 300), generator.integers(8, 400, 300)
    uniforms = draws(0, "crop", 0, 0, 300, box_width())
    boxes = random_resized_boxes(uniforms, heights, widths, area)
    expected = [
        reference_box(row, height, width, area, (3 / 4, 4 / 3), 10)
        for row, height, width in zip(uniforms, heights.tolist(), widths.tolist(), strict=True)
    ]
    assert np.array_equal(boxes, expected)


def test_boxes_have_the_law_of_torchvision():
    torch.manual_seed(0)
    image = torch.zeros(3, 90, 60)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    )
    ours = random_resized_boxes(draws(0, "crop", 0, 0, 3000, box_width()), 90, 60)
    error = theirs.std(axis=0) / math.sqrt(1500)
    assert (np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) < 4 * error).all()
    assert np.allclose(theirs.std(axis=0), ours.std(axis=0), rtol=0.08)


def tensorflow_box(uniforms, height, width, area, attempts=10):
    """One crop of the paper's code by a loop: sample_distorted_bounding_box, then the fallback."""
    least, most = (share * (height * width) for share in area)
    for attempt in range(attempts):
        aspect = 0.75 + uniforms[attempt] * (4 / 3 - 0.75)
        lowest, highest = round(math.sqrt(least / aspect)), round(math.sqrt(most / aspect))
        while round(highest * aspect) > width:  # down to the largest that is not too wide
            highest -= 1
        highest = min(highest, height)
        lowest = min(lowest, highest)
        tall = lowest + int(uniforms[attempts + attempt] * (highest - lowest + 1))
        if tall * round(tall * aspect) < least:
            tall += 1
        if tall * round(tall * aspect) > most:
            tall -= 1
        wide = round(tall * aspect)
        if not least <= tall * wide <= most or not (0 < tall <= height and 0 < wide <= width):
            continue
        if tall * wide / (height * width) < 0.1:  # min_object_covered
            continue
        if (tall, wide) == (height, width):
            break
        top = int(uniforms[-2] * (height - tall)) if tall < height else 0
        left = int(uniforms[-1] * (width - wide)) if wide < width else 0
        return top, left, tall, wide
    side = max(1, int(min(height, width) * 0.875))  # the evaluation crop
    return (height - side + 1) // 2, (width - side + 1) // 2, side, side


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.3, 0.5), (0.9, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("sides", [(1, 12), (8, 400)])
def test_distorted_boxes_follow_the_loop(area, sides):
    generator = np.random.default_rng(0)
    heights, widths = generator.integers(*sides, 2000), generator.integers(*sides, 2000)
    uniforms = draws(0, "crop", 0, 0, 2000, box_width())
    boxes = distorted_boxes(uniforms, heights, widths, area)
    expected = [
        tensorflow_box(row, height, width, area)
        for row, height, width in zip(uniforms, heights.tolist(), widths.tolist(), strict=True)
    ]
    assert np.array_equal(boxes, expected)


def test_distorted_boxes_have_their_own_law():
    boxes = distorted_boxes(draws(0, "crop", 0, 0, 40_000, box_width()), 375, 500)
    top, left, tall, wide = boxes.T
    area = tall * wide / (375 * 500)
    # The law of the algorithm, over 200,000 draws; torchvision's mean here is 0.433.
    assert area.mean() == pytest.approx(0.388, abs=0.004)
    assert np.median(area) == pytest.approx(0.354, abs=0.005)
    assert area.min() >= 0.1
    aspect = (wide / tall)[area > 0.15]  # uniform, so its middle is that of the limits
    assert (aspect < (3 / 4 + 4 / 3) / 2).mean() == pytest.approx(0.53, abs=0.05)
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    free_y, free_x = 375 - tall, 500 - wide  # TensorFlow never ends at the lower or right border
    assert (top[free_y > 0] < free_y[free_y > 0]).all()
    assert (left[free_x > 0] < free_x[free_x > 0]).all()


def test_what_no_distorted_box_fits_gets_the_centre_square():
    boxes = distorted_boxes(draws(0, "crop", 0, 0, 50, box_width()), 20, 400, (0.5, 1.0))
    assert (boxes == center_boxes(20, 400, 0.875)).all()


@pytest.mark.parametrize("boxes_of", [random_resized_boxes, distorted_boxes])
def test_boxes_are_whole_pixels_inside_the_image(boxes_of):
    boxes = boxes_of(draws(1, "crop", 0, 0, 500, box_width(3)), 7, 5, attempts=3)
    top, left, tall, wide = boxes.T
    assert np.array_equal(boxes, np.floor(boxes))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert ((top + tall <= 7) & (left + wide <= 5) & (tall >= 1) & (wide >= 1)).all()


@pytest.mark.parametrize("boxes_of", [random_resized_boxes, distorted_boxes])
def test_batches_do_not_change_a_box(boxes_of):
    whole = boxes_of(draws(0, "crop", 3, 0, 10, box_width()), 32, 32)
    parts = [boxes_of(draws(0, "crop", 3, start, 5, box_width()), 32, 32) for start in (0, 5)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("height", "width", "fraction", "box"),
    [
        (256, 256, 0.875, (16, 16, 224, 224)),
        (32, 32, 0.875, (2, 2, 28, 28)),
        (500, 333, 0.875, (105, 21, 291, 291)),  # int(291.4); margins 209 and 42, half up
        (32, 32, 1.0, (0, 0, 32, 32)),
        (10, 10, 0.7, (2, 2, 7, 7)),
    ],
)
def test_the_centre_square(height, width, fraction, box):
    assert center_boxes(height, width, fraction).tolist() == [list(map(float, box))]


def test_the_centre_square_of_many_sizes():
    boxes = center_boxes(np.array([256, 32]), np.array([256, 32]), 0.875)
    assert boxes.tolist() == [[16, 16, 224, 224], [2, 2, 28, 28]]


def test_shifts_are_uniform_over_the_padding():
    boxes = random_shift_boxes(draws(0, "shift", 0, 0, 9000, SHIFT_WIDTH), 32, 24, 4)
    assert (boxes[:, 2:] == (32, 24)).all()
    for column in (0, 1):
        counts = np.bincount(boxes[:, column].astype(int) + 4, minlength=9)
        assert len(counts) == 9
        assert ((counts - 1000) ** 2 / 1000).sum() < 26.1  # chi-square, 8 degrees, p = 0.001


def test_shift_is_pad_then_crop():
    images = torch.randint(0, 256, (20, 3, 12, 9), dtype=torch.uint8)
    boxes = random_shift_boxes(draws(0, "shift", 0, 0, 20, SHIFT_WIDTH), 12, 9, 4)
    padded = F.pad(images.float(), (4, 4, 4, 4), mode="reflect").to(torch.uint8)
    kept = images.clone()
    moved = shift(images, boxes[:, :2], 4)
    for n, (top, left) in enumerate(boxes[:, :2].astype(int) + 4):
        assert torch.equal(moved[n], padded[n, :, top : top + 12, left : left + 9])
    assert torch.equal(images, kept)
    assert torch.equal(shift(images, np.zeros((20, 2)), 4), images)


def test_bad_values_are_named():
    uniforms = np.zeros((2, box_width()))
    for boxes_of in RANDOM_BOXES.values():
        with pytest.raises(ValueError, match=r"\(N, 22\) is needed for 10 attempts"):
            boxes_of(uniforms[:, :4], 8, 8)
        with pytest.raises(ValueError, match="area is"):
            boxes_of(uniforms, 8, 8, area=(0.0, 1.0))
        with pytest.raises(ValueError, match="ratio is"):
            boxes_of(uniforms, 8, 8, ratio=(2.0, 1.0))
    with pytest.raises(ValueError, match="fraction is 1.5"):
        center_boxes(8, 8, 1.5)
    with pytest.raises(ValueError, match="padding is -1"):
        random_shift_boxes(np.zeros((2, 2)), 8, 8, -1)
    with pytest.raises(ValueError, match=r"\(N, 2\) is needed"):
        random_shift_boxes(np.zeros((2, 3)), 8, 8, 4)
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"padding 4 is not in 0 ... 3"):
        shift(images, np.zeros((1, 2)), 4)
    with pytest.raises(ValueError, match="at most 2"):
        shift(images, np.array([[3, 0]]), 2)
    with pytest.raises(ValueError, match="whole pixels"):
        shift(images, np.array([[0.5, 0]]), 2)
