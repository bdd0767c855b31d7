"""Data sets by name: what opens, what is read, and the words of every refusal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data import DataError, DataSpec, Source, open_source, parse_data
from tests.lightning_modules.data.conftest import write_folders, write_image


def test_digits_are_scikit_learns_digits() -> None:
    from sklearn.datasets import load_digits

    source = open_source(parse_data("digits"))
    reference, labels = load_digits(return_X_y=True)
    assert source.classes == tuple("0123456789")
    assert len(source.train) + len(source.validation) == 1797
    for items in (source.train, source.validation):
        assert list(items.names) == sorted(items.names)
        for i in (0, 100, len(items) - 1):
            k = int(items.names[i].removeprefix("digit-"))
            image = items.read(i)
            assert image.shape == (8, 8, 3) and image.dtype == np.uint8
            assert items.labels[i] == labels[k]
            grey = reference[k].reshape(8, 8)
            np.testing.assert_allclose(image[..., 1], grey * 255 / 16, atol=0.5)
            np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_digits_without_the_packaged_file_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_modules.data import digits

    packaged = open_source(parse_data("digits"))
    monkeypatch.setattr(digits, "_FILE", "renamed.csv.gz")
    loaded = open_source(parse_data("digits"))
    assert loaded.files == () and packaged.files
    assert loaded.validation.names == packaged.validation.names
    np.testing.assert_array_equal(loaded.train.read(7), packaged.train.read(7))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("digit", "Did you mean digits"),
        ("cifar:/x", "Did you mean cifar10"),
        ("", "unknown data ''"),
        ("nothing-like-it", "Choices: digits, cifar10:DIR"),
        ("digits:/x", "takes no folder"),
        ("cifar10", "lacks its folder; write cifar10:DIR"),
        ("imagefolder:  ", "lacks its folder"),
    ],
)
def test_a_wrong_word_is_refused(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_data(text)


def test_a_spec_writes_itself(tmp_path: Path) -> None:
    for text in ("digits", f"imagefolder:{tmp_path}", "imagenet:C:/x"):
        assert parse_data(text).text == text


def test_class_folders(tmp_path: Path) -> None:
    root = write_folders(tmp_path, classes="cab", validation="test")
    write_image(root / "train/a/deeper/x.PNG")
    write_image(root / "train/a/.hidden.jpg")
    (root / "train/a/notes.txt").write_text("no image")
    (root / "train/a/back").symlink_to(root / "train")
    source = open_source(DataSpec("imagefolder", root))
    assert source.classes == ("a", "b", "c")
    assert source.train.names[:3] == ("train/a/0.jpg", "train/a/1.jpg", "train/a/deeper/x.PNG")
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert source.validation.names[0] == "test/a/0.jpg"
    assert source.train.read(0).shape == (8, 8, 3)
    taken = source.train.take(np.array([3, 0]))
    assert taken.names == ("train/b/0.jpg", "train/a/0.jpg") and taken.labels.tolist() == [1, 0]


def _one_class(root: Path) -> None:
    write_folders(root, classes="a")


def _no_images(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "a").mkdir(parents=True)


def _empty_class(root: Path) -> None:
    write_folders(root)
    (root / "train" / "c").mkdir()


def _other_classes(root: Path) -> None:
    write_folders(root)
    write_image(root / "val" / "z" / "0.jpg")


def _no_validation(root: Path) -> None:
    write_image(root / "train" / "a" / "0.jpg")


def _loose_images(root: Path) -> None:
    write_folders(root)
    write_image(root / "train" / "loose.jpg")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "needs train/<class>/ .*; it holds: nothing"),
        (_no_validation, "one of val/, validation/, test/; it holds: train/"),
        (_no_images, "has no images .*it holds: a/"),
        (_one_class, "one class folder .a.; classification needs two"),
        (_empty_class, "class folders without images: c"),
        (_other_classes, "classes of train/ and val/ differ .only in val/: z"),
        (_loose_images, "images outside class folders .loose.jpg"),
    ],
)
def test_folders_that_are_no_data_set_are_refused(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=words):
        open_source(DataSpec("imagefolder", tmp_path))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagefolder", "imagenet"])
def test_a_folder_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match=r"nowhere/deep does not exist; .* holds: file, here/"):
        (tmp_path / "file").write_text("")
        open_source(parse_data(f"{name}:{tmp_path}/nowhere/deep"))
    with pytest.raises(DataError, match="is a file"):
        open_source(parse_data(f"{name}:{tmp_path}/file"))


def test_data_facts_need_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from lightning_modules.data import data_facts, open_source, parse_data;"
        "spec = parse_data('digits'); print(data_facts(spec, None).classes);"
        "open_source(spec); assert not {'torch', 'sklearn', 'lightning'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "10\n", done.stderr


def test_a_source_is_a_value() -> None:
    source = open_source(parse_data("digits"))
    assert isinstance(source, Source)
    with pytest.raises(ValueError, match="read-only"):
        source.train.labels[0] = 1
