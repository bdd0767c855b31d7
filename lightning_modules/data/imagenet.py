"""ImageNet: class folders, or the flat validation folder with a list of labels beside it.

Accepted lists, looked for in the validation folder, in DIR, and in a devkit folder in DIR:

- `LOC_val_solution.csv` (Kaggle): `ILSVRC2012_val_00000001,n01751748 111 108 ...`
- `val.txt`, `val_map.txt`, `val_labels.txt`: `ILSVRC2012_val_00000001.JPEG 65`; the label is a
  wnid, or a number from 0 in the sorted order of the wnids of the training folder
- `ILSVRC2012_validation_ground_truth.txt` (devkit) with `map_clsloc.txt` or `meta.mat`: its
  numbers are in the devkit's own order, so a list of wnids in another order is no help
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path

from lightning_modules.data import folders
from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.items import DataSpec, FileItems, Source, labels_array

_KAGGLE = "ILSVRC/Data/CLS-LOC"
_SOLUTION = "LOC_val_solution.csv"
_LISTS = ("val.txt", "val_map.txt", "val_labels.txt")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit/data", "devkit", "data")


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the folder and every file that decides images or labels."""
    root = _root(spec)
    train, validation = folders.parts(root)
    images = folders.images_below(root, train) + folders.images_below(root, validation)
    lists: list[str] = []
    if _is_flat(root / validation):
        found = _label_files(spec, root, validation)
        lists = [Path(os.path.relpath(path, root)).as_posix() for path in found]
    return root, tuple(sorted([*images, *lists]))


def open_imagenet(spec: DataSpec) -> Source:
    """Open ImageNet; the classes are the sorted wnids of the training folder."""
    root = _root(spec)
    train, validation = folders.parts(root)
    if not _is_flat(root / validation):
        return folders.open_folders(DataSpec(spec.name, root))
    root, files = list_files(spec)
    classes = folders.class_names(root, train, files)
    return Source(
        name=spec.name,
        classes=classes,
        train=folders.labelled_by_folder(root, train, files, classes),
        validation=_flat_validation(spec, root, validation, files, classes),
        folder=root,
        files=files,
    )


def open_validation(spec: DataSpec) -> tuple[tuple[str, ...], FileItems]:
    """Return the classes and the images to evaluate; no training image is listed."""
    root = _root(spec)
    train, validation = folders.parts(root)
    if not _is_flat(root / validation):
        return folders.open_validation(DataSpec(spec.name, root))
    with os.scandir(root / train) as entries:
        found = (one.name for one in entries if one.is_dir() and not one.name.startswith("."))
        classes = tuple(sorted(found))
    files = tuple(sorted(folders.images_below(root, validation)))
    return classes, _flat_validation(spec, root, validation, files, classes)


def _flat_validation(
    spec: DataSpec,
    root: Path,
    validation: str,
    files: tuple[str, ...],
    classes: tuple[str, ...],
) -> FileItems:
    """Return the images of a flat validation folder, each labelled by the list beside it."""
    names = tuple(
        name
        for name in files
        if name.startswith(f"{validation}/")
        and os.path.splitext(name)[1].lower() in folders.IMAGE_SUFFIXES
    )
    lists = _label_files(spec, root, validation)
    try:
        wnids = _flat_wnids(lists, classes)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{lists[0]} is not a list of labels as text: {error}.") from None
    return _labelled_by_list(root, validation, names, wnids, classes)


def _root(spec: DataSpec) -> Path:
    """Return the folder that holds train/: DIR, or the one deep inside Kaggle's archive."""
    root = folders.existing_folder(spec)
    kaggle = root / _KAGGLE
    return kaggle if kaggle.is_dir() and not (root / "train").is_dir() else root


def _is_flat(validation: Path) -> bool:
    """Return whether images lie in the validation folder itself and no class folders do."""
    flat = False
    with os.scandir(validation) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                return False
            flat = flat or os.path.splitext(entry.name)[1].lower() in folders.IMAGE_SUFFIXES
    return flat


def _label_files(spec: DataSpec, root: Path, validation: str) -> tuple[Path, ...]:
    """Return the list of labels, with the file that explains its numbers where it needs one."""
    top = folders.existing_folder(spec)
    near = [root / validation, root, top]
    devkits = [top / devkit for devkit in _DEVKITS]
    for name in (_SOLUTION, *_LISTS):
        found = _first(near, name)
        if found is not None:
            return (found,)
    truth = _first([*near, *devkits], _GROUND_TRUTH)
    numbers = _first([*near, *devkits], "map_clsloc.txt") or _first([*near, *devkits], "meta.mat")
    if truth is not None and numbers is not None:
        return truth, numbers
    lacking = f"{truth} stands without map_clsloc.txt or meta.mat; " if truth is not None else ""
    raise DataError(
        f"{root / validation} is a flat folder of images and {lacking or 'has no labels; '}"
        f"put one of these into it or into {top}: {_SOLUTION}; {', '.join(_LISTS)} (lines "
        f"'<file> <wnid or number>'); {_GROUND_TRUTH} with the devkit's map_clsloc.txt or "
        f"meta.mat. Or sort the images into {validation}/<wnid>/."
    )


def _first(places: list[Path], name: str) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)


def _flat_wnids(files: tuple[Path, ...], classes: tuple[str, ...]) -> Mapping[str, str]:
    """Return the wnid of each image, by its file name without suffix."""
    if files[0].name == _GROUND_TRUTH:
        return _read_ground_truth(files[0], _read_numbers(files[1]))
    if files[0].name == _SOLUTION:
        with files[0].open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if len(row) > 1 and row[0] != "ImageId"]
        return {row[0]: row[1].split()[0] for row in rows if row[1].split()}
    wnids = {}
    for line in files[0].read_text(encoding="utf-8").splitlines():
        words = line.replace(",", " ").split()
        if len(words) >= 2:
            stem = Path(words[0]).stem
            wnids[stem] = _wnid(words[1], classes, f"{files[0]}, line {line!r}")
    return wnids


def _wnid(label: str, classes: tuple[str, ...], where: str) -> str:
    if not label.isdigit():
        return label
    if int(label) >= len(classes):
        raise DataError(
            f"{where}: label {label} is not in 0 to {len(classes) - 1}, a number in the sorted "
            "order of the wnids of train/. Use wnids where the order or the set is another."
        )
    return classes[int(label)]


def _read_ground_truth(path: Path, numbers: Mapping[int, str]) -> dict[str, str]:
    """Return wnids by image; line k of the file is image ILSVRC2012_val_<k, eight digits>."""
    wnids = {}
    for k, word in enumerate(path.read_text(encoding="ascii").split(), start=1):
        if not word.isdigit() or int(word) not in numbers:
            raise DataError(f"{path}, line {k}: {word!r} is not an ILSVRC2012_ID of the devkit.")
        wnids[f"ILSVRC2012_val_{k:08d}"] = numbers[int(word)]
    return wnids


def _read_numbers(path: Path) -> dict[int, str]:
    """Return the wnid of each ILSVRC2012_ID."""
    if path.suffix == ".txt":  # n02119789 1 kit_fox
        found = re.findall(r"^(n\d+)\s+(\d+)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
        return {int(number): wnid for wnid, number in found}
    from scipy.io import loadmat

    try:
        synsets = loadmat(str(path), squeeze_me=True)["synsets"]
        leaves = [synset for synset in synsets if int(synset["num_children"]) == 0]
        return {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in leaves}
    except (KeyError, TypeError, ValueError, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is not the meta.mat of the ILSVRC2012 devkit: {error}") from error


def _labelled_by_list(
    root: Path,
    part: str,
    names: tuple[str, ...],
    wnids: Mapping[str, str],
    classes: tuple[str, ...],
) -> FileItems:
    stems = [Path(name).stem for name in names]
    unlabelled = [stem for stem in stems if stem not in wnids]
    if unlabelled:
        raise DataError(
            f"{root / part}: {len(unlabelled)} of {len(names)} images are not in the list of "
            f"labels: {shortened(unlabelled)}."
        )
    folders.check_same_classes(root, "train", classes, part, sorted({wnids[s] for s in stems}))
    number = {wnid: k for k, wnid in enumerate(classes)}
    return FileItems(names, labels_array([number[wnids[stem]] for stem in stems]), root)
