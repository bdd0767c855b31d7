"""Batches that are augmented together are those that are augmented one by one, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_modules import ImageData
from lightning_modules.feeding import Loader
from lightning_modules.opened import HOST, resident
from lightning_modules.streams import permutation
from recipes import Recipe, edit, linear

RANDAUGMENT = {
    "augment.randaug_layers": 2,
    "augment.randaug_magnitude": 8.0,
    "augment.randaug_space": "resnet_rs",
    "augment.randaug_pixel_scale": 0.0625,
}
CROPPED = {"data.crop": "random_resized", "data.crop_area": 0.3, "data.flip": True}
SHIFTED = {"data.crop": "shift", "data.crop_padding": 2}
STREAMED = CROPPED | {"data.stored_size": 0, "data.resolution": 20}
ODD = {"data.batch_size": 13, "data.train_fraction": 0.9}  # 84 images together, of 972


def opened(recipe: Recipe, cache) -> ImageData:
    data = ImageData(recipe, cache=cache, seed=5)
    data.setup()
    return data


def one_by_one(data: ImageData, epoch: int):
    """Return the batches of an epoch, each gathered and prepared by itself."""
    size, count = data.recipe.data.batch_size, data.size("train")
    order = permutation(data.seed, "order", epoch, count)
    loader = Loader(data, "train")
    for step in range(data.steps_per_epoch):
        yield data.prepare(loader.batch(order, step * size, epoch, size), epoch)


@pytest.mark.parametrize(
    "changes",
    [RANDAUGMENT, CROPPED, SHIFTED, ODD, RANDAUGMENT | CROPPED | ODD, RANDAUGMENT | STREAMED],
    ids=["randaugment", "cropped", "shifted", "odd", "all", "streamed"],
)
def test_batches_do_not_depend_on_those_prepared_with_them(tiny, cache, changes):
    data = opened(edit(tiny, changes), cache)
    loader = Loader(data, "train")
    assert loader.together > 1
    for epoch in (0, 1):
        size, given = loader.batch_size, list(loader.batches(epoch))
        assert [batch.start for batch in given] == list(range(0, len(loader) * size, size))
        for batch, expected in zip(given, one_by_one(data, epoch), strict=True):
            assert batch.images.dtype == torch.uint8
            ready = data.prepare(batch, epoch)
            assert torch.equal(ready.images, expected.images)
            assert torch.equal(ready.targets, expected.targets)


def test_a_magnitude_that_is_moved_holds_from_the_next_batch_on(tiny, cache):
    recipe = edit(tiny, RANDAUGMENT)
    data, other = opened(recipe, cache), opened(recipe, cache)
    expected = list(one_by_one(other, 0))[:1]
    other.set_magnitude(3.0)
    expected += list(one_by_one(other, 0))[1:]
    found = []
    for batch in data.train_dataloader():
        found.append(data.prepare(batch, 0).images)
        data.set_magnitude(3.0)
    assert all(torch.equal(one, batch.images) for one, batch in zip(found, expected, strict=True))


def test_where_every_step_has_its_own_magnitude_batches_are_prepared_one_by_one(tiny, cache):
    moving = edit(tiny, RANDAUGMENT | {"augment.randaug_magnitude": linear(2.0, 10.0)})
    assert Loader(opened(moving, cache), "train").together == 1


def test_batches_that_are_ready_ahead_are_the_same(tiny, cache):
    """As for a GPU, which this machine may lack: the path of decoded sets, with a stored one."""
    data = opened(edit(tiny, RANDAUGMENT), cache)
    loader = Loader(data, "train")
    order, ahead = permutation(data.seed, "order", 1, data.size("train")), 128
    starts = range(0, len(order), ahead)
    host = [*loader._groups(order, starts, 1, ahead, HOST)]
    gathered = loader.batch
    loader.batch = lambda *arguments: gathered(*arguments[:4])  # with no GPU to gather on
    ready = [*loader._groups(order, starts, 1, ahead, torch.device("cuda"))]
    for one, other in zip(host, ready, strict=True):
        assert one.start == other.start
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_a_gpu_keeps_a_set_that_takes_little_of_it():
    stored = np.arange(48, dtype=np.uint8).reshape(4, 3, 2, 2)
    kept = resident(stored, HOST, 8 * stored.nbytes)
    assert torch.equal(kept, torch.from_numpy(stored))
    assert resident(stored, HOST, 8 * stored.nbytes - 8) is None


@pytest.mark.gpu
def test_a_gpu_is_given_the_same_images(tiny, cache):
    data, device = opened(tiny, cache), torch.device("cuda", 0)
    part, places = data.part("train"), np.array([5, 0, 9])
    on_gpu = part.gather(places, device)
    assert on_gpu.device == device
    assert torch.equal(on_gpu.cpu(), part.gather(places))
    part._resident = lambda device: None
    pinned = part.gather(places, device)
    assert pinned.is_pinned()
    assert torch.equal(pinned, part.gather(places))


def test_large_batches_are_prepared_one_by_one(tiny, cache):
    data = opened(edit(tiny, {"data.resolution": 1024}), cache)
    assert Loader(data, "train").together == 1
