"""What W&B, TensorBoard and CSV have of a study, whatever happens: real clients, a stub server."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations.publishing.journal import ONLINE
from ablations.publishing.shown import configuration, ending, identity_of
from tests.ablations.publishing.conftest import EPOCHS, Study
from tests.ablations.publishing.seen import (
    assert_whole,
    curve_of,
    on_server,
    read_back,
    records,
    written_of,
)
from tests.stub_wandb import StubServer, dead_address


def test_an_offline_run_is_written_whole_and_read_back(study: Study) -> None:
    run = next(run for run in study.runs if run.arm == "ls,se")
    study.make(run)
    study.publish()
    [folder] = study.folders()
    assert folder.name.startswith("offline-run-") and folder.name.endswith(
        identity_of("mine", run.id)
    )
    rows = read_back(folder)
    [about] = records(rows, "run")
    assert about["run_group"] == "mine"
    assert about["job_type"] == "ls,se"
    assert about["display_name"] == "ls,se seed 0"
    assert set(about["tags"]) == {"ls", "se", "regularization", "architecture"}
    config: dict[str, Any] = {}
    for row in [about, *records(rows, "config")]:
        config |= row.get("config", row).get("update", {})
    assert config["recipe"]["loss"]["label_smoothing"] == 0.1
    assert (config["arm"], config["seed"], config["side"], config["step"]) == (
        "ls,se",
        0,
        "both",
        2,
    )
    assert (config["component/se"], config["component/do"]) == (True, False)
    for name, value in configuration(study.plan, run, study.ledger).items():
        assert config[name] == json.loads(json.dumps(value)), name
    assert curve_of(rows) == written_of(study, run)
    summary: dict[str, Any] = {}
    for row in records(rows, "summary"):
        summary |= row["update"]
    assert summary["result/top1"] == 50.0 and summary["value"] == 50.0
    for name, value in ending(run, study.ledger.record(run.id), study.ledger).items():
        assert summary[name] == value, name
    assert summary["outcome/status"] == "finished"
    assert summary["certificate/proven"] is False  # nobody proved it
    assert [row["exit_code"] for row in records(rows, "exit")] == [0]


def test_asking_twice_publishes_nothing_twice(study: Study) -> None:
    study.make()
    assert study.publish().made["wandb", "offline"] == len(study.runs)
    before = {path: path.stat().st_mtime_ns for path in study.folders()}
    assert not study.publish().made
    assert {path: path.stat().st_mtime_ns for path in study.folders()} == before


def test_a_run_that_failed_ends_so_and_one_made_again_takes_its_place(study: Study) -> None:
    run = study.runs[0]
    study.begin(run, 1)
    study.end(run, "failed", "RuntimeError: boom")
    study.publish()
    [folder] = study.folders()
    rows = read_back(folder)
    assert records(rows, "exit")[0]["exit_code"] == 1
    assert "RuntimeError: boom" in json.dumps(records(rows, "summary"))
    study.ledger.forget(run.id)
    study.make(run)
    study.publish()
    [again] = study.folders()
    assert again != folder
    assert records(read_back(again), "exit")[0]["exit_code"] == 0


def test_what_a_kill_left_half_written_is_no_run(study: Study) -> None:
    study.make(study.runs[0])
    half = study.ledger.home.joinpath("tracking/studies/mine", "work", "1/wandb/offline-run-1-x")
    half.mkdir(parents=True)
    study.publish()
    assert not half.exists() and len(study.folders()) == 1
    # Killed between the folder and the note of it: written again, in its place.
    (study.ledger.home / "tracking/studies/mine/published.jsonl").write_text('{"schema_ver')
    study.publish()
    assert len(study.folders()) == 1
    assert not study.publish().made


def test_online_a_run_is_followed_and_every_row_comes_once(
    study: Study, server: StubServer
) -> None:
    publisher = study.publisher(online=True)
    for run in study.runs[:2]:
        study.begin(run)
    publisher.look()
    for rows in range(1, EPOCHS + 1):
        for run in study.runs[:2]:
            study.go_on(run, rows)
        publisher.look()
        study.go_on(study.runs[0], max(rows - 2, 0))  # it goes on from a checkpoint
        publisher.look()
    for run in study.runs[:2]:
        study.go_on(run, EPOCHS)
        study.end(run)
    study.make(*study.runs[2:])
    publisher.look()
    publisher.close()
    assert not publisher.trouble and publisher.left() == 0
    assert_whole(server, study)
    run = study.runs[0]
    found = on_server(server, study, run)
    assert found.bucket["groupName"] == "mine" and found.bucket["jobType"] == run.arm
    axes = {
        one.get("1"): one.get("5") for one in found.config["_wandb"]["value"]["m"] if "1" in one
    }
    names = [one.get("1") for one in found.config["_wandb"]["value"]["m"]]
    assert all(names[axes[curve] - 1] == "epoch" for curve in ("train/loss", "val/top1"))
    requests = len(server.requests)
    assert not study.publish(online=True).made
    assert len(server.requests) == requests


@pytest.mark.slow
def test_a_study_that_shares_runs_has_its_own(
    study: Study, server: StubServer, tmp_path: Path
) -> None:
    from tests.ablations.made_up import frozen

    other = Study(*frozen(tmp_path / "home", study="other", until=None, design="ladder", seeds=1))
    study.make()
    study.publish(online=True)
    assert [run.id for run in other.runs] == [run.id for run in study.runs]
    other.publish(online=True)
    assert len(server.runs) == 2 * len(study.runs)
    assert on_server(server, other, other.runs[0]).bucket["groupName"] == "other"


def test_an_interrupted_run_goes_on_where_the_server_has_it(
    study: Study, server: StubServer
) -> None:
    run = study.runs[0]
    study.begin(run, 2)
    study.publish(online=True)
    found = on_server(server, study, run)
    assert found.summary["outcome/status"] == "interrupted" and len(found.history) == 2
    study.go_on(run, EPOCHS)
    study.end(run)
    study.make(*study.runs[1:])
    study.publish(online=True)
    assert_whole(server, study)


@pytest.mark.slow
def test_a_dead_server_means_offline_and_a_later_upload(
    study: Study, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = server.address
    monkeypatch.setenv("WANDB_BASE_URL", dead_address())
    study.make()
    publisher = study.publish(online=True)
    assert "wandb" in publisher.trouble and not publisher.online
    assert publisher.left() == len(study.runs) == len(study.folders())
    from lightning_modules.tracking import leave_wandb

    leave_wandb()
    monkeypatch.setenv("WANDB_BASE_URL", alive)
    uploaded = study.publish(online=True, uploads=True)
    assert uploaded.made["wandb", ONLINE] == len(study.runs) and uploaded.left() == 0
    assert_whole(server, study)
    assert not study.folders()
    assert not study.publish(online=True, uploads=True).made


@pytest.mark.slow
def test_a_server_that_breaks_in_the_middle_gets_the_rest_later(
    study: Study, server: StubServer
) -> None:
    first, *others = study.runs
    publisher = study.publisher(online=True)
    study.begin(first, 2)
    publisher.look()
    server.mode = "broken"
    study.go_on(first, EPOCHS)
    study.end(first)
    study.make(*others)
    publisher.look()
    publisher.close()
    assert publisher.trouble and publisher.left() == len(study.runs)
    # The one that the server has in part is not written: uploaded whole, its rows came twice.
    assert len(study.folders()) == len(others)
    server.mode = "ok"
    study.publish(online=True, uploads=True)
    assert_whole(server, study)
    assert not study.folders()


@pytest.mark.slow
def test_a_slow_server_gets_all_of_it(study: Study, server: StubServer) -> None:
    from lightning_modules.tracking import Patience

    server.mode, server.delay = "slow", 0.05
    study.make()
    study.publish(online=True, patience=Patience())
    assert_whole(server, study)


@pytest.mark.slow
def test_what_somebody_has_synced_is_not_uploaded_again(study: Study, server: StubServer) -> None:
    study.make(study.runs[0])
    study.publish()
    [folder] = study.folders()
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert len(on_server(server, study, study.runs[0]).history) == EPOCHS
    publisher = study.publish(online=True, uploads=True)
    assert publisher.left() == 0 and not publisher.made
    assert on_server(server, study, study.runs[0]).lines_received == EPOCHS


@pytest.mark.parametrize("track", ["csv", "tensorboard", "csv,tensorboard"])
def test_other_trackers_have_the_curve_once_and_the_end(study: Study, track: str) -> None:
    run = study.runs[1]
    study.begin(run, 2)
    study.publish(track)  # and is lost in the middle
    study.go_on(run, EPOCHS)
    study.end(run)
    made = study.publish(track)
    assert not made.trouble and not study.publish(track).made
    for tracker in track.split(","):
        [folder] = (study.ledger.home / "tracking" / tracker / "mine").iterdir()
        assert folder.name.startswith("ls-seed-0-")
        assert READERS[tracker](folder) == [10.0 * run.seed + number for number in range(EPOCHS)]
        assert "outcome/status: finished" in (folder / "hparams.yaml").read_text()


def csv_curve(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["val/top1"]) for row in csv.DictReader(file)]


def board_curve(folder: Path) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [one.value for one in events.Scalars("val/top1")]


READERS = {"csv": csv_curve, "tensorboard": board_curve}


def test_a_tracker_that_cannot_write_spoils_no_other(study: Study) -> None:
    study.make()
    tracking = study.ledger.home / "tracking"
    tracking.mkdir()
    (tracking / "csv").write_text("in the way")
    made = study.publish("csv,wandb")
    assert set(made.trouble) == {"csv"}
    assert len(study.folders()) == len(study.runs)
