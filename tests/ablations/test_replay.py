"""Published ladders go through the designs, the attribution and the report of a real study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablations.designs import lay_out
from ablations.plans import Outcome, Plan
from ablations.replay import published_plan, replay, replayed
from ablations.report import TEXTS
from recipes import Kind, load, parse, published
from recipes.published import Ladder, Number, Rung, Status
from tests.ablations.conftest import Said
from tests.ablations.test_cli import CONTRAST, COST, ESTIMATE, TOP

Call = Callable[..., Said]

NULL = {"delta": None, "interval": None, "n": 0, "verdict": None}
LADDERS = [name for name in published.names() if isinstance(published.load(name), published.Ladder)]
every_ladder = pytest.mark.parametrize("name", LADDERS)


def ladder(name: str = "resnet-rs") -> Ladder:
    found = published.load(name)
    assert isinstance(found, Ladder)
    return found


def made(*steps: tuple[str, Kind, float]) -> Ladder:
    """Return a ladder of words, from 50 percent."""
    rungs = [Rung(step="start", top1=Number(50, Status.CONFIRMED))]
    for step, kind, delta in steps:
        top1 = Number(rungs[-1].top1.value + delta, Status.CONFIRMED)
        rungs.append(Rung(step=step, top1=top1, delta=Number(delta, Status.CONFIRMED), kind=kind))
    return replace(ladder(), name="made", base="", rungs=tuple(rungs), beside=(), notes=())


def has_note(found: dict[str, Any], *words: str) -> bool:
    return any(all(word in note for word in words) for note in found["notes"])


def test_table_1_gives_the_numbers_of_the_paper() -> None:
    found = replay(ladder())
    assert found["base"] == {"recipe": "resnet200", "value": 79.0, "interval": None, "n": 1}
    deltas = [0.3, -0.5, 0.3, 1.3, 0.2, 0.4, -0.3, 1.5, 0.7, 0.5]
    assert [row["delta"] for row in found["contrasts"]] == pytest.approx(deltas)
    labels = [f"+{component}" for component in parse("paper")]
    assert [row["label"] for row in found["contrasts"]] == labels
    split = found["split"]
    assert split["by_ladder"]["training"] == {**NULL, "delta": pytest.approx(3.2), "n": 1}
    assert split["by_ladder"]["architecture"] == {**NULL, "delta": pytest.approx(1.2), "n": 1}
    assert split["by_blocks"] == {
        "training": NULL,
        "architecture": NULL,
        "interaction": NULL,
    }


@every_ladder
def test_the_keys_are_the_contract_and_what_a_publication_lacks_is_null(name: str) -> None:
    found = json.loads(replayed(name, "json")[0])
    assert list(found) == TOP
    assert found["bases"] == [found["base"]]
    for row in found["contrasts"]:
        assert list(row) == CONTRAST
        assert (row["outcome"], row["estimand"], row["n"]) == ("applied", "in_order", 1)
        assert [row[key] for key in ("interval", "verdict", "p", "p_holm")] == [None] * 4
        assert row["cost"] == dict.fromkeys(COST)
    for sides in found["split"].values():
        assert all(list(side) == ESTIMATE for side in (sides or {}).values())
    assert (found["design"], found["metric"], found["seeds"]) == ("ladder", "top1", [])
    for run in found["runs"]:
        assert list(run) == ["id", "arm", "seed", "status", "value", "seconds"]
        assert (run["seed"], run["status"], run["seconds"]) == (None, "finished", None)
    assert len({run["id"] for run in found["runs"]}) == len(found["runs"])
    assert list(found["protocol"]) == [
        "split", "resolution", "crop_fraction", "interpolation", "checkpoint",
    ]  # fmt: skip


@every_ladder
def test_values_and_steps_are_those_of_the_file(name: str) -> None:
    source, found = ladder(name), replay(ladder(name))
    values = {run["arm"]: run["value"] for run in found["runs"]}
    assert list(values.values()) == [rung.top1.value for rung in source.rungs]
    assert found["base"]["value"] == source.rungs[0].top1.value
    control = "base"
    for row, rung in zip(found["contrasts"], source.rungs[1:], strict=True):
        assert rung.kind is not None and rung.delta is not None
        assert row["kind"] == rung.kind.value
        assert row["control"] == control
        assert values[row["treatment"]] == rung.top1.value
        assert row["delta"] == pytest.approx(rung.delta.value)
        control = row["treatment"]


def test_table_1_is_laid_out_as_the_same_request_would_be() -> None:
    plan, outcomes = published_plan(ladder())
    assert plan.layout == lay_out("ladder", load("resnet200"), parse("paper"))
    trained = {outcome.run.arm for outcome in outcomes}
    assert {arm.name for arm in plan.layout.arms} - trained == {"se,resnetd"}


def test_words_and_recipes_give_the_same_answers() -> None:
    ours, words = replay(ladder()), replay(replace(ladder(), base=""))
    assert words["split"] == ours["split"]
    for row, other in zip(ours["contrasts"], words["contrasts"], strict=True):
        same = ("component", "kind", "delta", "n", "error_df", "interval", "verdict")
        assert [row[key] for key in same] == [other[key] for key in same]


def test_the_protocol_is_that_of_the_numbers_not_of_a_recipe() -> None:
    found = replay(ladder())
    assert found["data"] == "imagenet"
    assert found["protocol"] == {
        "split": "validation",
        "resolution": 256,
        "crop_fraction": 0.875,
        "interpolation": "bicubic",
        "checkpoint": "last",
    }
    video = replay(ladder("resnet-rs-video"))
    assert (video["data"], video["protocol"]["crop_fraction"]) == ("kinetics400", None)
    assert replay(ladder("torchvision"))["protocol"]["checkpoint"] == "best"


@every_ladder
def test_notes_are_true_for_numbers_that_others_made(name: str) -> None:
    found = replay(ladder(name))
    assert has_note(found, "published", ladder(name).source, "no seeds, so no intervals")
    for wrong in ("have not finished", "seeds would do", "counted once", "degrees of freedom"):
        assert not has_note(found, wrong)
    assert has_note(found, "how the numbers are known", "values", "order of the steps")
    assert has_note(found, "read in: ")
    for rung in ladder(name).rungs:
        assert rung.remark is None or has_note(found, rung.remark.value, rung.remark.status.value)
    for note in ladder(name).notes:
        assert has_note(found, f"{note.value} [{note.status.value}]")


def test_notes_of_table_1_hold_shares_and_why_there_is_no_interaction() -> None:
    found = replay(ladder())
    assert has_note(found, "+4.40", "training is 73 %", "architecture 27 %", "in this order")
    assert has_note(found, "never trained the architecture alone (se,resnetd)", "no interaction")
    assert has_note(found, "resolution = 256 [inferred]", "runs averaged = 2 [unconfirmed]")


def test_numbers_that_are_not_confirmed_are_named() -> None:
    found = replay(ladder("resnet-rs-video"))
    assert has_note(
        found, "values unconfirmed except base, +Scale jittering, +ResNet-D (confirmed)"
    )
    assert has_note(found, "printed deltas secondary-source except +ResNet-D (inferred)")
    assert has_note(found, "order of the steps unconfirmed")


def test_a_ladder_without_architecture_has_no_blocks_and_no_shares() -> None:
    found = replay(ladder("torchvision"))
    assert found["split"]["by_blocks"] is None
    assert found["split"]["by_ladder"]["training"]["delta"] == pytest.approx(80.858 - 76.130)
    assert found["split"]["by_ladder"]["architecture"] == NULL
    assert not has_note(found, "never trained")
    assert not has_note(found, "training is")


def test_sides_that_interleave_miss_both_arms_of_the_split() -> None:
    a, t = Kind.ARCHITECTURE, Kind.TRAINING
    found = replay(made(("+ one", t, 1.0), ("+ two", a, 2.0), ("+ three", t, 4.0)))
    assert found["split"]["by_ladder"]["training"]["delta"] == pytest.approx(5)
    assert found["split"]["by_blocks"] == dict.fromkeys(
        ("training", "architecture", "interaction"), NULL
    )
    assert has_note(found, "never trained the architecture alone (two)")
    assert has_note(found, "never trained the training alone (one,three)")


def test_a_side_of_one_step_first_is_an_arm_of_the_ladder() -> None:
    found = replay(made(("+ one", Kind.ARCHITECTURE, 1.0), ("+ two", Kind.TRAINING, -2.0)))
    assert has_note(found, "never trained the training alone (two)")
    assert not has_note(found, "never trained the architecture")
    assert not has_note(found, "training is")  # sides of opposite signs have no shares


def test_a_step_that_changes_nothing_in_its_base_is_refused() -> None:
    source = ladder()
    again = replace(source.rungs[1], component="wd(value=1e-4)", kind=Kind.REGULARIZATION)
    with pytest.raises(ValueError, match=r"\+wd\(value=0.0001\) changes nothing: the recipe has"):
        published_plan(replace(source, rungs=(source.rungs[0], again)))


def test_a_study_of_our_own_keeps_its_seeds() -> None:
    plan, outcomes = published_plan(ladder())
    own: tuple[Plan, list[Outcome]] = (replace(plan, published=None, seeds=(0,)), outcomes)
    from ablations.report import document

    found = document(*own)
    assert {run["seed"] for run in found["runs"]} == {0}
    assert any("error degrees of freedom" in note for note in found["notes"])


def test_table_2_stands_beside_the_ladder_and_never_in_it() -> None:
    rows = ("-1.0", "-0.1", "+0.5", "-0.8", "-0.3", "+0.2")
    for form in ("table", "markdown"):
        text = " ".join(replayed("resnet-rs", form)[0].replace("\\", "").split())
        _, beside = text.split("resnet-rs-table-2: ")
        assert all(f" {row} " in beside for row in rows)
        assert "minival" in beside and "minival" not in text[: -len(beside)]
        assert "the effect of weight decay depends on its context" in beside
        assert "+1.50" in beside
    found = json.loads(replayed("resnet-rs", "json")[0])
    (note,) = (note for note in found["notes"] if "resnet-rs-table-2" in note)
    said = "ResNet-50 -1.00 (none), -0.10 (RA-LS), +0.50 (RA-LS-DO); ResNet-200 -0.80 (none)"
    assert said in note and "minival" in note and "depends on its context" in note
    text, told = replayed("resnet-rs", "csv")
    assert len(list(csv.DictReader(io.StringIO(text)))) == 10
    assert "table-2" not in text
    assert "ablate replay resnet-rs-table-2" in told


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("name", published.names())
def test_every_format_is_ascii_and_ends_in_one_line_break(name: str, form: str) -> None:
    text, _ = replayed(name, form)
    assert text.isascii()
    assert text.endswith("\n") and not text.endswith("\n\n")
    if form == "table":
        assert max(map(len, text.splitlines())) <= 100


def test_the_command_answers_and_makes_no_home(call: Call, tmp_path: Path) -> None:
    said = call("replay", "resnet-rs")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("top1 in percent on imagenet; validation at 256 px; no seeds\n")
    assert "base resnet200  79.00  n 1\n" in said.out
    split = "by ladder: training +3.20 (73 %), architecture +1.20 (27 %) of +4.40 points"
    assert split in said.out
    assert "by blocks: " not in said.out
    assert list((tmp_path / "here").iterdir()) == []


def test_without_a_name_the_choice_is_listed(call: Call) -> None:
    said = call("replay")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert [
        name for name in published.names() if not any(x.startswith(f"  {name} ") for x in lines)
    ] == []
    assert all(status.value in said.out for status in Status)
    assert max(map(len, lines)) <= 80
    assert call("list", "published").out == said.out


@pytest.mark.parametrize("form", TEXTS)
def test_a_replay_is_the_same_on_stdout_and_in_a_file(
    form: str, call: Call, tmp_path: Path
) -> None:
    for name in ("resnet-rs", "resnet-rs-table-7"):
        printed, path = call("replay", name, "--format", form), tmp_path / name
        written = call("replay", name, "--format", form, "-o", path)
        assert (written.code, written.out) == (0, "")
        assert path.read_text() == printed.out
    written = call("replay", "-o", tmp_path / "list")
    assert (tmp_path / "list").read_text() == call("replay").out


def test_a_replay_that_cannot_be_written_is_told(call: Call, tmp_path: Path) -> None:
    said = call("replay", "resnet-rs", "-o", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert f"{tmp_path} cannot be written" in said.err


def test_a_ladder_has_a_page_and_a_table_says_what_it_has(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert call("replay", "resnet-rs", "--format", "html", "-o", page).code == 0
    assert "Training changes gave +3.20 of +4.40 points (73 %)" in page.read_text(encoding="utf-8")
    refused = call("replay", "resnet-rs-table-2", "--format", "html")
    assert refused.code == 2 and "is a table; choose from table, json" in refused.err
