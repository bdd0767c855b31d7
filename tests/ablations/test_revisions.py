"""Plans that are asked for again: the same, another, wider."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations import RequestError, plan
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import LATE_SPLIT
from ablations.report import document
from ablations.request import Request
from ablations.revisions import extend, open_or_freeze
from ablations.study import (
    Prepared,
    plan_study,
)
from tests.ablations.conftest import (
    REQUEST,
    Finished,
    Said,
    snapshot,
    write_folders,
)

Call = Callable[..., Said]


def test_a_contrast_that_asks_something_else_in_a_wider_recipe_is_late(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    made = plan("tiny", "ls,se", design="leave-one-out", home=tmp_path, study="mine")
    open_or_freeze(made, ledger)
    wider = extend(
        lambda request: plan_study(request, tmp_path, "mine"), ledger, "mine", "do", None
    )
    assert wider.plan.late == {"+ls", "+se", "+do"}  # and no split, which these arms do not give


def widened(home: Path, made: Prepared, add: str | None, seeds: int | None = None) -> Prepared:
    ledger = Ledger(home)
    open_or_freeze(made, ledger)
    name = made.plan.study
    return extend(lambda request: plan_study(request, home, name), ledger, name, add, seeds)


def test_an_extension_keeps_everything_else_that_was_asked(tmp_path: Path) -> None:
    asked = {
        **{"null": True, "rope": 0.3, "noise": 0.2, "settings": ["optim.lr=0.3"]},
        "question": "in_order",
    }
    made = plan("tiny", "ls,se", home=tmp_path, study="mine", **asked)  # type: ignore[arg-type]
    wider = widened(tmp_path, made, "do", 4)
    kept = dataclasses.replace(made.request, add="ls,se,do", seeds=4)
    assert wider.request == kept
    assert (wider.plan.rope, wider.plan.stopping) == (0.3, None)
    open_or_freeze(wider, Ledger(tmp_path))
    found, request, revision = thaw(Ledger(tmp_path).study_folder("mine"))
    assert (found.rope, request, revision) == (0.3, kept, 2)
    assert found.layout.dummies == wider.plan.layout.dummies


def test_dummies_of_the_base_stay_those_of_the_full_recipe_are_new(tmp_path: Path) -> None:
    made = plan("tiny", "ls,se", home=tmp_path, study="mine", null=True)
    wider = widened(tmp_path, made, "do")
    assert wider.plan.late == {"+do", "+null(redraw=3)", LATE_SPLIT}
    before = {run.id for run in made.plan.runs}
    assert {run.id for run in wider.plan.runs if run.arm == "null"} <= before
    more = widened(tmp_path, plan("tiny", "ls", home=tmp_path, study="seeds", null=True), None, 5)
    assert not more.plan.late  # more runs ask nothing else
    assert sum(run.arm == "null" for run in more.plan.runs) == 5
    with pytest.raises(RequestError, match="leave null out of --add"):
        widened(tmp_path, made, "null")


def test_of_two_questions_of_one_component_only_the_changed_one_is_late(tmp_path: Path) -> None:
    """A bracket asks what a component is worth alone and in the full recipe, by one label."""

    def both(made: Prepared) -> Prepared:
        request = made.request
        alone = plan_study(dataclasses.replace(request, design="one-at-a-time"), tmp_path, "mine")
        layout = made.plan.layout
        arms = {arm.name: arm for arm in (*layout.arms, *alone.plan.layout.arms)}
        contrasts = (*alone.plan.layout.contrasts, *layout.contrasts)
        joined = dataclasses.replace(layout, arms=tuple(arms.values()), contrasts=contrasts)
        runs = {(run.arm, run.seed): run for run in (*made.plan.runs, *alone.plan.runs)}
        joint = dataclasses.replace(made.plan, layout=joined, runs=tuple(runs.values()))
        return dataclasses.replace(made, plan=joint)

    ledger = Ledger(tmp_path)
    made = both(plan("tiny", "ls,se", design="leave-one-out", home=tmp_path, study="mine"))
    names = {"+ls alone", "+se alone", "+ls in recipe", "+se in recipe"}
    assert set(made.plan.layout.names) == names
    open_or_freeze(made, ledger)
    wider = extend(
        lambda request: both(plan_study(request, tmp_path, "mine")), ledger, "mine", "do", None
    )
    assert wider.plan.late == {*("+do alone", "+do in recipe", "+ls in recipe", "+se in recipe")}
    noted = " ".join(document(wider.plan, [])["notes"])
    assert "exploratory: +do alone, +ls in recipe" in noted


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "has 2 seeds; give --add or more --seeds"),
        (("--seeds", "2"), "has 2 seeds; give --add or more --seeds"),
        (("--seeds", "1"), "has 2 already, and none is taken away"),
        (("--seeds", "0"), "has 2 already, and none is taken away"),
        (("--add", "ls"), "ls is named twice"),
        (("--add", "lz"), "no component 'lz'.*did you mean 'ls'"),
        (("--add", ""), "leaves a component empty"),
    ],
)
def test_an_extension_that_adds_nothing_is_refused(
    finished: Finished, home: Path, call: Call, words: tuple[str, ...], told: str
) -> None:
    before = snapshot(home)
    said = call("extend", finished.study, *words, "--home", home)
    assert (said.code, said.out) == (2, "")
    assert re.search(told, said.err)
    assert snapshot(home) == before


def test_another_request_under_the_same_name_is_refused(
    finished: Finished, home: Path, call: Call
) -> None:
    before = snapshot(home)
    said = call(
        *REQUEST, "--seeds", "3", "--set", "optim.lr=0.1", "--study", finished.study, "--home", home
    )
    assert said.code == 2
    assert "was made by another request" in said.err
    assert "seeds: 2 there, 3 here" in said.err
    assert "`ablate extend`, or another --study" in said.err
    assert snapshot(home) == before


def test_data_that_changed_make_another_study_or_are_refused(tmp_path: Path) -> None:
    folder, home = write_folders(tmp_path / "images"), tmp_path / "home"
    request = Request(base="tiny", add="ls", data=f"imagefolder:{folder}", seeds=1)
    ledger = Ledger(home)
    named, unnamed = plan_study(request, home, "mine"), plan_study(request, home)
    open_or_freeze(named, ledger)
    open_or_freeze(plan_study(request, home, "mine"), ledger)  # the same is fine
    (folder / "train/dark/0.jpg").write_bytes((folder / "train/dark/1.jpg").read_bytes())
    with pytest.raises(RequestError, match="'mine' was frozen with other data or recipes"):
        open_or_freeze(plan_study(request, home, "mine"), ledger)
    with pytest.raises(RequestError, match="'mine' was frozen with other data or recipes"):
        extend(lambda wider: plan_study(wider, home, "mine"), ledger, "mine", None, 2)
    assert thaw(ledger.study_folder("mine"))[2] == 1
    assert plan_study(request, home).plan.study != unnamed.plan.study


def test_data_that_moved_or_were_touched_are_the_same(tmp_path: Path) -> None:
    folder, home = write_folders(tmp_path / "images"), tmp_path / "home"

    def runs(where: Path) -> list[str]:
        request = Request(base="tiny", add="ls", data=f"imagefolder:{where}", seeds=1)
        return [one.id for one in plan_study(request, home, "mine").plan.runs]

    before = runs(folder)
    (folder / "train/dark/0.jpg").touch()
    assert runs(folder) == before
    folder.rename(tmp_path / "elsewhere")
    assert runs(tmp_path / "elsewhere") == before


def test_two_extensions_at_once_are_not_both_the_next_revision(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    open_or_freeze(plan("tiny", "ls", home=tmp_path, study="mine"), ledger)

    def made(request: Request) -> Prepared:
        return plan_study(request, tmp_path, "mine")

    dropout, wide = (extend(made, ledger, "mine", add, None) for add in ("do", "se"))
    assert dropout.revision == wide.revision == 2
    open_or_freeze(dropout, ledger)
    open_or_freeze(dropout, ledger)  # the same twice is fine
    with pytest.raises(RequestError, match="was made by another request"):
        open_or_freeze(wide, ledger)


def test_more_seeds_and_components_train_only_what_is_new(
    finished: Finished, home: Path, call: Call
) -> None:
    first = {row["id"] for row in finished.said.json["runs"]}
    words = ("--track", "none", "--format", "json", "--home", home)
    seeds = call("extend", finished.study, "--seeds", "3", *words)
    assert seeds.code == 0, seeds.err
    assert f"study {finished.study}: revision 2" in seeds.err
    assert "8 runs done, 4 to train" in seeds.err
    assert seeds.json["seeds"] == [0, 1, 2]
    assert first < {row["id"] for row in seeds.json["runs"]}
    assert not [note for note in seeds.json["notes"] if "exploratory" in note]

    more = call("extend", finished.study, "--add", "do", *words)
    assert more.code == 0, more.err
    assert "revision 3" in more.err
    assert [row["label"] for row in more.json["contrasts"]] == ["+ls", "+se", "+do"]
    (late,) = (note for note in more.json["notes"] if "exploratory" in note)
    assert "+do" in late
    assert "+ls" not in late
    assert {row["id"] for row in seeds.json["runs"]} < {row["id"] for row in more.json["runs"]}

    # The same command once more, as after Ctrl-C, goes on with the revision that it made.
    before = snapshot(home)
    again = call("extend", finished.study, "--add", "do", *words)
    assert (again.code, again.out) == (0, more.out)
    assert "trained nothing" in again.err
    assert snapshot(home) == before
    # And so does the very first command, with what it asked for.
    assert call(*REQUEST, "--format", "json", "--home", home).out == finished.said.out
    assert "(revision 3)" in call("status", finished.study, "--home", home).out
    # Asked for directly, what was added late is still late; the study keeps its latest report.
    wider = list(REQUEST)
    wider[wider.index("ls,se")], wider[wider.index("2")] = "ls,se,do", "3"
    asked = call(*wider, "--study", finished.study, "--format", "json", "--home", home)
    assert (asked.code, asked.out) == (0, more.out), asked.err
    kept = home / "studies" / finished.study / "report.json"
    assert kept.read_text() == more.out
    # A component that it has is a mistake, not the same extension once more.
    assert "named twice" in call("extend", finished.study, "--add", "do,do", "--home", home).err


def test_levels_may_be_added_and_a_screen_may_grow(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    made = plan("tiny", "ls,sd,se", design="screen", seeds=1, home=tmp_path, study="mine")
    assert len(made.plan.runs) == 8 + 2 * 6
    open_or_freeze(made, ledger)

    def wider(add: str | None, seeds: int | None) -> Prepared:
        return extend(
            lambda request: plan_study(request, tmp_path, "mine"), ledger, "mine", add, seeds
        )

    again = wider(None, 2)
    assert len(again.plan.runs) == 16  # two seeds each, and no replicates then
    assert "10 runs of the revision before are in no arm of this one" in again.notes
    levels = wider("ra(magnitude=5|9)", None)
    assert {"+ra(magnitude=5)", "+ra(magnitude=9)"} <= levels.plan.late
    assert levels.request.add == "ls,sd,se,ra(magnitude=5|9)"
    open_or_freeze(levels, ledger)
    assert thaw(ledger.study_folder("mine"))[1] == levels.request


def test_a_budget_is_not_widened_by_seeds(tmp_path: Path) -> None:
    made = plan("tiny", "ls,sd,se", budget=12, home=tmp_path, study="mine")
    open_or_freeze(made, Ledger(tmp_path))
    with pytest.raises(RequestError, match="planned within --budget 12, which decides about its s"):
        extend(
            lambda request: plan_study(request, tmp_path, "mine"), Ledger(tmp_path), "mine", None, 5
        )
