from __future__ import annotations

import csv
import io
import json
import math

import pytest

from ablations.simulation.cell import Row
from ablations.simulation.figures import Figure
from ablations.simulation.tables import check_format, failed, render, shown
from recipes import RecipeError

HOLDS = Row(
    group="null",
    line="ladder, both",
    column="3 seeds",
    figure=Figure(value=0.04, low=0.03, high=0.06, games=400, percent=True),
    claim="at most 5 %",
    verdict="holds",
)
FAILS = Row(
    group="null",
    line="ladder, both",
    column="10 seeds",
    figure=Figure(value=0.08, low=0.06, high=0.11, games=400, percent=True),
    claim="at most 5 %",
    verdict="fails",
)
SHOWN = Row(
    group="screen",
    line="one-at-a-time",
    column="no pairs",
    figure=Figure(value=0.0944, low=0.09, high=0.099, games=400),
    claim="",
    verdict="",
)
ROWS = [HOLDS, FAILS, SHOWN]


def test_a_table_has_a_line_per_line_and_marks_what_fails() -> None:
    text = render(ROWS, 400, "table")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "3 seeds 10 seeds claim" in lines
    assert "ladder, both 4.0 +-2.0 8.0 +-3.0! at most 5 %: fails" in lines
    assert "one-at-a-time 0.094 +-0.005 -" in lines
    assert lines[-1].endswith("1 of 2 claims hold; ! marks the others")
    assert "400 games a cell" in lines[-1]


def test_markdown_has_the_same_cells() -> None:
    text = render(ROWS, 400, "markdown")
    assert "| ladder, both | 4.0 +-2.0 | 8.0 +-3.0! | at most 5 %: fails |" in text
    assert "|  | 3 seeds | 10 seeds | claim |" in text
    assert "| :--- | ---: | ---: | :--- |" in text


@pytest.mark.parametrize("format", ["json", "csv"])
def test_programs_get_every_figure_in_full(format: str) -> None:
    text = render(ROWS, 400, format)
    if format == "json":
        tree = json.loads(text)
        assert (tree["schema_version"], tree["games"], tree["level"]) == (1, 400, 0.99)
        assert tree["failed"] == failed(ROWS)
        found = tree["figures"]
    else:
        found = list(csv.DictReader(io.StringIO(text)))
    assert [float(one["low"]) for one in found] == [0.03, 0.06, 0.09]
    assert [one["verdict"] or None for one in found] == ["holds", "fails", None]


def test_what_fails_is_told_in_a_sentence() -> None:
    assert failed(ROWS) == ["null: ladder, both, 10 seeds: 8.0 +-3.0, claimed at most 5 %"]


def test_a_figure_of_nothing_is_a_dash_and_null() -> None:
    empty = Figure(value=math.nan, low=0.0, high=1.0, games=0, percent=True)
    assert shown(empty) == "-"
    row = Row(group="null", line="l", column="c", figure=empty, claim="", verdict="")
    assert json.loads(render([row], 400, "json"))["figures"][0]["value"] is None


def test_an_unknown_format_is_told_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="no format 'tabel': the formats are table, json"):
        check_format("tabel")
