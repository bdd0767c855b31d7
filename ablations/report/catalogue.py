"""`ablate list`: what there is to choose from, made from the things themselves."""

from __future__ import annotations

import inspect

from ablations.designs import DESIGNS
from ablations.ledger import Ledger
from lightning_modules.data import DATA_FORMATS
from recipes import library
from recipes import published as publications
from recipes.components import BUNDLES, TABLE
from recipes.schedule import Schedule
from recipes.tree import declarations, leaf_types
from recipes.validate import type_name

_STATUSES = """\
each number says how it is known
  confirmed         read in a copy of the source, or in its authors' code
  secondary-source  read in notes of others only
  digitised         measured on a picture of a figure
  inferred          follows from what is confirmed
  unconfirmed       recollection: in no source that could be read"""


def components() -> str:
    """Return the card of every component, and the bundles."""
    parts = []
    for key, component in TABLE.items():
        head = f"{key}  ({component.kind.value})  {component()}"
        card = "\n".join(f"    {line}".rstrip() for line in component.card().splitlines())
        parts.append(f"{head}\n{card}")
    bundles = "\n".join(f"  {name}: {','.join(keys)}" for name, keys in BUNDLES.items())
    return "\n\n".join([*parts, f"bundles\n{bundles}"])


def recipes() -> str:
    """Return the library's recipes with their sources and expected numbers."""
    parts = []
    for name in library.names():
        about = library.about(name)
        top1 = about["expected_top1"]
        parts.append(
            f"{name}\n    {about['title']}: {about['parameters'] / 1e6:.1f} M parameters,"
            f" {about['macs'] / 1e9:.3g} G multiply-adds"
            f"\n    expected: {about['expected']}; to be doubted outside {top1['low']:g} to"
            f" {top1['high']:g}"
            f"\n    cost: {about['cost']}\n    {about['command']}"
        )
    return "\n\n".join([*parts, "also a YAML file, or any timm model name with the bare baseline"])


def designs() -> str:
    """Return the designs with what each asks."""
    return "\n\n".join(
        f"{name}\n"
        + "\n".join(
            f"    {line}" for line in inspect.cleandoc(design.make.__doc__ or "").splitlines()
        )
        for name, design in DESIGNS.items()
    )


def data() -> str:
    """Return how each kind of data set is named."""
    width = max(len(known.form) for known in DATA_FORMATS.values())
    return "\n".join(f"{known.form:<{width}}  {known.summary}" for known in DATA_FORMATS.values())


def leaves() -> str:
    """Return every leaf that `--set` can name, with its type and meaning."""
    rows = []
    for path, leaf in declarations().items():
        choices = " | ".join(leaf.choices)
        kind = choices or type_name(leaf_types()[path]).split(" such")[0]
        moves = ", schedulable" if Schedule in getattr(leaf_types()[path], "__args__", ()) else ""
        rows.append(f"{path:<30} {leaf.doc} ({kind}{moves})")
    return "\n".join(rows)


def published() -> str:
    """Return the published ladders and tables by name."""
    known = [publications.load(name) for name in publications.names()]
    width = max(len(one.name) for one in known)
    parts = [
        "\n".join(
            [words, *(f"  {one.name:<{width}}  {one.title}" for one in known if type(one) is owner)]
        )
        for words, owner in (
            ("ladders, in the form of a study", publications.Ladder),
            ("tables", publications.Table),
        )
    ]
    return "\n\n".join([*parts, _STATUSES])


def studies(ledger: Ledger) -> str:
    """Return the studies of a home, newest first."""
    return "\n".join(ledger.studies()) or f"no study in {ledger.home}"
