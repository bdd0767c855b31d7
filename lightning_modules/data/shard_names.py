"""Which shards the text after `wds:` names: a folder, or patterns of files or web addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lightning_modules.data.errors import DataError, shortened
from lightning_modules.data.folders import VALIDATION_FOLDERS, content
from lightning_modules.data.shelf import check_address, is_address

FORM = "wds:DIR or wds:TRAIN,VAL"


def place(text: str) -> str:
    """Return the text after `wds:` with its paths made absolute; reads nothing.

    Raises:
        DataError: an address that is not http or https, or that holds a secret.
    """
    found = []
    for part in _split(text):
        if is_address(part):
            check_address(part)
            found.append(part)
        else:
            found.append(os.path.abspath(os.path.expanduser(part)))
    return ",".join(found)


def shards_of(text: str) -> tuple[list[str], list[str]]:
    """Return the shards of training and of validation that a text names, in the order it does.

    Raises:
        DataError: what is wrong with it.
    """
    parts = _split(text)
    if len(parts) == 1 and not is_address(parts[0]) and not re.search(r"[{}]|\.tar$", parts[0]):
        return _in_folder(Path(parts[0]))
    if len(parts) != 2:
        raise DataError(
            f"wds:{text} names {len(parts)} sets of shards; write {FORM}, where TRAIN and VAL are"
            " a tar file or several, as shards/train-{000..146}.tar or https://host/train-{0..9}.tar"
        )
    train, validation = (_expanded(part) for part in parts)
    if twice := sorted(set(train) & set(validation)):
        raise DataError(f"wds:{text}: {shortened(twice)} would be trained on and evaluated.")
    return train, validation


def _in_folder(folder: Path) -> tuple[list[str], list[str]]:
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist ({FORM}).")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".tar"))
    train = [name for name in names if "train" in name.lower()]
    rest = [name for name in names if name not in train]
    for word in VALIDATION_FOLDERS:
        validation = [name for name in rest if word in name.lower()]
        if train and validation:
            return [str(folder / name) for name in train], [
                str(folder / name) for name in validation
            ]
    raise DataError(
        f"{folder} needs tar files with train and with one of {', '.join(VALIDATION_FOLDERS)} in"
        f" their names; it holds: {content(folder)}. Or write wds:TRAIN,VAL."
    )


def _split(text: str) -> list[str]:
    """Split at commas that are not inside braces."""
    return [part.strip() for part in re.split(r",(?![^{}]*\})", text) if part.strip()]


def _expanded(pattern: str) -> list[str]:
    """Return what a pattern with `{000..146}` and `{a,b}` names, in order."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        if "{" in pattern or "}" in pattern:
            raise DataError(f"wds: the braces of {pattern!r} do not match.")
        return [pattern]
    inner, span = found[1], re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if span is None and "," not in inner:
        raise DataError(f"wds: {{{inner}}} in {pattern!r}: write {{000..146}} or {{a,b}}.")
    choices = inner.split(",")
    if span is not None:
        low, high = int(span[1]), int(span[2])
        if high < low or high - low >= 100_000:
            raise DataError(f"wds: {{{inner}}} in {pattern!r} counts {high - low + 1} shards.")
        choices = [str(number).zfill(len(span[1])) for number in range(low, high + 1)]
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [one for choice in choices for one in _expanded(head + choice + tail)]


def short(places: Sequence[str]) -> list[str]:
    """Return the shards' names without what they have in common before them."""
    folders = [PurePosixPath(place).parts for place in places]
    shared = 0
    while all(len(one) > shared + 1 and one[shared] == folders[0][shared] for one in folders):
        shared += 1
    return ["/".join(one[shared:]) for one in folders]
