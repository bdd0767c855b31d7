"""CIFAR-10 and CIFAR-100 as published (Python pickles or binaries) or as class folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.data import folders
from lightning_modules.data.array_pickle import read_pickle
from lightning_modules.data.decode import Pixels
from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.items import ArrayItems, DataSpec, Source, labels_array


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The files of one published archive."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str  # the file with the names of the classes
    names_key: str  # of that pickle; empty where the file is a list
    labels: str  # key of the labels in a pickle; empty for a binary
    label_bytes: int = 0  # before each image of a binary; the label is the last of them

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sorted((*self.train, *self.test, self.names)))


_PYTHON_10 = _Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{k}" for k in range(1, 6)),
    test=("test_batch",),
    names="batches.meta",
    names_key="label_names",
    labels="labels",
)
_BINARY_10 = _Layout(
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    test=("test_batch.bin",),
    names="batches.meta.txt",
    names_key="",
    labels="",
    label_bytes=1,
)
_PYTHON_100 = _Layout(
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    names="meta",
    names_key="fine_label_names",
    labels="fine_labels",
)
_BINARY_100 = _Layout(
    folder="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    names="fine_label_names.txt",
    names_key="",
    labels="",
    label_bytes=2,  # the coarse label, then the fine one
)
_LAYOUTS = {"cifar10": (_PYTHON_10, _BINARY_10), "cifar100": (_PYTHON_100, _BINARY_100)}
_CLASSES = {"cifar10": 10, "cifar100": 100}


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the folder and the files of the set in it."""
    folder, layout = _find(spec)
    return folders.list_files(spec) if layout is None else (folder, layout.files)


def open_cifar(spec: DataSpec) -> Source:
    """Open CIFAR in whichever form the folder holds."""
    folder, layout = _find(spec)
    if layout is None:
        source = folders.open_folders(spec)
        classes = source.classes
    else:
        classes = _class_names(folder, layout)
        source = Source(
            name=spec.name,
            classes=classes,
            train=_items(folder, layout, layout.train, "train", len(classes)),
            validation=_items(folder, layout, layout.test, "test", len(classes)),
            folder=folder,
            files=layout.files,
        )
    if len(classes) != _CLASSES[spec.name]:
        raise DataError(
            f"{folder} has {len(classes)} classes ({shortened(classes)}); {spec.name} has "
            f"{_CLASSES[spec.name]}. For another set of class folders say imagefolder:{folder}."
        )
    return source


def _find(spec: DataSpec) -> tuple[Path, _Layout | None]:
    """Return the folder of the published files and their layout, or None for class folders."""
    root = folders.existing_folder(spec)
    best: tuple[int, list[str], Path, _Layout] | None = None
    for layout in _LAYOUTS[spec.name]:
        for folder in (root, root / layout.folder):
            missing = [name for name in layout.files if not (folder / name).is_file()]
            found = len(layout.files) - len(missing)
            if not missing:
                return folder, layout
            if found and (best is None or found > best[0]):
                best = found, missing, folder, layout
    if (root / "train").is_dir():
        return root, None
    if best is not None:
        raise DataError(f"{best[2]} lacks {shortened(best[1])}. Unpack the archive again.")
    names = " or ".join(layout.folder for layout in _LAYOUTS[spec.name])
    raise DataError(
        f"{root} holds no {spec.name}. Give the folder {names}, the one that contains it, or one "
        f"with train/<class>/ and test/<class>/. It holds: {folders.content(root)}."
    )


def _class_names(folder: Path, layout: _Layout) -> tuple[str, ...]:
    path = folder / layout.names
    if layout.names_key:
        names = _entry(read_pickle(path), layout.names_key, path)
    else:
        names = path.read_text(encoding="ascii", errors="replace").split()
    return tuple(str(name) for name in names)


def _items(
    folder: Path, layout: _Layout, files: Sequence[str], part: str, classes: int
) -> ArrayItems:
    read = _read_pickled if layout.labels else _read_binary
    batches = [read(folder / name, layout) for name in files]
    pixels = np.concatenate([batch for batch, _ in batches])
    labels = labels_array([label for _, batch in batches for label in batch])
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{folder / files[0]} and its companions hold labels from {labels.min()} to "
            f"{labels.max()}; expected 0 to {classes - 1}."
        )
    names = tuple(f"{part}/{i:05d}" for i in range(len(labels)))
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ArrayItems(names, labels, np.ascontiguousarray(images))


def _read_pickled(path: Path, layout: _Layout) -> tuple[Pixels, list[int]]:
    batch = read_pickle(path)
    data, labels = _entry(batch, "data", path), _entry(batch, layout.labels, path)
    shape = getattr(data, "shape", None)
    if shape != (len(labels), 3072):
        raise DataError(
            f"{path} holds data of shape {shape} for {len(labels)} labels; expected one row of "
            "3072 bytes (3 x 32 x 32) for each label."
        )
    return data, [int(label) for label in labels]


def _read_binary(path: Path, layout: _Layout) -> tuple[Pixels, list[int]]:
    content = np.fromfile(path, dtype=np.uint8)
    row = layout.label_bytes + 3072
    if not len(content) or len(content) % row:
        raise DataError(f"{path} has {len(content)} bytes; expected a multiple of {row}.")
    rows = content.reshape(-1, row)
    return rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1].tolist()


def _entry(batch: dict[str, Any], key: str, path: Path) -> Any:
    if key not in batch:
        raise DataError(f"{path} has no {key!r}; it has {shortened(sorted(batch))}.")
    return batch[key]
