"""Sets of the `datasets` library, read from what it saved; and what is said of others."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from PIL import Image as Picture

from lightning_modules.data import DataError, data_facts, data_fingerprint, open_source, parse_data

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    datasets.disable_progress_bars()


def picture(level: int) -> Picture.Image:
    return Picture.fromarray(np.full((8, 8, 3), level, np.uint8))


def split(first: int, count: int, **others: list[object]) -> datasets.Dataset:
    numbers = range(first, first + count)
    columns = {"img": [picture(n) for n in numbers], "label": [n % 2 for n in numbers], **others}
    features = datasets.Features(
        img=datasets.Image(), label=datasets.ClassLabel(names=["even", "odd"])
    )
    for name in others:
        features[name] = datasets.Value("string")
    return datasets.Dataset.from_dict(columns, features=features)


def saved(path, **splits: datasets.Dataset) -> str:
    datasets.DatasetDict(splits).save_to_disk(path)
    return f"hf:{path}"


def test_a_saved_set_is_read_at_any_place(tmp_path):
    text = saved(tmp_path / "set", train=split(0, 12), test=split(200, 4))
    source = open_source(parse_data(text))
    assert source.classes == ("even", "odd")
    assert source.train.names[3] == "train/03"
    for i in (11, 0, 5):
        assert source.train.read(i)[0, 0, 0] == i
        assert source.train.labels[i] == i % 2
    taken = source.validation.take(np.array([3, 1]))
    assert [int(taken.read(i)[0, 0, 0]) for i in (0, 1)] == [203, 201]
    facts = data_facts(parse_data(text), tmp_path / "cache")
    assert (facts.classes, facts.train, facts.validation, facts.native_size) == (2, 12, 4, (8, 8))
    assert data_facts(parse_data(text), tmp_path / "cache") == facts


def test_the_content_decides_the_fingerprint(tmp_path):
    sets = [split(0, 12), split(0, 12), split(1, 12)]
    found = [
        data_fingerprint(
            open_source(parse_data(saved(tmp_path / f"{k}", train=one, val=one))), None
        )
        for k, one in enumerate(sets)
    ]
    assert found[0] == found[1] != found[2]


def test_a_folder_of_parquet_files_is_a_set_too(tmp_path):
    (tmp_path / "set").mkdir()
    split(0, 6).to_parquet(tmp_path / "set/train.parquet")
    split(9, 3).to_parquet(tmp_path / "set/validation.parquet")
    source = open_source(parse_data(f"hf:{tmp_path}/set"))
    assert [int(source.validation.read(i)[0, 0, 0]) for i in range(3)] == [9, 10, 11]


def test_columns_and_splits_may_be_chosen(tmp_path):
    names = ["cat", "dog", "cat", "dog"]
    text = saved(tmp_path / "set", train=split(0, 4, kind=names), dev=split(4, 4, kind=names[::-1]))
    source = open_source(parse_data(f"{text},validation=dev,label=kind"))
    assert source.classes == ("cat", "dog")
    assert source.validation.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("", "has no split 'to evaluate'; it has train, dev: choose with ,validation=SPLIT"),
        (",validation=train", "would be trained on and evaluated"),
        (",validation=dev,image=label", "has 1 columns of images .img. among img, label, kind"),
        (",validation=dev,label=nothing", "has 1 columns of classes .label. among img"),
        (",validation=dev,label=kind", "24 images without|holds 'k'; numbers|classes"),
        (",colour=red", "'colour=red' is no choice; write hf:NAME or hf:DIR"),
    ],
)
def test_what_is_wrong_with_the_choices_is_told(tmp_path, choices: str, message: str):
    part = split(0, 4, kind=["k"] * 4)
    text = saved(tmp_path / "set", train=part, dev=part)
    with pytest.raises(DataError, match=message):
        open_source(parse_data(text + choices))


def test_a_set_that_cannot_be_had_is_told(tmp_path):
    with pytest.raises(DataError, match="hf:nobody/nothing cannot be loaded: .*give hf:DIR"):
        open_source(parse_data("hf:nobody/nothing"))
    with pytest.raises(DataError, match="cannot be loaded"):
        open_source(parse_data(f"hf:{tmp_path}/none"))


def test_a_missing_library_is_told(tmp_path, monkeypatch):
    text = saved(tmp_path / "set", train=split(0, 4), test=split(4, 4))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="not installed: pip install datasets"):
        open_source(parse_data(text))


def test_hidden_labels_are_told(tmp_path):
    hidden = split(0, 4).map(lambda row: {"label": -1})
    text = saved(tmp_path / "set", train=split(0, 4), test=hidden)
    with pytest.raises(DataError, match=r"4 images without a known class \(as -1\): a hidden test"):
        open_source(parse_data(text))


def test_other_labels_or_parts_are_another_set(tmp_path):
    """The same files: only the words tell them apart, in the fingerprint and in the memory."""
    kinds = ["cat", "dog", "cow", "cat"]
    text = saved(tmp_path / "set", train=split(0, 4, kind=kinds), test=split(4, 4, kind=kinds))
    for path in (tmp_path / "set").rglob("*.arrow"):
        os.utime(path, (1e9, 1e9))  # old enough to be remembered
    words = ["label=label", "label=kind", "label=label,train=test,validation=train"]
    facts = [data_facts(parse_data(f"{text},{each}"), tmp_path / "cache") for each in words]
    assert len({one.fingerprint for one in facts}) == 3
    assert [one.classes for one in facts] == [2, 3, 2]


def test_a_relative_folder_is_the_same_set(tmp_path, monkeypatch):
    text = saved(tmp_path / "set", train=split(0, 4), test=split(4, 4))
    monkeypatch.chdir(tmp_path)
    assert parse_data("hf:set,label=label") == parse_data(f"{text},label=label")


def test_image_files_that_a_set_only_names_are_refused_and_taken_in_by_saving(tmp_path):
    for number, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "set" / name).mkdir(parents=True)
        picture(number).save(tmp_path / "set" / name / "1.png")
    with pytest.raises(DataError, match="names 2 image files that it does not hold"):
        open_source(parse_data(f"hf:{tmp_path}/set"))
    datasets.load_dataset(f"{tmp_path}/set").save_to_disk(tmp_path / "taken")
    assert open_source(parse_data(f"hf:{tmp_path}/taken")).train.read(1)[0, 0, 0] == 1


def test_labels_that_are_no_classes_or_mean_others_in_the_other_part_are_told(tmp_path):
    lists = datasets.Dataset.from_dict({"img": [picture(0)], "labels": [[1, 2]]})
    lists = lists.cast_column("img", datasets.Image())
    text = saved(tmp_path / "lists", train=lists, test=lists)
    with pytest.raises(DataError, match="'labels' holds .*, not one class an image"):
        open_source(parse_data(text))
    turned = split(0, 4).cast_column("label", datasets.ClassLabel(names=["odd", "even"]))
    text = saved(tmp_path / "turned", train=split(0, 4), test=turned)
    with pytest.raises(DataError, match="'even', 'odd'.* to train on and .*'odd', 'even'"):
        open_source(parse_data(text))
