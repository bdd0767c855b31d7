"""Class folders, `train/<class>/*` beside `val/<class>/*`: the layout of most image sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.items import DataSpec, FileItems, Source, labels_array

VALIDATION_FOLDERS = ("val", "validation", "test")  # the first that exists is read
IMAGE_SUFFIXES = frozenset(  # torchvision's list
    (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
)


def list_files(spec: DataSpec) -> tuple[Path, tuple[str, ...]]:
    """Return the folder and every image file of the set."""
    root = existing_folder(spec)
    train, validation = parts(root)
    return root, tuple(sorted(images_below(root, train) + images_below(root, validation)))


def open_folders(spec: DataSpec) -> Source:
    """Open class folders; the classes are the sorted names of the folders in train/."""
    root, files = list_files(spec)
    train, validation = parts(root)
    classes = class_names(root, train, files)
    check_same_classes(root, train, classes, validation, class_names(root, validation, files))
    return Source(
        name=spec.name,
        classes=classes,
        train=labelled_by_folder(root, train, files, classes),
        validation=labelled_by_folder(root, validation, files, classes),
        folder=root,
        files=files,
    )


def open_validation(spec: DataSpec) -> tuple[tuple[str, ...], FileItems]:
    """Return the classes and the images to evaluate; no training image is listed.

    The classes are those of the validation folder, which are the same in a set that `open_folders`
    has opened.
    """
    root = existing_folder(spec)
    _, validation = parts(root)
    files = sorted(images_below(root, validation))
    classes = class_names(root, validation, files)
    return classes, labelled_by_folder(root, validation, files, classes)


def existing_folder(spec: DataSpec) -> Path:
    """Return the folder of a spec, made absolute; raise where there is none."""
    if spec.folder is None:
        raise DataError(f"{spec.name} needs a folder: {spec.name}:DIR.")
    try:
        folder = Path(os.path.abspath(Path(spec.folder).expanduser()))
    except RuntimeError:
        raise DataError(f"{spec.text}: there is no such user.") from None
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(f"{folder} is a file; {spec.name}:DIR needs a folder (unpack an archive).")
    known = next(parent for parent in folder.parents if parent.is_dir())
    raise DataError(f"the folder {folder} does not exist; {known} holds: {content(known)}.")


def parts(root: Path) -> tuple[str, str]:
    """Return the names of the train and the validation folder."""
    validation = next((name for name in VALIDATION_FOLDERS if (root / name).is_dir()), None)
    if (root / "train").is_dir() and validation is not None:
        return "train", validation
    raise DataError(
        f"{root} needs train/<class>/ and one of {', '.join(f'{v}/' for v in VALIDATION_FOLDERS)}; "
        f"it holds: {content(root)}."
    )


def content(folder: Path) -> str:
    """Return the first few names in a folder, for a message."""
    names = sorted(
        f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(folder)
    )
    return shortened(names) or "nothing"


def images_below(root: Path, part: str) -> list[str]:
    """Return the paths, relative to root, of the images in a part; hidden files are no images."""
    found: list[str] = []
    waiting = [part]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not (entry.is_symlink() and _leads_back(entry.path)):
                        waiting.append(f"{folder}/{entry.name}")
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    found.append(f"{folder}/{entry.name}")
    return found


def _leads_back(link: str) -> bool:
    """Return whether a link points to a folder that contains it."""
    target, here = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath([target, here]) == target


def class_names(root: Path, part: str, files: Sequence[str]) -> tuple[str, ...]:
    """Return the sorted class folders of a part; raise where one is empty or stands alone."""
    folders = {
        entry.name
        for entry in os.scandir(root / part)
        if entry.is_dir() and not entry.name.startswith(".")
    }
    filled = {name.split("/", 2)[1] for name in files if name.startswith(f"{part}/")}
    if not filled:
        raise DataError(
            f"{root / part} has no images (of type {', '.join(sorted(IMAGE_SUFFIXES))}); "
            f"it holds: {content(root / part)}."
        )
    loose = sorted(filled - folders)
    if loose:
        raise DataError(
            f"{root / part} holds images outside class folders ({shortened(loose)}); expected "
            f"{part}/<class>/<image>."
        )
    empty = sorted(folders - filled)
    if empty:
        raise DataError(
            f"{root / part} has class folders without images: {shortened(empty)}. "
            "Fill or remove them."
        )
    if len(folders) == 1:
        raise DataError(
            f"{root / part} has one class folder ({', '.join(folders)}); classification needs "
            "two or more."
        )
    return tuple(sorted(folders))


def check_same_classes(
    root: Path, train: str, classes: Sequence[str], validation: str, others: Sequence[str]
) -> None:
    """Raise where two parts do not have the same classes."""
    differences = [
        f"only in {part}/: {shortened(sorted(names))}"
        for part, names in (
            (train, set(classes) - set(others)),
            (validation, set(others) - set(classes)),
        )
        if names
    ]
    if differences:
        raise DataError(
            f"{root}: the classes of {train}/ and {validation}/ differ ({'; '.join(differences)}). "
            "Both need the same class folders."
        )


def labelled_by_folder(
    root: Path, part: str, files: Sequence[str], classes: Sequence[str]
) -> FileItems:
    """Return the files of a part, each labelled by its class folder."""
    number = {name: k for k, name in enumerate(classes)}
    names = tuple(name for name in files if name.startswith(f"{part}/"))
    return FileItems(names, labels_array([number[name.split("/", 2)[1]] for name in names]), root)
