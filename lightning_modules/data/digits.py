"""scikit-learn's 1797 handwritten digits: real images that come with the program.

The packaged file is read directly: importing scikit-learn takes a second or two.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.errors import DataError
from lightning_modules.data.items import ArrayItems, DataSpec, Source, labels_array
from lightning_modules.data.split import stratified_part

_FILE = "digits.csv.gz"
_VALIDATION = 1 / 3  # about 600 of 1797: a standard error of 0.8 points at 96 % accuracy


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the folder and name of the packaged file; no name where it is not to be found."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("the digits come with scikit-learn, which is not installed.")
    folder = Path(found.origin).parent / "datasets" / "data"
    return folder, ((_FILE,) if (folder / _FILE).is_file() else ())


def open_digits(spec: DataSpec) -> Source:
    """Open the digits; a third of each class, fixed by name, is the validation part."""
    folder, files = list_files(spec)
    table = _read(folder / _FILE) if files else _load()
    grey = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, 64].astype(np.int64)
    items = ArrayItems(
        tuple(f"digit-{i:04d}" for i in range(len(labels))), labels, np.repeat(grey, 3, axis=3)
    )
    validation = stratified_part(items.names, labels, _VALIDATION, purpose="digits validation")
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), validation)
    return Source(
        name=spec.name,
        classes=tuple("0123456789"),
        train=_frozen(items.take(train)),
        validation=_frozen(items.take(validation)),
        folder=folder,
        files=files,
    )


def _frozen(items: ArrayItems) -> ArrayItems:
    return ArrayItems(items.names, labels_array(items.labels.tolist()), items.pixels)


def _read(path: Path) -> NDArray[np.float64]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.float64)


def _load() -> NDArray[np.float64]:
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return np.column_stack([data, target]).astype(np.float64)
