"""Published numbers: equal to a second transcription, each with the status that the facts give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recipes import Kind, RecipeError, load, parse, published, stack
from recipes.published import Cell, Ladder, Number, Rung, Status, Table, Text, read
from tests.recipes.printed import (
    EFFICIENTNET,
    FIGURE_3,
    RESNET_RS,
    SPEED_UPS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TORCHVISION,
    VIDEO,
)

ALL = {name: published.load(name) for name in published.names()}
LADDERS = [one for one in ALL.values() if isinstance(one, Ladder)]
TABLES = [one for one in ALL.values() if isinstance(one, Table)]

every_ladder = pytest.mark.parametrize("ladder", LADDERS, ids=[one.name for one in LADDERS])
every_table = pytest.mark.parametrize("table", TABLES, ids=[one.name for one in TABLES])


def ladder(name: str) -> Ladder:
    found = ALL[name]
    assert isinstance(found, Ladder)
    return found


def table(name: str) -> Table:
    found = ALL[name]
    assert isinstance(found, Table)
    return found


def plain(cell: Cell) -> Any:
    return None if cell is None else cell.value


def values(name: str) -> list[tuple[Any, ...]]:
    return [tuple(map(plain, row)) for row in table(name).rows]


def column(name: str, head: str) -> list[Cell]:
    place = [one.name for one in table(name).columns].index(head)
    return [row[place] for row in table(name).rows]


def numbers(rungs: tuple[Rung, ...]) -> list[tuple[float, float | None]]:
    return [(rung.top1.value, plain(rung.delta)) for rung in rungs]


def exact(value: float) -> Decimal:
    return Decimal(str(value))


def test_what_was_promised_is_there() -> None:
    assert {"resnet-rs", "resnet-rs-video", "torchvision"} <= {one.name for one in LADDERS}
    promised = {f"resnet-rs-table-{number}" for number in (2, 3, 4, 7, 10)}
    assert promised | {"resnet-rs-figure-3", "resnet-strikes-back"} <= {one.name for one in TABLES}


def test_the_ladders_are_the_printed_ones() -> None:
    found = ladder("resnet-rs").rungs
    assert [(rung.component, *pair) for rung, pair in zip(found, numbers(found), strict=True)] == (
        TABLE_1
    )
    assert numbers(ladder("resnet-rs-video").rungs) == VIDEO
    assert numbers(ladder("torchvision").rungs) == TORCHVISION


def test_the_tables_are_the_printed_ones() -> None:
    assert values("resnet-rs-table-2") == TABLE_2
    assert values("resnet-rs-table-3") == TABLE_3
    assert values("resnet-rs-table-4") == TABLE_4
    family = {(row[0], row[1]): (*row[2:4], *row[5:10]) for row in values("resnet-rs-table-7")}
    assert family == RESNET_RS | EFFICIENTNET
    figure = {(row[0], row[1]): row[2:] for row in values("resnet-rs-figure-3")}
    assert figure == FIGURE_3
    assert values("resnet-rs-figure-3-seconds")[-1] == (320, 0.157, 0.286, 0.385, None, 0.25, 0.365)
    assert values("resnet-strikes-back") == [
        ("A1", 600, 224, 80.4),
        ("A2", 300, 224, 79.8),
        ("A3", 100, 160, 78.1),
    ]
    setup = {row[0]: row[1:] for row in values("resnet-rs-table-10")}
    assert setup["epochs"] == (90, 350, 350)
    assert setup["optimizer"] == ("momentum", "momentum", "rmsprop")
    yes = [key for key, row in setup.items() if row == ("no", "yes", "yes")]
    assert len(yes) == len(setup) - 3 == 8


@every_ladder
def test_printed_deltas_telescope_to_the_totals(ladder: Ladder) -> None:
    for before, after in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        assert after.delta is not None
        assert exact(after.delta.value) == exact(after.top1.value) - exact(before.top1.value)


def test_the_split_of_table_1_is_3_2_and_1_2() -> None:
    sides = {"training": Decimal(0), "architecture": Decimal(0)}
    for rung in ladder("resnet-rs").rungs[1:]:
        assert rung.kind is not None and rung.delta is not None
        sides[rung.kind.side] += exact(rung.delta.value)
    assert sides == {"training": Decimal("3.2"), "architecture": Decimal("1.2")}


@every_ladder
def test_components_are_read_and_of_the_kind_that_the_file_says(ladder: Ladder) -> None:
    assert ladder.rungs[0].kind is None and ladder.rungs[0].delta is None
    for rung in ladder.rungs[1:]:
        assert rung.kind is not None
        for component in parse(rung.component) if rung.component else ():
            assert component.kind is rung.kind


def test_table_1_is_the_bundle_of_the_paper_on_a_recipe_of_the_library() -> None:
    found = ladder("resnet-rs")
    steps = tuple(one for rung in found.rungs[1:] for one in parse(rung.component))
    assert steps == parse("paper")
    stack(load(found.base), steps)


def test_the_groups_of_the_paper_stand_beside_our_kinds() -> None:
    # The picture colours epochs with the training methods, EMA and RandAugment as regularization.
    rungs = {rung.component: rung for rung in ladder("resnet-rs").rungs[1:]}
    assert rungs["epochs"].group == "training"
    assert rungs["ema"].group == "regularization"
    assert (rungs["ra"].group, rungs["ra"].kind) == ("regularization", Kind.AUGMENTATION)
    others = [rung for key, rung in rungs.items() if key != "ra"]
    assert all(rung.kind is not None and rung.kind.value == rung.group for rung in others)


@every_ladder
def test_every_number_of_a_ladder_has_a_status(ladder: Ladder) -> None:
    for rung in ladder.rungs:
        assert isinstance(rung.top1, Number) and isinstance(rung.top1.status, Status)
    for rung in ladder.rungs[1:]:
        assert isinstance(rung.delta, Number) and isinstance(rung.delta.status, Status)
    for cell in (*ladder.setting.values(), *ladder.notes):
        assert isinstance(cell.status, Status)


@every_table
def test_every_cell_of_a_table_has_a_status(table: Table) -> None:
    for row in table.rows:
        assert len(row) == len(table.columns)
        for cell in row:
            assert (
                cell is None or isinstance(cell, Number | Text) and isinstance(cell.status, Status)
            )
    for cell in (*table.setting.values(), *table.notes):
        assert isinstance(cell.status, Status)


def test_the_status_of_table_1_is_that_of_the_facts() -> None:
    found = ladder("resnet-rs")
    statuses = {rung.top1.status for rung in found.rungs}
    statuses |= {rung.delta.status for rung in found.rungs if rung.delta}
    assert statuses == {Status.CONFIRMED} == {found.order}
    assert found.setting["resolution"] == Number(256, Status.INFERRED)
    assert found.setting["runs averaged"] == Number(2, Status.UNCONFIRMED)
    assert found.setting["split"] == Text("validation", Status.UNCONFIRMED)
    wording = next(note for note in found.notes if "wording of the two footnotes" in note.value)
    assert wording.status is Status.UNCONFIRMED
    dagger = {rung.component: rung.remark for rung in found.rungs}["epochs"]
    assert dagger is not None and dagger.status is Status.SECONDARY


def test_the_status_of_the_video_ladder_is_that_of_the_facts() -> None:
    found = ladder("resnet-rs-video")
    confirmed = [rung.top1.value for rung in found.rungs if rung.top1.status is Status.CONFIRMED]
    assert confirmed == [73.4, 77.4, 78.2]
    others = {rung.top1.status for rung in found.rungs if rung.top1.value not in confirmed}
    assert others == {Status.UNCONFIRMED} == {found.order}
    *deltas, last = [rung.delta for rung in found.rungs if rung.delta is not None]
    assert {delta.status for delta in deltas} == {Status.SECONDARY}
    assert last.status is Status.INFERRED


def test_the_status_of_the_tables_is_that_of_the_facts() -> None:
    def statuses(name: str, head: str) -> set[Status]:
        return {cell.status for cell in column(name, head) if cell is not None}

    assert statuses("resnet-rs-table-2", "delta") == {Status.CONFIRMED}
    assert statuses("resnet-rs-table-3", "V100") == {Status.CONFIRMED}
    assert statuses("resnet-rs-table-4", "top1") == {Status.CONFIRMED}
    assert statuses("resnet-rs-table-4", "V100") == {Status.SECONDARY}
    assert statuses("resnet-rs-table-4", "resolution") == {Status.INFERRED}
    assert statuses("resnet-rs-table-7", "top1") == {Status.CONFIRMED}
    assert statuses("resnet-rs-table-7", "computed") == {Status.INFERRED}
    assert statuses("resnet-rs-table-7", "ported") == {Status.SECONDARY}
    assert statuses("resnet-rs-table-10", "ResNet-RS") == {Status.SECONDARY}
    assert statuses("resnet-rs-figure-3", "depth 400") == {Status.DIGITISED}
    assert statuses("resnet-rs-figure-3", "epochs") == {Status.CONFIRMED}
    assert statuses("resnet-rs-table-7", "V100x") == {Status.CONFIRMED}
    for head in ("resolution", "top1"):
        assert [cell.status for cell in column("resnet-strikes-back", head) if cell] == [
            Status.CONFIRMED,
            Status.SECONDARY,
            Status.UNCONFIRMED,
        ]


def test_table_2_holds_its_own_differences() -> None:
    for *_, before, after, delta in values("resnet-rs-table-2"):
        assert exact(after) - exact(before) == exact(delta)


def test_one_flops_figure_of_table_7_is_a_misprint_and_the_file_says_so() -> None:
    def rounded(computed: float, printed: float) -> float:
        return round(computed, 1 if printed < 10 else 0)

    rows = [row for row in values("resnet-rs-table-7") if row[4] is not None]
    wrong = [row[:2] for row in rows if rounded(row[4], row[3]) != row[3]]
    assert wrong == [("ResNet-RS-152", 192)]
    said = " ".join(note.value for note in table("resnet-rs-table-7").notes)
    assert all(word in said for word in ("18 B", "17.49", "82.2", "2301.1"))


def test_one_ratio_of_table_3_is_a_misprint_and_the_file_says_so() -> None:
    rows = values("resnet-rs-table-3")
    wrong = []
    for ours, theirs in (rows[:2], rows[2:]):
        for place in (5, 7, 9):
            if round(theirs[place] / ours[place], 1) != theirs[place + 1]:
                wrong.append((theirs[0], place))
    assert wrong == [("EfficientNet-B7", 9)]
    assert any("29.9 / 10.2" in note.value for note in table("resnet-rs-table-3").notes)


def test_the_speed_ups_of_table_7_are_the_printed_ones_and_those_of_its_latencies() -> None:
    rows = values("resnet-rs-table-7")
    found = {(row[0], row[1]): row[10:] for row in rows if row[10:] != (None, None)}
    assert found == {key: told[:2] for key, told in SPEED_UPS.items()}
    ours = {(row[0], row[1]): row[5:7] for row in rows}
    theirs = {row[0]: row[5:7] for row in rows}
    for key, (*printed, over) in SPEED_UPS.items():
        pairs = zip(theirs[over], ours[key], strict=True)
        for (slow, fast), number in zip(pairs, printed, strict=True):
            assert round(slow / fast + 1e-9, 1) == number  # 210 / 120 = 1.75 prints 1.8
    said = " ".join(note.value for note in table("resnet-rs-table-7").notes)
    assert all(word in said for word in ("float32 on V100", "bfloat16 on TPUv3", "halved"))


def test_the_speed_ups_of_table_4_are_those_of_its_latencies() -> None:
    theirs, ours = values("resnet-rs-table-4")
    assert (round(theirs[2] / ours[2], 1), round(theirs[4] / ours[4], 1)) == (ours[3], ours[5])


@every_ladder
def test_what_stands_beside_a_ladder_is_a_table_with_effects(ladder: Ladder) -> None:
    for one in ladder.beside:
        found = ALL[one.table]
        assert isinstance(found, Table)
        assert found.columns[-1].unit == "points"
        assert all(isinstance(row[-1], Number) for row in found.rows)


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ladder("resnet-rs").rungs[1].top1.value = 90  # type: ignore[misc]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'resnet-sr'; did you mean 'resnet-rs'.*torchvision"):
        published.load("resnet-sr")
    for name in ("", "..", "../library/tiny", "resnet-rs.yaml"):
        with pytest.raises(RecipeError, match="nothing is published under"):
            published.load(name)


def _text(name: str) -> str:
    path = Path(published.__file__).with_name(f"{name}.yaml")
    return path.read_text(encoding="utf-8")


def _replace(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) >= 1, old
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("resnet-rs", "form: ladder", "form: stairs", "form = 'stairs' is not ladder or table"),
        ("resnet-rs", "status: confirmed", "status: sure", "status = 'sure' is not one of confirm"),
        ("resnet-rs", "status: confirmed", "x: 1", "no key 'x'(.|\n)*status = None"),
        ("resnet-rs", "rungs:", "rugns:", "no key 'rugns'.*did you mean 'rungs'"),
        ("resnet-rs", "rungs:", "steps: []\nrungs:", "no key 'steps'"),
        ("resnet-rs", "top1: 79.3", "top1: high", r"rungs.1.top1 = 'high' is not a number"),
        ("resnet-rs", "top1: 79.3", "top1: .nan", r"rungs.1.top1 = nan is not a number"),
        ("resnet-rs", "top1: 79.3", "top1: true", r"rungs.1.top1 = True is not a number"),
        ("resnet-rs", "top1: 79.3, ", "", r"rungs.1.top1 = None is not a number"),
        ("resnet-rs", "delta: 0.3", "dleta: 0.3", r"rungs.1: there is no key 'dleta'.*'delta'"),
        ("resnet-rs", "top1: 79.3", "top1: {value: 1, status: so}", r"rungs.1.top1.status = 'so'"),
        ("resnet-rs", "top1: 79.3", "top1: {value: 1}", r"rungs.1.top1.status = None is not one"),
        (
            "resnet-rs",
            "component: cos",
            "component: cso",
            "rungs.1.component: .*did you mean 'cos'",
        ),
        ("resnet-rs", "component: cos", "component: paper", "'paper' is not one component"),
        ("resnet-rs", "component: cos,", "", "rungs.1 lacks the component"),
        ("resnet-rs", "kind: training", "kind: trainng", "rungs.1.kind = 'trainng'.*'training'"),
        ("resnet-rs", "kind: training", "kind: augmentation", "but cos is of kind training"),
        ("resnet-rs", "top1: 79.0", "top1: 79.0, delta: 1", "rungs.0 is the base"),
        ("resnet-rs", "step: wd", "step: wdd", "beside.0.step = 'wdd' is no component here"),
        ("resnet-rs", "order: confirmed", "", "order = None is not one of"),
        ("resnet-rs", "title: ResNet", "title: \nx: ResNet", "title = None is not a text"),
        ("resnet-rs-table-2", ", 78.7, -1.0]", ", 78.7]", "rows.0 has 5 cells for 6 columns"),
        ("resnet-rs-table-2", "78.7", "yes", "rows.0.wd 4e-5 = True is not a number or a text"),
        ("resnet-rs-table-2", "{name: model}", "model", "columns.0: 'model' is not a mapping"),
        ("resnet-rs-table-2", "name: resolution", "name: model", "columns: two have one name"),
        ("resnet-rs-table-2", "rows:", "rows: []\nrow:", "rows: none of them"),
        ("resnet-rs-table-2", "runs averaged: 2", "runs averaged: [2]", "setting.runs averaged"),
        ("resnet-rs-table-2", "notes:", "notes: text\nn:", "notes = 'text' is not a list"),
        ("resnet-rs-table-2", "columns:", "columns: [", "not well-formed YAML in line"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place_and_the_reason(
    name: str, old: str, new: str, told: str
) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        read(_replace(old, new)(_text(name)), name)
    assert all(problem.startswith(f"{name}.yaml") for problem in caught.value.problems)


def test_all_mistakes_are_told_together() -> None:
    text = _text("resnet-rs").replace("top1: 79.3", "top1: high").replace("order: confirmed", "")
    with pytest.raises(RecipeError) as caught:
        read(text, "resnet-rs")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["", "- a list", "3", "form: table\n"])
def test_a_file_that_holds_nothing_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        read(text, "mine")
