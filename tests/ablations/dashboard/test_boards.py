"""What the real client sends of a study's boards, recorded by a server of the tests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ablations.answers import document_of
from ablations.dashboard import make
from ablations.dashboard.boards import Place, save_report
from ablations.dashboard.server import ServerError
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.publishing.shown import identity_of, tag_of
from ablations.publishing.targets import folder_of
from ablations.report import words
from ablations.report.headline import headline
from lightning_modules.tracking import WandbPlace, leave_wandb
from tests.ablations.conftest import ablate, snapshot
from tests.ablations.dashboard.told import made_up, planned, story_and_shown
from tests.stub_wandb import ENTITY, StubRun, StubServer, client_environment, dead_address

PLACE = WandbPlace(project="ablate")


@pytest.fixture
def study(tmp_path: Path) -> tuple[Plan, Ledger]:
    return made_up(tmp_path / "home")


def analysis(server: StubServer) -> StubRun:
    [run] = [run for run in server.runs.values() if run.bucket.get("jobType") == "analysis"]
    return run


def spec(server: StubServer, kind: str) -> dict[str, Any]:
    """The latest board of a kind, `runs` (a report) or `project-view`, as it was saved."""
    [view] = [view for view in server.views.values() if view["type"] == kind]
    found: dict[str, Any] = json.loads(view["spec"])
    return found


def grids(report: dict[str, Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """The run sets and panels of each grid of a report."""
    for block in report["blocks"]:
        if block["type"] == "panel-grid":
            about = block["metadata"]
            yield about["runSets"], about["panelBankSectionConfig"]["panels"]


def filters(runset: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [(one["key"]["name"], one["op"], one["value"]) for one in runset["filters"]["filters"]]


@pytest.mark.slow
def test_the_boards_hold_what_the_document_says(server, study):
    plan, ledger = study
    document = document_of(plan, ledger)
    made = make(plan, ledger, PLACE)
    report, workspace = spec(server, "runs"), spec(server, "project-view")
    said = [
        "".join(child.get("text", "") for child in block["children"])
        for block in report["blocks"]
        if block["type"] == "paragraph"
    ]
    for sentence in (*headline(document), *words.split_sentences(document)):
        assert sentence in said
    [table] = [block["content"] for block in report["blocks"] if block["type"] == "markdown-block"]
    panels = [
        panel
        for section in workspace["section"]["panelBankConfig"]["sections"]
        for panel in section["panels"]
    ]
    shown = [one["config"]["value"] for one in panels if one["viewType"] == "Markdown Panel"]
    assert table in shown[0]
    for one in document["contrasts"]:
        assert one["verdict"] in table
        assert words.signed(one["delta"]) in table
    doubts = json.dumps([block for block in report["blocks"] if block["type"] == "list"])
    assert all(json.dumps(note)[1:-1] in doubts for note in document["notes"])

    run = analysis(server)
    assert run.name not in {identity_of("mine", one.id) for one in plan.runs}
    assert (run.bucket["groupName"], run.bucket["displayName"]) == ("mine", "analysis")
    assert run.exit_code == 0
    for way, sides in document["split"].items():
        for side, known in sides.items():
            assert run.summary[f"split/{way}/{side}"] == pytest.approx(known["delta"])
    tables = {
        Path(name).name.partition("_")[0]: json.loads(content)
        for name, content in run.files.items()
        if name.endswith(".table.json")
    }
    assert tables.keys() == {"effects", "arms", "recipes"}
    rows = [dict(zip(tables["effects"]["columns"], row, strict=True))
            for row in tables["effects"]["data"]]  # fmt: skip
    for one, row in zip(document["contrasts"], rows, strict=False):
        assert (row["name"], row["verdict"]) == (one["label"], one["verdict"])
        assert [row["delta"], row["low"], row["high"]] == pytest.approx(
            [one["delta"], *one["interval"]]
        )
    pictures = {name for name in run.files if name.startswith("media/images/figures/")}
    assert {Path(name).name.partition("_")[0] for name in pictures} >= {"waterfall", "forest"}
    assert all(run.files[name].startswith(b"\x89PNG") for name in pictures)
    assert made["analysis"].endswith(f"/runs/{run.name}")
    assert not server.unknown


def test_run_sets_say_what_the_server_is_to_look_for(server, study):
    make(*study, PLACE)
    known = {run["name"]: filters(run) for sets, _ in grids(spec(server, "runs")) for run in sets}
    trained = [("group", "=", "mine"), ("jobType", "!=", "analysis")]
    assert known["by arm"] == trained
    for key in ("ls", "se"):
        assert known[f"with {key}"] == [*trained, (f"component/{key}", "=", True)]
        assert known[f"without {key}"] == [*trained, (f"component/{key}", "=", False)]
    assert known["one run of each arm"] == [*trained, ("seed", "=", 0)]
    assert known["analysis"] == [("name", "=", analysis(server).name)]
    plots = [
        panel["config"]
        for _, panels in grids(spec(server, "runs"))
        for panel in panels
        if panel["viewType"] == "Run History Line Plot"
    ]
    by_arm = [one for one in plots if one["groupBy"] == "arm.value"]
    assert {one["metrics"][0] for one in by_arm} == {"val/top1", "train/loss"}
    assert {(one["groupAgg"], one["groupArea"], one["xAxis"]) for one in by_arm} == {
        ("mean", "minmax", "epoch")
    }
    assert {one["groupBy"] for one in plots} == {
        "arm.value",
        "component/ls.value",
        "component/se.value",
    }
    [views] = spec(server, "project-view")["section"]["runSets"]
    assert filters(views) == trained[:1]


def test_a_study_without_a_number_has_boards_that_say_so(server, tmp_path):
    make(*planned(tmp_path / "home", "étude--1"), PLACE)
    text = json.dumps(spec(server, "runs"), ensure_ascii=False)
    assert "12 of 12 runs have not finished" in text
    run = analysis(server)
    assert run.bucket["groupName"] == "étude--1"
    assert run.summary["runs/missing"] == 12
    again = make(*planned(tmp_path / "home", "étude--1"), PLACE)
    assert len(server.views) == 2
    assert "étude--1" in again["report"]


@pytest.mark.slow
def test_made_again_nothing_piles_up(server, study):
    plan, ledger = study
    first = make(plan, ledger, PLACE)
    before = {key: view["name"] for key, view in server.views.items() if key}
    name = analysis(server).name
    again = make(plan, ledger, PLACE)
    assert again == first
    assert set(server.views) == set(before)
    assert len(server.views) == 2
    assert len(analysis(server).history) == 1
    make(plan, ledger, PLACE, rope=30.0)  # another answer: the same boards and run say it
    assert set(server.views) == set(before)
    assert len(analysis(server).history) == 2
    assert "equal" in json.dumps(spec(server, "runs"))
    assert set(server.runs) == {name}
    assert [path.name for path in (ledger.home / "tracking").iterdir()] == ["studies"]
    kept = folder_of(ledger, "mine") / "dashboard"
    assert kept.is_dir()
    assert not list(kept.iterdir())  # of the client's files and the figures


@pytest.mark.slow
def test_comments_on_a_report_stay_and_other_changes_by_hand_do_not(server, study):
    make(*study, PLACE)
    [view] = [view for view in server.views.values() if view["type"] == "runs"]
    changed = json.loads(view["spec"])
    changed["discussionThreads"] = [{"threadID": "a-thread", "comments": []}]
    changed["blocks"] = changed["blocks"][:3]
    view["spec"] = json.dumps(changed)
    make(*study, PLACE)
    report = spec(server, "runs")
    assert report["discussionThreads"] == changed["discussionThreads"]
    assert any(block["type"] == "markdown-block" for block in report["blocks"])


@pytest.mark.slow
def test_two_commands_at_once_make_one_workspace_and_one_report(server, study, tmp_path):
    _, ledger = study
    words = ("dashboard", "mine", "--home", ledger.home)
    variables = server.environment(tmp_path / "client")
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ablate, *words, folder=tmp_path, variables=variables) for _ in "ab"]
        assert [one.result().code for one in both] == [0, 0]
    assert len(server.views) == 2
    assert len(analysis(server).history) == 1
    assert len(server.runs) == 13


@pytest.mark.slow
def test_a_board_that_somebody_deleted_is_made_anew_and_told(server, study, capsys):
    first = make(*study, PLACE)
    server.views.clear()
    again = make(*study, PLACE)
    assert len(server.views) == 2
    assert again["workspace"] != first["workspace"]
    told = capsys.readouterr().err
    assert first["workspace"] in told
    assert first["report"] in told
    make(*study, PLACE)
    assert len(server.views) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["runs", "project-view"])
def test_a_board_that_the_client_cannot_read_is_told_and_not_doubled(server, study, kind):
    make(*study, PLACE)
    [view] = [view for view in server.views.values() if view["type"] == kind]
    view["spec"] = json.dumps({"blocks": 1, "section": 1})
    with pytest.raises(ServerError, match="cannot be updated"):
        make(*study, PLACE)
    assert len(server.views) == 2


@pytest.mark.slow
def test_another_project_has_boards_of_its_own(server, study):
    first = make(*study, PLACE)
    other = make(*study, WandbPlace(project="other"))
    assert other["workspace"] != first["workspace"]
    assert len(server.views) == 4
    assert make(*study, PLACE) == first
    assert len(server.views) == 4


@pytest.mark.slow
def test_a_damaged_memory_costs_new_boards_and_nothing_else(server, study):
    plan, ledger = study
    make(plan, ledger, PLACE)
    (ledger.study_folder("mine") / "dashboard.json").write_text("{")
    make(plan, ledger, PLACE)
    assert len(server.views) == 4


class Breaks(StubServer):
    """A server that breaks once, when the report is about to be saved."""

    def answer(self, name: str, said: dict[str, Any]) -> dict[str, Any] | None:
        if name == "ProjectInternalId" and not self.operations["upsertView"]:
            self.mode = "broken"
        return super().answer(name, said)


@pytest.mark.slow
def test_a_server_that_breaks_in_between_loses_nothing(study, monkeypatch, tmp_path):
    with Breaks() as server:
        for variable, value in server.environment(tmp_path).items():
            monkeypatch.setenv(variable, value)
        with pytest.raises(ServerError, match="report cannot be saved"):
            make(*study, PLACE)
        [before] = server.views.values()
        server.operations["upsertView"].append({})  # it has been tried
        server.mode = "ok"
        made = make(*study, PLACE)
        assert before["name"].removeprefix("nw-").removesuffix("-v") in made["workspace"]
        assert len(server.views) == 2  # the workspace of the first time, and a report
        leave_wandb()


@pytest.mark.slow
def test_a_dead_server_is_told_in_words_and_changes_nothing(study, monkeypatch, tmp_path):
    for variable, value in client_environment(dead_address(), tmp_path).items():
        monkeypatch.setenv(variable, value)
    _, ledger = study
    before = snapshot(ledger.home)
    with pytest.raises(ServerError, match="connection refused"):
        make(*study, PLACE)
    assert snapshot(ledger.home) == before


def test_keys_that_filters_would_misread_have_tags_or_no_run_set(server, study):
    plan, ledger = study
    _, shown = story_and_shown(plan, ledger)
    long = "a.package.of.mine." * 4 + "parts:Blur"
    odd = dataclasses.replace(shown, components=("own.module:Blur", long, "a=b", 'a"b'))
    place = Place(entity=ENTITY, project="ablate", analysis="a", figures=(), tables=())
    save_report(odd, place, None, ["made"])
    known = {run["name"]: filters(run) for sets, _ in grids(spec(server, "runs")) for run in sets}
    assert known["with own.module:Blur"][-1] == ("tags", "IN", ["own.module:Blur"])
    assert known["without own.module:Blur"][-1] == ("tags", "NIN", ["own.module:Blur"])
    assert known[f"with {long}"][-1] == ("tags", "IN", [tag_of(long)])
    assert len(tag_of(long)) == 64
    assert not [name for name in known if "a=b" in name or 'a"b' in name]
