"""The few facts about a data set that a planner needs, remembered so that no image is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lightning_modules.data.fingerprint import data_fingerprint
from lightning_modules.data.items import DataSpec, Source
from lightning_modules.data.memory import Stats, recall, remember, stat_files
from lightning_modules.data.sources import DATA_FORMATS, open_source


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """A data set in a few numbers."""

    name: str
    classes: int
    train: int  # images, before minival is taken
    validation: int  # images
    native_size: tuple[int, int] | None  # (height, width); None where the images differ
    fingerprint: str
    skipped: tuple[str, ...] = ()  # corrupt images that were left out on request


def data_facts(spec: DataSpec, memory: Path | None, *, skip_corrupt: bool = False) -> DataFacts:
    """Return the facts; a second call on unchanged files only lists and stats them."""
    key = "facts_skip_corrupt" if skip_corrupt else "facts"
    stats: Stats | None = None
    if memory is not None:
        folder, files = DATA_FORMATS[spec.name].list_files(spec)
        if files:
            stats = stat_files(folder, files)
            known = recall(memory, spec.key, stats).get(key)
            if isinstance(known, dict) and set(known) == {f.name for f in fields(DataFacts)}:
                return _from_json(known)
    facts = _facts(open_source(spec, skip_corrupt=skip_corrupt, memory=memory), memory)
    if memory is not None and stats is not None:
        remember(memory, spec.key, stats, {key: _to_json(facts)})
    return facts


def _facts(source: Source, memory: Path | None) -> DataFacts:
    sizes = {source.train.native_size(), source.validation.native_size()}
    return DataFacts(
        name=source.name,
        classes=len(source.classes),
        train=len(source.train),
        validation=len(source.validation),
        native_size=sizes.pop() if len(sizes) == 1 else None,
        fingerprint=data_fingerprint(source, memory),
        skipped=source.skipped,
    )


def _to_json(facts: DataFacts) -> dict[str, Any]:
    return {**vars(facts), "skipped": list(facts.skipped)}


def _from_json(known: dict[str, Any]) -> DataFacts:
    size = known["native_size"]
    return DataFacts(
        **{
            **known,
            "native_size": None if size is None else (size[0], size[1]),
            "skipped": tuple(known["skipped"]),
        }
    )
