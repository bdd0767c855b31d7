"""Published tables as text: every cell is there, and how it is known is told."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from ablations.report.published import known, render_table
from recipes.published import Cell, Column, Number, Status, Table, Text

CONFIRMED, DIGITISED, INFERRED = Status.CONFIRMED, Status.DIGITISED, Status.INFERRED


def example(*rows: tuple[Cell, ...]) -> Table:
    """Return a table of three columns: a word, a number, a difference."""
    usual = (
        (Text("first|one", CONFIRMED), Number(81.25, CONFIRMED), Number(0.5, DIGITISED)),
        (Text("second", CONFIRMED), Number(7, INFERRED), None),
        (Text("third", CONFIRMED), Number(80, CONFIRMED), Number(-0.25, DIGITISED)),
    )
    return Table(
        name="mine",
        title="a title",
        source="a source",
        read_in="a picture",
        setting={"split": Text("minival", CONFIRMED)},
        notes=(Text("a note", INFERRED),),
        columns=(
            Column(name="model"),
            Column(name="top1", unit="%"),
            Column(name="delta", unit="points"),
        ),
        rows=rows or usual,
    )


def test_text_lines_up_and_marks_what_differs_from_its_column() -> None:
    lines = render_table(example(), "table").splitlines()
    assert lines[:6] == [
        "mine: a title (a source)",
        "model       top1     delta",
        "               %    points",
        "first|one  81.25      +0.5",
        "second         7 i       -",
        "third         80     -0.25",
    ]
    said = "\n".join(lines[6:])
    assert "known: confirmed except delta (digitised); i = inferred" in said
    assert "split = minival [confirmed]" in said
    assert "a note [inferred]" in said and "read in: a picture" in said


def test_markdown_cells_read_back() -> None:
    text = render_table(example(), "markdown")
    rows = [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ") and ":---" not in line and "---:" not in line
    ]
    assert rows == [
        ["model", "top1 %", "delta points"],
        ["first|one", "81.25", "+0.5"],
        ["second", "7 i", "-"],
        ["third", "80", "-0.25"],
    ]


def test_latex_has_every_cell_and_its_mark_beside_the_number() -> None:
    text = render_table(example(), "latex")
    head, _, body = text.partition(r"\midrule")
    assert r"model & top1 & delta \\  & \% & points \\" in head
    assert r"\caption{mine: a title (a source).}" in head and "{@{}lrr@{}}" in head
    assert [line.strip() for line in body.splitlines()[1:4]] == [
        r"first\textbar{}one & 81.25 & $+0.5$ \\",
        r"second & 7\rlap{$^{i}$} & -- \\",
        r"third & 80 & $-0.25$ \\",
    ]
    assert r"\item a note {[}inferred{]}" in body and text.isascii()


def test_csv_has_every_value_and_its_status() -> None:
    rows = list(csv.DictReader(io.StringIO(render_table(example(), "csv"))))
    assert [row["top1 %"] for row in rows] == ["81.25", "7", "80"]
    assert [row["top1 % status"] for row in rows] == ["confirmed", "inferred", "confirmed"]
    assert [row["delta points"] for row in rows] == ["0.5", "", "-0.25"]
    assert [row["delta points status"] for row in rows] == ["digitised", "", "digitised"]


def test_json_has_every_value_and_its_status() -> None:
    found = json.loads(render_table(example(), "json"))
    assert list(found) == [
        "schema_version", "name", "title", "source", "read_in", "setting", "columns", "rows",
        "notes",
    ]  # fmt: skip
    assert found["columns"][1] == {"name": "top1", "unit": "%"}
    assert found["rows"][1] == [
        {"value": "second", "status": "confirmed"},
        {"value": 7, "status": "inferred"},
        None,
    ]
    assert found["setting"] == {"split": {"value": "minival", "status": "confirmed"}}


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ({"a": CONFIRMED}, "confirmed"),
        ({"a": CONFIRMED, "b": INFERRED, "c": INFERRED}, "inferred except a (confirmed)"),
        (
            {"a": DIGITISED, "b": INFERRED, "c": INFERRED, "d": INFERRED, "e": DIGITISED}
            | {"f": CONFIRMED},
            "inferred except a, e (digitised), f (confirmed)",
        ),
    ],
)
def test_the_commonest_status_is_said_first(statuses: dict[str, Status], said: str) -> None:
    assert known(statuses) == said
