"""The data sets by name: from the DATA word of the command line to an opened source."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lightning_modules.data import (
    cifar,
    digits,
    folders,
    huggingface,
    imagenet,
    shard_names,
    shards,
)
from lightning_modules.data.errors import DataError
from lightning_modules.data.items import DataSpec, Source


@dataclass(frozen=True)
class DataFormat:
    """One kind of data set that DATA can name."""

    form: str  # how it is written
    summary: str
    open: Callable[[DataSpec, Path | None], Source]  # the path: of what is remembered
    list_files: Callable[[DataSpec], tuple[Path, tuple[str, ...]]]
    place: Callable[[str], Path | str] = Path  # from the text after the colon


def _without_memory(open_: Callable[[DataSpec], Source]) -> Callable[..., Source]:
    return lambda spec, memory: open_(spec)


DATA_FORMATS: Mapping[str, DataFormat] = MappingProxyType(
    {
        "digits": DataFormat(
            "digits",
            "scikit-learn's 1797 handwritten digits, 8 x 8; nothing to download",
            _without_memory(digits.open_digits),
            digits.list_files,
        ),
        "cifar10": DataFormat(
            "cifar10:DIR",
            "CIFAR-10 as published (python or binary) or as class folders",
            _without_memory(cifar.open_cifar),
            cifar.list_files,
        ),
        "cifar100": DataFormat(
            "cifar100:DIR",
            "CIFAR-100 as published (python or binary) or as class folders",
            _without_memory(cifar.open_cifar),
            cifar.list_files,
        ),
        "imagefolder": DataFormat(
            "imagefolder:DIR",
            "class folders: train/<class>/ with val/, validation/ or test/",
            _without_memory(folders.open_folders),
            folders.list_files,
        ),
        "imagenet": DataFormat(
            "imagenet:DIR",
            "ImageNet: train/<wnid>/ with val/<wnid>/ or a flat val/ and its list of labels",
            _without_memory(imagenet.open_imagenet),
            imagenet.list_files,
        ),
        "wds": DataFormat(
            shard_names.FORM,
            "WebDataset shards, on disk or at web addresses, as train-{00..99}.tar,val.tar",
            shards.open_shards,
            shards.list_files,
            shard_names.place,
        ),
        "hf": DataFormat(
            huggingface.FORM,
            "a set of the Hugging Face datasets library (the extra hf)",
            _without_memory(huggingface.open_hub),
            huggingface.list_files,
            huggingface.place,
        ),
    }
)


def parse_data(text: str) -> DataSpec:
    """Return the spec that a DATA word such as `digits` or `cifar10:DIR` names.

    Reads no file; `open_source` and `data_facts` look whether the folder is there.
    """
    name, colon, folder = text.strip().partition(":")
    name, folder = name.strip(), folder.strip()
    if "://" in folder and name != "wds" or folder.startswith("//") and name not in DATA_FORMATS:
        # Not repeated: it may hold a password, and messages are kept in logs.
        raise DataError(
            "only wds: reads from web addresses, as wds:https://host/train-{0..9}.tar,..."
        )
    if name not in DATA_FORMATS:
        near = difflib.get_close_matches(name.lower(), DATA_FORMATS, n=2)
        hint = f" Did you mean {' or '.join(DATA_FORMATS[n].form for n in near)}?" if near else ""
        choices = ", ".join(known.form for known in DATA_FORMATS.values())
        raise DataError(f"unknown data {text!r}.{hint} Choices: {choices}.")
    form = DATA_FORMATS[name].form
    if ":" not in form:
        if colon:
            raise DataError(f"{text!r}: {name} takes no folder; write {form}.")
        return DataSpec(name)
    if not folder:
        raise DataError(f"{text!r} lacks its folder; write {form}.")
    return DataSpec(name, DATA_FORMATS[name].place(folder))


def open_source(
    spec: DataSpec, *, skip_corrupt: bool = False, memory: Path | None = None
) -> Source:
    """Open a data set: list its files and read its labels.

    Args:
        spec: What `parse_data` returned.
        skip_corrupt: Decode every image once and leave out those that cannot be decoded; they
            are listed in `Source.skipped`.
        memory: The folder that remembers the outcome of that check; None checks anew.
    """
    source = DATA_FORMATS[spec.name].open(spec, memory)
    if not skip_corrupt:
        return source
    from lightning_modules.data.corrupt import leave_out_corrupt

    return leave_out_corrupt(source, memory)
