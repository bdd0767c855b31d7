"""The evaluated images, opened to be looked at: the same as in training, and cheap."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import (
    DataError,
    DataSpec,
    Items,
    open_source,
    parse_data,
    training_parts,
)
from lightning_modules.data.evaluated import glance, open_evaluated
from recipes import Data, load
from tests.lightning_modules.data.conftest import write_folders, write_image
from tests.lightning_modules.data.test_decode import make_old
from tests.lightning_modules.data.test_imagenet import WNIDS, write_imagenet
from tests.lightning_modules.data.test_shards import write_set

DATA: Data = load("tiny").data


def same(found: Items, wanted: Items) -> bool:
    return found.names == wanted.names and found.labels.tolist() == wanted.labels.tolist()


def test_class_folders_are_those_of_the_training_and_no_training_image_is_listed(
    tmp_path: Path,
) -> None:
    root, memory = write_folders(tmp_path / "data", classes="cab"), tmp_path / "memory"
    spec = DataSpec("imagefolder", root)
    whole = open_source(spec)
    for folder in (root / "train").iterdir():
        shutil.rmtree(folder)
    classes, items = open_evaluated(spec, DATA, "validation", memory)
    assert classes == whole.classes and same(items, whole.validation)
    assert np.array_equal(glance(items, 3, 96), whole.validation.read(3))
    assert not memory.exists()


@pytest.mark.parametrize("flat", [True, False])
def test_imagenet_is_that_of_the_training(tmp_path: Path, flat: bool) -> None:
    root = tmp_path / "data"
    write_imagenet(root)
    (root / "val.txt").write_text(
        "\n".join(f"ILSVRC2012_val_{k:08d}.JPEG {k * 2 % 3}" for k in range(1, 7))
    )
    if not flat:
        for k in range(1, 7):
            name = f"ILSVRC2012_val_{k:08d}.JPEG"
            (root / "val" / WNIDS[k * 2 % 3]).mkdir(exist_ok=True)
            (root / "val" / name).rename(root / "val" / WNIDS[k * 2 % 3] / name)
    spec = DataSpec("imagenet", root)
    whole = open_source(spec)
    classes, items = open_evaluated(spec, DATA, "validation", tmp_path / "memory")
    assert classes == whole.classes == WNIDS and same(items, whole.validation)


def test_minival_is_what_was_held_out(tmp_path: Path) -> None:
    data = replace(DATA, minival_fraction=0.2)
    train = open_source(parse_data("digits")).train
    _, held_out = training_parts(train, data, seed=5)
    _, items = open_evaluated(parse_data("digits"), data, "minival", tmp_path)
    assert same(items, train.take(held_out))


def test_corrupt_images_stay_left_out_as_far_as_they_are_remembered(tmp_path: Path) -> None:
    root, memory = write_folders(tmp_path / "data"), tmp_path / "memory"
    (root / "val/a/bad.jpg").write_bytes(b"no image")
    make_old(root)
    spec = DataSpec("imagefolder", root)
    whole, seen = (
        open_evaluated(spec, DATA, "validation", memory, skip_corrupt=True)[1],
        open_source(spec, skip_corrupt=True, memory=memory).validation,
    )
    assert len(whole) == len(seen) + 1  # nothing is decoded to find out
    _, items = open_evaluated(spec, DATA, "validation", memory, skip_corrupt=True)
    assert same(items, seen)


def test_shards_are_opened_by_their_remembered_index_alone(tmp_path: Path) -> None:
    folder, memory = write_set(tmp_path / "shards"), tmp_path / "memory"
    make_old(folder)
    spec = parse_data(f"wds:{folder}")
    with pytest.raises(DataError, match="index is not remembered"):
        open_evaluated(spec, DATA, "validation", memory)
    whole = open_source(spec, memory=memory)
    classes, items = open_evaluated(spec, DATA, "validation", memory)
    assert classes == whole.classes and same(items, whole.validation)
    assert np.array_equal(glance(items, 0, 96), whole.validation.read(0))
    write_set(folder)
    with pytest.raises(DataError, match="shards have changed since"):
        open_evaluated(spec, DATA, "validation", memory)


@pytest.mark.parametrize(
    "text", ["wds:http://x.invalid/train.tar,http://x.invalid/v.tar", "hf:a/b"]
)
def test_nothing_is_fetched(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="web addresses|the network"):
        open_evaluated(parse_data(text), DATA, "validation", tmp_path)


def test_a_large_photograph_is_decoded_small(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    Image.fromarray(np.full((640, 1280, 3), 90, np.uint8)).save(root / "val/a/0.jpg")
    write_image(root / "val/a/1.jpg")
    _, items = open_evaluated(DataSpec("imagefolder", root), DATA, "validation", tmp_path)
    assert glance(items, 0, 96).shape == (80, 160, 3)
    assert glance(items, 1, 96).shape == (8, 8, 3)
    (root / "val/a/0.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be decoded"):
        glance(items, 0, 96)
