import gc
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

import recipes
from lightning_modules import Classifier, Execution, ImageData, fit
from lightning_modules.augment import RANDOM_BOXES, box_width
from lightning_modules.data import DataError
from lightning_modules.image_data import MEAN, STD
from lightning_modules.streams import draws, redrawn
from recipes import Recipe, edit, parse, stack

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

CROPPED = {"data.crop": "random_resized", "data.crop_area": 0.3, "data.flip": True}


@pytest.fixture(scope="session")
def cropped(tiny: Recipe) -> Recipe:
    return edit(tiny, CROPPED)


def opened(recipe: Recipe, cache: Path, seed: int = 0) -> ImageData:
    data = ImageData(recipe, cache=cache, seed=seed)
    data.setup()
    return data


def prepared(data: ImageData, epoch: int = 0) -> torch.Tensor:
    """Return what the network would see of an epoch, in the order of epoch 0."""
    return torch.cat([data.prepare(batch, epoch).images for batch in data.train_dataloader()])


def seen_in_training(recipe: Recipe, cache: Path) -> list[torch.Tensor]:
    """Return every batch of two epochs as the network got it, with its targets and place."""
    batches = []

    class Keep(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            batches.append((batch.images.clone(), batch.targets.clone(), batch.start))

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[Keep()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(Classifier(recipe), ImageData(recipe, cache=cache))
    assert len(batches) == 6
    return batches


# The same in every arm --------------------------------------------------------------------------


@pytest.mark.parametrize("added", ["se", "sd", "ls", "do", "ema", "resnetd", "wd"])
def test_no_other_component_changes_a_pixel_of_the_batches(cropped, cache, added):
    treated = stack(cropped, parse(added))
    assert treated != cropped
    before, after = seen_in_training(cropped, cache), seen_in_training(treated, cache)
    for (images, targets, start), (others, their, place) in zip(before, after, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(targets, their)
        assert start == place


def test_randaugment_changes_neither_the_order_nor_the_crops(cropped, cache):
    """The space has an identity: what draws it shows that the crop below is the same."""
    treated = edit(
        cropped,
        {
            "augment.randaug_layers": 1,
            "augment.randaug_space": "torchvision",
            "augment.randaug_magnitude": 9.0,
        },
    )
    before, after = seen_in_training(cropped, cache), seen_in_training(treated, cache)
    assert all(torch.equal(one[1], two[1]) for one, two in zip(before, after, strict=True))
    images, others = (torch.cat([batch[0] for batch in run]) for run in (before, after))
    same = (images == others).flatten(1).all(1).float().mean()
    assert 1 / 30 < same < 0.5  # 1 of torchvision's 14 operations is the identity


def test_a_random_crop_is_the_one_that_is_named(tiny, cache):
    uniforms = draws(0, "crop", 2, 7, 9, box_width())
    for crop, boxes_of in RANDOM_BOXES.items():
        data = opened(edit(tiny, CROPPED | {"data.crop": crop}), cache)
        found = data.random_boxes(2, 7, np.full(9, 40), np.full(9, 30))
        assert np.array_equal(found, boxes_of(uniforms, 40, 30, (0.3, 1.0)))


@pytest.mark.parametrize("crop", RANDOM_BOXES)
def test_crops_do_not_depend_on_the_batch_size(cropped, cache, crop):
    cropped = edit(cropped, {"data.crop": crop})
    parts = [
        prepared(opened(edit(cropped, {"data.batch_size": size}), cache)) for size in (8, 16, 32)
    ]
    count = min(map(len, parts))
    assert count == 96
    assert all(torch.equal(part[:count], parts[0][:count]) for part in parts)


def test_order_and_crops_vary_with_the_seed_and_the_epoch(cropped, cache):
    first = opened(cropped, cache)
    other = opened(cropped, cache, seed=1)
    assert torch.equal(prepared(first), prepared(opened(cropped, cache)))
    assert not torch.equal(prepared(first), prepared(other))
    boxes = [
        data.random_boxes(epoch, 0, np.full(50, 8), np.full(50, 8))
        for data, epoch in ((first, 0), (other, 0), (first, 1))
    ]
    assert not np.array_equal(boxes[0], boxes[1])
    assert not np.array_equal(boxes[0], boxes[2])
    run = seen_in_training(cropped, cache)
    assert not torch.equal(run[0][1], run[3][1])  # another order in the second epoch


# What is trained on and what is not -------------------------------------------------------------


def test_a_redraw_is_a_run_of_another_seed_and_nothing_else(cropped, cache):
    half = edit(cropped, {"data.train_fraction": 0.5})
    again, other = edit(half, {"optim.redraw": 1}), redrawn(3, 1)
    assert torch.equal(
        prepared(opened(again, cache, seed=3)), prepared(opened(half, cache, seed=other))
    )
    weights = [
        Classifier(recipe, seed=seed).network.state_dict()
        for recipe, seed in ((again, 3), (half, other), (half, 3))
    ]
    same, different = (
        {name for name, value in weights[0].items() if torch.equal(value, one[name])}
        for one in weights[1:]
    )
    assert same == set(weights[0])
    assert "conv1.weight" not in different


def test_minival_and_validation_are_never_trained_on(tiny, cache):
    whole = edit(tiny, {"data.train_fraction": 1.0, "data.batch_size": 2})
    data = opened(whole, cache)
    assert data.size("train") + data.size("minival") + data.size("validation") == 1797
    rows = {
        name: [row.numpy().tobytes() for batch in loader for row in batch.images]
        for name, loader in (
            ("train", data.train_dataloader()),
            ("minival", data.val_dataloader()),
            ("validation", data.test_dataloader()),
        )
    }
    assert len(rows["train"]) == data.size("train") // 2 * 2
    assert len(set(rows["train"])) == len(rows["train"])  # each image once an epoch
    assert set(rows["train"]).isdisjoint(rows["minival"])
    assert set(rows["train"]).isdisjoint(rows["validation"])
    assert set(rows["minival"]).isdisjoint(rows["validation"])


def test_minival_is_the_same_for_every_seed_and_fraction_and_the_subset_is_not(tiny, cache):
    def labels(part: str, seed: int) -> list[bytes]:
        data = opened(tiny, cache, seed=seed)
        loader = data.val_dataloader() if part == "minival" else data.train_dataloader()
        return [row.numpy().tobytes() for batch in loader for row in batch.images]

    assert labels("minival", 0) == labels("minival", 1)
    assert set(labels("train", 0)) != set(labels("train", 1))


def test_evaluation_is_in_one_order_and_without_augmentation(tiny, cropped, cache):
    treated = edit(
        cropped,
        {
            "augment.randaug_layers": 2,
            "augment.randaug_space": "timm",
            "augment.randaug_magnitude": 9.0,
        },
    )
    runs = []
    for recipe, seed in ((tiny, 0), (tiny, 1), (treated, 0)):
        data = opened(recipe, cache, seed=seed)
        ready = [data.prepare(batch, 3) for batch in data.test_dataloader()]
        runs.append((torch.cat([b.images for b in ready]), torch.cat([b.targets for b in ready])))
    for images, targets in runs[1:]:
        assert torch.equal(images, runs[0][0])
        assert torch.equal(targets, runs[0][1])
    assert len(runs[0][1]) == data.size("validation")


def test_the_split_that_evaluate_names_is_the_one_that_is_evaluated(tiny, cache):
    sizes = {}
    for split in ("validation", "minival"):
        data = opened(edit(tiny, {"evaluate.split": split}), cache)
        sizes[split] = sum(len(batch.targets) for batch in data.test_dataloader())
        assert sizes[split] == data.size(split)
    assert sizes["minival"] < sizes["validation"]


# Pixels -----------------------------------------------------------------------------------------


def test_images_are_normalised_by_imagenets_statistics(tiny, cache):
    data = opened(edit(tiny, {"data.resolution": 8, "evaluate.crop_fraction": 1.0}), cache)
    batch = next(iter(data.test_dataloader()))
    assert batch.images.dtype == torch.uint8
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    ready = data.prepare(batch, 0).images
    torch.testing.assert_close(ready, (batch.images / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert ready.is_contiguous(memory_format=torch.channels_last)


def test_a_flip_mirrors_about_half_of_the_images(tiny, cache):
    plain = prepared(opened(tiny, cache))
    flipped = prepared(opened(edit(tiny, {"data.flip": True}), cache))
    same = (plain == flipped).flatten(1).all(1)
    mirrored = (plain.flip(3) == flipped).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert 0.3 < mirrored.float().mean() < 0.7


def test_evaluate_resolution_and_crop_fraction_are_those_of_the_protocol(tiny, cache):
    data = opened(edit(tiny, {"evaluate.resolution": 4, "evaluate.crop_fraction": 0.5}), cache)
    batch = next(iter(data.test_dataloader()))
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    wanted = (batch.images[:, :, 2:6, 2:6] / 255 - mean) / std  # the middle 4 of 8 pixels
    torch.testing.assert_close(data.prepare(batch, 0).images, wanted, rtol=1e-5, atol=1e-5)


# Streaming and folders --------------------------------------------------------------------------


@pytest.mark.parametrize("crop", RANDOM_BOXES)
def test_streaming_crops_where_the_cache_crops(cropped, cache, crop):
    """At the stored size both see the same pixels; PIL and the batch engine round alike."""
    cropped = edit(cropped, {"data.crop": crop})
    stored = opened(cropped, cache)
    streamed = opened(edit(cropped, {"data.stored_size": 0}), cache)
    assert np.array_equal(
        *(data.random_boxes(1, 5, np.full(9, 8), np.full(9, 8)) for data in (stored, streamed))
    )
    difference = (prepared(stored) - prepared(streamed)).abs().max()
    assert difference < 2.5 / 255 / min(STD)  # at most two grey levels
    for loaders in zip(stored.test_dataloader(), streamed.test_dataloader(), strict=True):
        ours, theirs = (
            data.prepare(batch, 0) for data, batch in zip((stored, streamed), loaders, strict=True)
        )
        assert torch.equal(ours.targets, theirs.targets)
        assert (ours.images - theirs.images).abs().max() < 2.5 / 255 / min(STD)


def test_a_streamed_run_trains_as_one_from_the_cache(cropped, cache):
    streamed = seen_in_training(edit(cropped, {"data.stored_size": 0}), cache)
    stored = seen_in_training(cropped, cache)
    for (images, targets, start), (others, their, place) in zip(streamed, stored, strict=True):
        assert start == place
        assert torch.equal(targets, their)
        assert (images - others).abs().max() < 2.5 / 255 / min(STD)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue noise, as PNG and JPEG, of several sizes."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 8)):
        for color, name in enumerate(("red", "blue")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(20, 40, 2)
                pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
                pixels[:, :, 2 * color] += 150
                suffix = ("png", "jpg", "jpeg")[number % 3]
                Image.fromarray(pixels).save(root / part / name / f"{number}.{suffix}")
    return root


@pytest.mark.parametrize("stored_size", [24, 0])
def test_a_folder_of_png_and_jpeg_files_is_learnt(folder, tmp_path, stored_size):
    recipe = edit(
        recipes.load("tiny"),
        CROPPED
        | {
            "data.dataset": "imagefolder",
            "data.stored_size": stored_size,
            "data.batch_size": 8,
            "data.train_fraction": 1.0,
            "data.minival_fraction": 0.2,
            "optim.epochs": 3,
            "optim.lr": 1.6,
            "optim.warmup_epochs": 1.0,
        },
    )
    execution = Execution(device="cpu", threads=1, data_folder=folder, cache=tmp_path / "cache")
    result = fit(recipe, 0, execution, tmp_path / "run")
    assert result.evaluated_images == 16
    assert result.steps == 3 * (64 // 8)
    assert result.top1 == 100.0


def test_too_few_images_for_a_batch_is_said(tiny, cache):
    with pytest.raises(DataError, match="images do not fill one batch of 512: set data.batch_size"):
        opened(edit(tiny, {"data.batch_size": 512}), cache)


def test_a_temporary_cache_goes_with_its_data(tiny):
    data = ImageData(tiny)
    data.setup()
    place = data._cache
    assert place is not None
    assert any(place.iterdir())
    del data
    gc.collect()
    assert not place.exists()


def test_a_batch_that_cannot_be_divided_over_the_devices_is_refused(tiny, cache):
    data = ImageData(tiny, cache=cache)
    data.setup()
    data.trainer = type("Trainer", (), {"world_size": 3})()
    with pytest.raises(DataError, match="data.batch_size = 32 cannot be divided evenly over 3"):
        data.train_dataloader()


def test_data_that_are_not_those_of_the_plan_are_refused(tiny, cache):
    with pytest.raises(DataError, match="not those of the plan any more"):
        ImageData(tiny, cache=cache, expected="0" * 64).setup()
