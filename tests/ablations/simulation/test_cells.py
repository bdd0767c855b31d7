"""The claims at a size for every day, and what a cell makes of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ablations.errors import RequestError
from ablations.simulation import GROUPS, cells_of, played
from ablations.simulation.cell import Cell, Columns, Measure, Row, rows
from ablations.simulation.cells import cell_of
from ablations.simulation.figures import Claim, share
from ablations.simulation.tables import HEADINGS

# Cells of every group, and games that take a second or two.
SMALL = {
    "coverage: ladder, image, 3 seeds": 200,
    "coverage: one-at-a-time, seed, 5 seeds": 200,
    "coverage: leave-one-out, image, 3 seeds": 200,
    "coverage: bracket, both, 3 seeds": 200,
    "coverage: shapley, seed, 3 seeds": 100,
    "coverage: screen, image, 1 seed, base and full 7": 200,
    "coverage: factorial, both, 3 seeds": 100,
    "coverage: blocks, both, 3 seeds": 200,
    "coverage: ladder, seeds correlated 0.9, 3 seeds": 200,
    "null: ladder, both, 3 seeds": 300,
    "null: ladder, accuracies only, 3 seeds": 300,
    "null: one-at-a-time, accuracies only, until verdicts": 200,
    "screen: pairs 0.3": 100,
    "screen: no pairs": 100,
    "until: leave-one-out, 10": 100,
    "width: +-0.15, accuracies only": 100,
    "power: one-at-a-time, 5 seeds, accuracies only": 200,
}
CHEAP = ("coverage", "null", "screen")  # seconds a cell at 4,000 games


def names() -> list[str]:
    return [cell.name for cell in cells_of("all")]


@cache
def small(name: str) -> list[Row]:
    return played([cell_of(name)], SMALL[name], 1, lambda cell, left: None)


@pytest.mark.parametrize("name", SMALL)
def test_claims_stand_against_a_few_hundred_games(name: str) -> None:
    found = small(name)
    assert [
        f"{row.line}, {row.column}: {row.figure}" for row in found if row.verdict == "fails"
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize("group", CHEAP)
def test_claims_stand_against_four_thousand_games(group: str) -> None:
    found = played(cells_of(group), 4000, 2, lambda cell, left: None)
    assert [
        f"{row.line}, {row.column}: {row.figure}" for row in found if row.verdict == "fails"
    ] == []


def test_every_group_has_a_heading_and_cells_of_its_own() -> None:
    assert {*GROUPS} == {*HEADINGS}
    for group in GROUPS:
        cells = cells_of(group)
        assert cells
        assert {cell.group for cell in cells} == {group}
    assert len({*names()}) == len(names())
    places = [(c.group, one.line, one.column) for c in cells_of("all") for one in c.measures]
    assert len({*places}) == len(places)


def test_cells_are_asked_for_by_group() -> None:
    assert {cell.group for cell in cells_of("null,coverage")} == {"coverage", "null"}
    assert cells_of("all") == tuple(cell for group in GROUPS for cell in cells_of(group))
    with pytest.raises(
        RequestError, match="there are no cells 'nul': choose from coverage, .*null"
    ):
        cells_of("coverage,nul")


def test_what_is_played_does_not_depend_on_the_slots() -> None:
    cells = [cell_of(f"null: ladder, accuracies only, {seeds} seeds") for seeds in (3, 10)]
    told: list[tuple[str, int]] = []
    one, two = (
        played(cells, 150, slots, lambda cell, left: told.append((cell.name, left)))
        for slots in (1, 2)
    )
    assert one == two
    assert [left for _, left in told] == [1, 0, 1, 0]
    assert {name for name, _ in told} == {cell.name for cell in cells}


def a_cell(hits: int, claim: Claim | None) -> Cell:
    def play(generator: np.random.Generator, games: int) -> Columns:
        return {"hits": np.arange(games) < hits, "of": np.ones(games)}

    measure = Measure(
        line="a line",
        column="a column",
        read=lambda columns: share(1.0 * columns["hits"], columns["of"]),
        claim=claim,
    )
    return Cell(group="null", setting="made up", play=play, measures=(measure,))


@pytest.mark.parametrize(
    ("hits", "claim", "verdict"),
    [
        (5, Claim(words="at most 5 %", high=0.05), "holds"),
        (9, Claim(words="at most 5 %", high=0.05), "holds"),  # chance may do that
        (20, Claim(words="at most 5 %", high=0.05), "fails"),
        (20, None, ""),
    ],
)
def test_a_row_says_what_became_of_its_claim(hits: int, claim: Claim | None, verdict: str) -> None:
    cell = a_cell(hits, claim)
    (row,) = rows(cell, cell.play(np.random.default_rng(0), 100))
    assert (row.verdict, row.figure.value) == (verdict, hits / 100)
    assert row.claim == ("at most 5 %" if claim else "")


def test_a_claim_about_nothing_fails() -> None:
    cell = a_cell(0, Claim(words="at most 5 %", high=0.05))
    (row,) = rows(cell, {"hits": np.zeros(3), "of": np.zeros(3)})
    assert row.verdict == "fails"
