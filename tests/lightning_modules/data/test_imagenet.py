"""ImageNet: the flat validation folder and every accepted list of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data import DataError, DataSpec, open_source
from tests.lightning_modules.data.conftest import write_image

WNIDS = ("n001", "n002", "n003")


def write_imagenet(root: Path) -> None:
    """Six flat validation images; image k has class (k * 2) % 3 of the sorted wnids."""
    for wnid in WNIDS:
        write_image(root / "train" / wnid / f"{wnid}_1.JPEG")
    for k in range(1, 7):
        write_image(root / "val" / f"ILSVRC2012_val_{k:08d}.JPEG", format="JPEG")


def _kaggle(root: Path) -> None:
    lines = [f"ILSVRC2012_val_{k:08d},{WNIDS[k * 2 % 3]} 1 2 3 4 " for k in range(6, 0, -1)]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))


def _numbers(root: Path) -> None:
    lines = [f"ILSVRC2012_val_{k:08d}.JPEG {k * 2 % 3}" for k in range(1, 7)]
    (root / "val.txt").write_text("\n".join(lines))


def _wnids(root: Path) -> None:
    lines = [f"ILSVRC2012_val_{k:08d}.JPEG\t{WNIDS[k * 2 % 3]}" for k in range(1, 7)]
    (root / "val" / "val_map.txt").write_text("\n".join(lines))


def _truth(root: Path) -> None:
    """The devkit counts from 1, in an order of its own: here n003, n001, n002."""
    own = {"n003": 1, "n001": 2, "n002": 3}
    lines = [str(own[WNIDS[k * 2 % 3]]) for k in range(1, 7)]
    name = "ILSVRC2012_validation_ground_truth.txt"
    (root / "devkit" / "data").mkdir(parents=True)
    (root / "devkit" / "data" / name).write_text("\n".join(lines))


def _devkit_text(root: Path) -> None:
    _truth(root)
    text = "n003 1 kit_fox\nn001 2 English_setter\nn002 3 Siberian_husky\n"
    (root / "devkit" / "data" / "map_clsloc.txt").write_text(text)


def _devkit_matlab(root: Path) -> None:
    from scipy.io import savemat

    _truth(root)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(1, "n003", "x", 0), (2, "n001", "y", 0), (3, "n002", "z", 0), (4, "n000", "all", 3)]
    savemat(root / "devkit" / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kind)})


@pytest.mark.parametrize("write", [_kaggle, _numbers, _wnids, _devkit_text, _devkit_matlab])
def test_flat_imagenet_validation(write: Callable[[Path], None], tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    write(tmp_path)
    source = open_source(DataSpec("imagenet", tmp_path))
    assert source.classes == WNIDS
    assert source.validation.labels.tolist() == [k * 2 % 3 for k in range(1, 7)]
    assert source.validation.names[0] == "val/ILSVRC2012_val_00000001.JPEG"
    assert source.validation.read(5).shape == (8, 8, 3)
    assert len(source.files) in (3 + 6 + 1, 3 + 6 + 2)


def test_imagenet_in_class_folders_and_in_kaggles_archive(tmp_path: Path) -> None:
    root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    write_imagenet(root)
    _kaggle(tmp_path)
    flat = open_source(DataSpec("imagenet", tmp_path))
    assert flat.folder == root and "../../../LOC_val_solution.csv" in flat.files
    for name, label in zip(flat.validation.names, flat.validation.labels.tolist(), strict=True):
        (root / "val" / WNIDS[label]).mkdir(exist_ok=True)
        (root / name).rename(root / "val" / WNIDS[label] / Path(name).name)
    sorted_out = open_source(DataSpec("imagenet", tmp_path))
    assert sorted_out.validation.labels.tolist() == sorted(flat.validation.labels.tolist())


def _high_number(root: Path) -> None:
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 3")


def _short_list(root: Path) -> None:
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 0")


def _unknown_wnid(root: Path) -> None:
    lines = [f"ILSVRC2012_val_{k:08d}.JPEG n00{k}" for k in range(1, 7)]
    (root / "val.txt").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda root: None, "has no labels; put one of these .*LOC_val_solution.csv; val.txt"),
        (_truth, "ground_truth.txt stands without map_clsloc.txt or meta.mat"),
        (_high_number, "label 3 is not in 0 to 2"),
        (_short_list, "5 of 6 images are not in the list"),
        (_unknown_wnid, "only in val/: n004, n005, n006"),
    ],
)
def test_flat_validation_without_usable_labels_is_refused(
    write: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    write_imagenet(tmp_path)
    write(tmp_path)
    with pytest.raises(DataError, match=words):
        open_source(DataSpec("imagenet", tmp_path))
