"""Sets of the Hugging Face `datasets` library (`hf:`): by their name on the Hub, or a folder.

The library downloads and prepares a set once, in its own cache; images are then read from its
mapped Arrow files at any place. A set that is larger than the disk is better read as shards
(`wds:` with the addresses of its tar files). No code that comes with a set is run.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.folders import VALIDATION_FOLDERS
from lightning_modules.data.items import DataSpec, EncodedItems, Index, Source, labels_array

FORM = "hf:NAME or hf:DIR, and where needed ,config=C,train=S,validation=S,image=C,label=C"
_KEYS = ("config", "train", "validation", "image", "label")
_VALIDATION = ("validation", *VALIDATION_FOLDERS)
_LABEL_COLUMNS = ("label", "labels")  # where no column says that it holds classes


@dataclass(frozen=True, eq=False)
class ArrowItems(EncodedItems):
    """Images as rows of a set, whose column of images is not decoded."""

    rows: Any  # a datasets.Dataset
    column: str
    row: Index  # of each image

    def content(self, i: int) -> bytes:
        """Return the bytes of image `i`."""
        image = self.rows[int(self.row[i])][self.column]
        if image is None:
            raise DataError(f"{self.names[i]} is empty in the column {self.column!r}.")
        data: bytes = image["bytes"]  # `open_hub` refuses sets that only name files
        return data

    def take(self, index: Index) -> ArrowItems:
        """Return the items at `index`, in that order."""
        return replace(super().take(index), row=self.row[index])


def place(text: str) -> str:
    """Return the text after `hf:` with a folder made absolute; opens nothing.

    Raises:
        DataError: a choice that is none of `FORM`'s.
    """
    name, *choices = [part.strip() for part in text.split(",")]
    for choice in choices:
        key, equals, value = choice.partition("=")
        if key not in _KEYS or not equals or not value:
            raise DataError(f"hf:{text}: {choice!r} is no choice; write {FORM}.")
    if name.startswith(("/", ".", "~")) or os.path.isdir(name):  # as the library looks first
        name = os.path.abspath(os.path.expanduser(name))
    return ",".join([name, *choices])


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the common folder of the Arrow files of both parts, and their names."""
    train, validation, _ = _loaded(str(spec.folder))
    paths = {one["filename"] for part in (train, validation) for one in part.cache_files}
    if not paths:
        raise DataError(f"{spec.text} is in no files; save it with save_to_disk and give hf:DIR.")
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    return folder, tuple(sorted(os.path.relpath(path, folder) for path in paths))


def open_hub(spec: DataSpec) -> Source:
    """Open a set that `datasets` loads, which may download it.

    Raises:
        DataError: it cannot be loaded, or its parts and columns do not say what is what.
    """
    folder, files = list_files(spec)
    train, validation, choices = _loaded(str(spec.folder))
    image = _image_column(train, choices, spec)
    label, classes = _labels(train, validation, choices, spec)
    items = []
    for name, part in (("train", train), ("val", validation)):
        numbers = _numbers(part, label, classes, f"{spec.text}: the split of {name}")
        if name == "train" and (missing := sorted(set(range(len(classes))) - set(numbers))):
            lacking = shortened([classes[k] for k in missing])
            raise DataError(f"{spec.text}: no training image is of the class {lacking}.")
        digits = len(str(len(part)))
        names = tuple(f"{name}/{row:0{digits}d}" for row in range(len(part)))
        rows = part.select_columns([image]).cast_column(image, _undecoded())
        _check_inside(rows, image, spec)
        items.append(ArrowItems(names, labels_array(numbers), rows, image, np.arange(len(part))))
    roles = "\n".join([choices["train"], choices["validation"], image, label])
    return Source(spec.name, classes, items[0], items[1], folder, files, roles=roles)


def _check_inside(rows: Any, image: str, spec: DataSpec) -> None:
    """Raise where images are files elsewhere: the fingerprint would not see them change."""
    from pyarrow import compute

    column = rows.data.column(image)
    outside = compute.struct_field(column, "bytes").null_count - column.null_count
    if outside:
        raise DataError(
            f"{spec.text} names {outside} image files that it does not hold. Give"
            " imagefolder:DIR, or save the set with save_to_disk, which takes them in."
        )


def _undecoded() -> Any:
    from datasets import Image

    return Image(decode=False)


@functools.lru_cache(maxsize=4)
def _loaded(text: str) -> tuple[Any, Any, Mapping[str, str]]:
    """Return the parts to train on and to evaluate, and the choices of the text."""
    name, *rest = text.split(",")
    choices = dict(part.split("=", 1) for part in rest)
    try:
        import datasets
    except ImportError:
        raise DataError(
            "hf: needs the package datasets, which is not installed: pip install datasets"
        ) from None
    try:
        if os.path.isabs(name) and os.path.isfile(f"{name}/dataset_dict.json"):
            splits = datasets.load_from_disk(name)
        elif os.path.isabs(name) and os.path.isfile(f"{name}/state.json"):
            splits = None
        else:
            splits = datasets.load_dataset(name, choices.get("config"))
    except Exception as error:  # a dozen types of three libraries, for one mistake or another
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"hf:{name} cannot be loaded: {said[0]} Without a network, load it elsewhere,"
            " save_to_disk, and give hf:DIR."
        ) from None
    if not isinstance(splits, Mapping):
        raise DataError(f"hf:{name} is one split; a set with train and validation is needed.")
    train = choices.get("train", "train")
    validation = choices.get("validation") or next((s for s in _VALIDATION if s in splits), "")
    for key, split in (("train", train), ("validation", validation)):
        if split not in splits:
            raise DataError(
                f"hf:{text} has no split {split or 'to evaluate'!r}; it has {shortened([*splits])}:"
                f" choose with ,{key}=SPLIT."
            )
    if train == validation:
        raise DataError(f"hf:{text}: the split {train!r} would be trained on and evaluated.")
    return splits[train], splits[validation], choices | {"train": train, "validation": validation}


def _image_column(train: Any, choices: Mapping[str, str], spec: DataSpec) -> str:
    import datasets

    found = [name for name, kind in train.features.items() if isinstance(kind, datasets.Image)]
    chosen = choices.get("image")
    if chosen in found:
        return str(chosen)
    if chosen is None and len(found) == 1:
        return found[0]
    raise DataError(
        f"{spec.text} has {len(found)} columns of images ({shortened(found) or 'none'}) among"
        f" {shortened([*train.features])}: choose one with ,image=COLUMN."
    )


def _labels(
    train: Any, validation: Any, choices: Mapping[str, str], spec: DataSpec
) -> tuple[str, tuple[str, ...]]:
    """Return the column of labels and the names of the classes."""
    import datasets

    features = train.features
    found = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    found = found or [name for name in _LABEL_COLUMNS if name in features]
    chosen = choices.get("label")
    if chosen is None and len(found) == 1:
        chosen = found[0]
    if chosen is None or chosen not in features or chosen not in validation.features:
        raise DataError(
            f"{spec.text} has {len(found)} columns of classes ({shortened(found) or 'none'}) among"
            f" {shortened([*features])}: choose one with ,label=COLUMN."
        )
    if features[chosen] != validation.features[chosen]:
        raise DataError(
            f"{spec.text}: the column {chosen!r} is {shortened([str(features[chosen])])} to train"
            f" on and {shortened([str(validation.features[chosen])])} to evaluate."
        )
    kind = features[chosen]
    if isinstance(kind, datasets.ClassLabel):
        return chosen, tuple(kind.names)
    if not isinstance(kind, datasets.Value):
        raise DataError(f"{spec.text}: the column {chosen!r} holds {kind}, not one class an image.")
    values = sorted({*train[chosen], *validation[chosen]}, key=lambda one: (str(type(one)), one))
    if all(isinstance(one, int) for one in values) and max(values) < len(train):
        return chosen, tuple(str(number) for number in range(max(values) + 1))
    if not all(isinstance(one, str) for one in values) or len(values) < 2:
        raise DataError(
            f"{spec.text}: the column {chosen!r} holds {shortened([repr(v) for v in values[:6]])};"
            " numbers of classes or names of two or more are needed."
        )
    return chosen, tuple(values)


def _numbers(part: Any, label: str, classes: Sequence[str], what: str) -> list[int]:
    number = {name: k for k, name in enumerate(classes)}
    found = [one if isinstance(one, int) else number.get(one, -1) for one in part[label]]
    if bad := [value for value in found if not 0 <= value < len(classes)]:
        raise DataError(
            f"{what} has {len(bad)} images without a known class (as {bad[0]}): a hidden test set?"
            " Choose another split."
        )
    return found
