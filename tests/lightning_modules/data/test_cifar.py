"""CIFAR in its published forms, and pickles that are not to be trusted."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data import DataError, DataSpec, open_source, parse_data
from tests.lightning_modules.data.conftest import RNG, write_folders


def _cifar_batch(images: int, classes: int) -> tuple[np.ndarray, list[int]]:
    pixels = RNG.integers(0, 256, (images, 3072), dtype=np.uint8)
    return pixels, [i % classes for i in range(images)]


def write_cifar10(folder: Path, protocol: int = 2) -> dict[str, tuple[np.ndarray, list[int]]]:
    folder.mkdir(parents=True)
    batches = {}
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        pixels, labels = batches[name] = _cifar_batch(20, 10)
        batch = {"data": pixels, "labels": labels, "batch_label": name, "filenames": ["x"] * 20}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {"label_names": [f"class{k}" for k in range(10)], "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return batches


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar10_is_read_as_torchvision_reads_it(tmp_path: Path, protocol: int) -> None:
    from torchvision.datasets import CIFAR10

    class Unhashed(CIFAR10):
        train_list = [[name, None] for name, _ in CIFAR10.train_list]
        test_list = [[name, None] for name, _ in CIFAR10.test_list]
        meta = {**CIFAR10.meta, "md5": None}

    write_cifar10(tmp_path / "cifar-10-batches-py", protocol)
    by_parent = open_source(parse_data(f"cifar10:{tmp_path}"))
    direct = open_source(parse_data(f"cifar10:{tmp_path}/cifar-10-batches-py"))
    assert by_parent.folder == direct.folder and by_parent.files == direct.files
    for items, train in ((direct.train, True), (direct.validation, False)):
        reference = Unhashed(str(tmp_path), train=train)
        assert list(direct.classes) == reference.classes
        assert items.labels.tolist() == reference.targets
        assert len(items) == len(reference)
        np.testing.assert_array_equal(
            np.stack([items.read(i) for i in range(len(items))]), reference.data
        )
    assert direct.train.names[99] == "train/00099" and direct.validation.names[0] == "test/00000"


def test_python_2_pickles_are_read(tmp_path: Path) -> None:
    """The published files: numpy.core names, and bytes that Python 3 reads as latin1 text."""
    write_cifar10(tmp_path / "c")
    pixels = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
    raw = pixels.tobytes()
    old = (
        b"\x80\x02}q\x00(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(raw).to_bytes(4, "little")
        + raw
        + b"tbU\x06labels](K\x03K\x05eu."
    )
    (tmp_path / "c" / "test_batch").write_bytes(old)
    reference = pickle.loads(old, encoding="latin1")
    np.testing.assert_array_equal(reference["data"], pixels)
    items = open_source(DataSpec("cifar10", tmp_path / "c")).validation
    assert items.labels.tolist() == [3, 5]
    expected = pixels.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(items.read(1), expected[1])


def test_cifar100_and_the_binaries_are_read(tmp_path: Path) -> None:
    python, binary = tmp_path / "cifar-100-python", tmp_path / "b" / "cifar-100-binary"
    python.mkdir()
    binary.mkdir(parents=True)
    names = [f"fine{k:02d}" for k in range(100)]
    for part in ("train", "test"):
        pixels, labels = _cifar_batch(100, 100)
        batch = {"data": pixels, "fine_labels": labels, "coarse_labels": [0] * 100}
        (python / part).write_bytes(pickle.dumps(batch))
        rows = np.column_stack([np.zeros(100, np.uint8), np.array(labels, np.uint8), pixels])
        (binary / f"{part}.bin").write_bytes(rows.tobytes())
    (python / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    (binary / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    one = open_source(DataSpec("cifar100", tmp_path))
    other = open_source(DataSpec("cifar100", tmp_path / "b"))
    assert one.classes == other.classes == tuple(names)
    assert one.train.labels.tolist() == other.train.labels.tolist()
    np.testing.assert_array_equal(one.validation.read(42), other.validation.read(42))
    (binary / "test.bin").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="100 bytes; expected a multiple of 3074"):
        open_source(DataSpec("cifar100", tmp_path / "b"))


class _Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def test_a_malicious_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "c")
    for value in (_Malicious(), {"data": _Malicious(), "labels": [0]}, {"data": eval}):
        (tmp_path / "c" / "data_batch_3").write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match=r"data_batch_3 asks to load .*: refused"):
            open_source(parse_data("cifar10:c"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "holds a list; expected a dictionary"),
        ({"labels": [0]}, "has no 'data'; it has labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "shape .2, 3072. for 1 labels"),
        ({"data": np.zeros((1, 3072), np.float32), "labels": [0]}, "not of uint8"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [11]}, "labels from 0 to 11; expected"),
        (None, "not a readable pickle"),
    ],
)
def test_a_damaged_batch_is_named(value: object, words: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path / "c")
    damaged = b"\x80\x04}" if value is None else pickle.dumps(value)
    (tmp_path / "c" / "data_batch_1").write_bytes(damaged)
    with pytest.raises(DataError, match=f"data_batch_1 .*{words}"):
        open_source(DataSpec("cifar10", tmp_path / "c"))


def test_cifar_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no cifar10. Give the folder cifar-10-batches-py or"):
        open_source(DataSpec("cifar10", tmp_path))
    write_cifar10(tmp_path / "c")
    (tmp_path / "c" / "data_batch_4").unlink()
    with pytest.raises(DataError, match="lacks data_batch_4. Unpack"):
        open_source(DataSpec("cifar10", tmp_path / "c"))
    write_folders(tmp_path / "few")
    with pytest.raises(DataError, match="2 classes .a, b.; cifar10 has 10.*imagefolder:"):
        open_source(DataSpec("cifar10", tmp_path / "few"))
    write_folders(tmp_path / "ten", classes="abcdefghij", validation="test", images=1)
    assert len(open_source(DataSpec("cifar10", tmp_path / "ten")).train) == 10
