"""The images that results are read on, opened to be looked at.

Cheap, and without the network: no training image of class folders is listed, no shard is read for
its index, nothing is fetched. Whoever asks checks the labels against what runs have kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from lightning_modules.data import folders, imagenet
from lightning_modules.data.decode import Pixels, decode_image, decode_scaled, image_size
from lightning_modules.data.errors import DataError
from lightning_modules.data.items import DataSpec, EncodedItems, FileItems, Items, Source
from lightning_modules.data.memory import recall, stat_files
from lightning_modules.data.shard_index import is_remembered
from lightning_modules.data.shard_names import shards_of
from lightning_modules.data.shelf import is_address
from lightning_modules.data.sources import open_source
from lightning_modules.data.split import split_train
from recipes import Data

_VALIDATION: Mapping[str, Callable[[DataSpec], tuple[tuple[str, ...], FileItems]]] = (
    MappingProxyType({"imagefolder": folders.open_validation, "imagenet": imagenet.open_validation})
)


def open_evaluated(
    spec: DataSpec, data: Data, split: str, memory: Path, *, skip_corrupt: bool = False
) -> tuple[tuple[str, ...], Items]:
    """Return the classes and the images of a split, in the order in which they are evaluated.

    Args:
        spec: What `parse_data` returned.
        data: The leaves of the recipe that was trained; they decide what minival is.
        split: `validation` or `minival`.
        memory: The folder that remembers facts of data sets, which is only read.
        skip_corrupt: Leave out the images that are remembered as corrupt.

    Raises:
        DataError: The images are not there, or only a network or reading the whole set has them.
    """
    _check_at_hand(spec, memory)
    if split == "validation" and spec.name in _VALIDATION and not skip_corrupt:
        return _VALIDATION[spec.name](spec)
    source = open_source(spec, memory=memory)
    if skip_corrupt:
        source = _without_corrupt(source, memory)
    if split == "validation":
        return source.classes, source.validation
    _, minival = split_train(source.train.names, source.train.labels, data.minival_fraction)
    return source.classes, source.train.take(minival)


def glance(items: Items, i: int, side: int) -> Pixels:
    """Return image `i`, decoded at a lower resolution where it has many more pixels than `side`.

    Raises:
        DataError: It cannot be read.
    """
    if not isinstance(items, EncodedItems):
        return items.read(i)
    content = items.content(i)
    size = image_size(content)
    scaled = decode_scaled(content, side / max(size)) if size else None
    return scaled[0] if scaled is not None else decode_image(content, items.title(i))


def _check_at_hand(spec: DataSpec, memory: Path) -> None:
    if spec.name == "hf":
        raise DataError("the library that reads hf: may ask the network")
    if spec.name != "wds":
        return
    shards = [shard for part in shards_of(str(spec.folder)) for shard in part]
    if any(is_address(shard) for shard in shards):
        raise DataError("the shards are at web addresses")
    if not all(is_remembered(shard, memory) for shard in shards):
        raise DataError("shards have changed since, or their index is not remembered in this home")


def _without_corrupt(source: Source, memory: Path) -> Source:
    known = recall(memory, source.key, stat_files(source.folder, source.files)).get("corrupt")
    if not isinstance(known, list):  # then the labels, or their number, do not fit
        return source
    return source.without([str(name) for name in known])
