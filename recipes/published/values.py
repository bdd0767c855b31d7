"""Published numbers as values: each with how it is known, in ladders and in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from recipes.kind import Kind


class Status(Enum):
    """How a published number is known here."""

    CONFIRMED = "confirmed"  # read in a reproduction of the source, or in its authors' code
    SECONDARY = "secondary-source"  # read in somebody else's notes only
    DIGITISED = "digitised"  # measured on a picture of a figure
    INFERRED = "inferred"  # follows from what is confirmed
    UNCONFIRMED = "unconfirmed"  # recollection: in no source that could be read


@dataclass(frozen=True)
class Number:
    """A published number and how it is known."""

    value: float
    status: Status


@dataclass(frozen=True)
class Text:
    """A published word, or a remark on numbers, and how it is known."""

    value: str
    status: Status


Cell: TypeAlias = Number | Text | None  # None: the source has none, or it could not be read


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step of a ladder, on top of those before it; the first is the base, without a delta."""

    step: str  # the words of the source
    top1: Number  # percent
    delta: Number | None = None  # points, as printed
    component: str = ""  # text of the grammar for the same change; empty: we have none
    kind: Kind | None = None  # ours; None: of the base
    group: str = ""  # where the source puts the step; empty: nowhere
    remark: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A table to be read beside a ladder: another protocol, so never in the ladder's own table."""

    table: str  # its name
    step: str  # the ladder's step that it is about: the text of its component
    finding: str  # what the two say together


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What ladders and tables have in common."""

    name: str
    title: str
    source: str  # authors, year, address, number of the table
    read_in: str  # where it was read: what `confirmed` rests on
    setting: Mapping[str, Number | Text]  # split, resolution, runs ...; empty: none is stated
    notes: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class Ladder(Publication):
    """Steps in order, each on top of those before it."""

    base: str  # the library's recipe of the first rung; empty: its steps are not all ours
    data: str
    order: Status  # how it is known that the steps stood in this order
    rungs: tuple[Rung, ...]
    beside: tuple[Beside, ...]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table. A unit of `points` marks differences, shown with their sign."""

    name: str
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Table(Publication):
    """Rows of cells, as many in each as there are columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
