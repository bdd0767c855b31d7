"""Runs in Lightning's loggers, opened one by one: the real clients, no server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.tracking import (
    Patience,
    TrackedRun,
    WandbPlace,
    folder_name,
    is_logged_in,
    is_uploaded,
    leave_wandb,
    open_csv,
    open_tensorboard,
    open_wandb,
    wandb_state,
)
from tests.no_account import account

__all__ = ["account"]  # a fixture
RUN = TrackedRun(
    identity="0123456789abcdef",
    study="a-study",
    arm="base + ls",
    name="base + ls seed 0",
    tags=("ladder", "digits"),
    curves=("val/top1",),
)
ROWS = [{"epoch": 1, "val/top1": 10.0}, {"epoch": 2, "val/top1": 20.0, "late": 1.0}]


def offline(folder: Path) -> Any:
    place = WandbPlace(project="ablate")
    return open_wandb(RUN, folder, place, online=False, patience=Patience())


def read_back(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The run's folder and the records that W&B's own reader finds in it."""
    [run] = folder.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return run, [json.loads(line) for line in done.stdout.splitlines()]


def records(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row[kind] for row in rows if row["type"] == kind]


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_run_is_written_offline_whole_and_closed(tmp_path: Path, succeeded: bool) -> None:
    made = offline(tmp_path / "w")
    made.log_hyperparams({"arm": "base + ls", "recipe": {"loss": {"label_smoothing": 0.1}}})
    for row in ROWS:
        made.log_metrics(row, step=6 * row["epoch"])
    assert made.sent == 2
    made.summarize({"result/top1": 20.0, "outcome/status": "finished"})
    made.finalize(succeeded)
    import wandb

    assert wandb.run is None
    place, rows = read_back(tmp_path / "w")
    assert place.name.endswith(RUN.identity) and not is_uploaded(place)
    [run] = records(rows, "run")
    names = ("run_group", "job_type", "display_name", "run_id", "project")
    assert {name: run[name] for name in names} == {
        "run_group": "a-study",
        "job_type": "base + ls",
        "display_name": "base + ls seed 0",
        "run_id": RUN.identity,
        "project": "ablate",
    }
    assert set(run["tags"]) == {"ladder", "digits"}
    axes = {one["name"]: one.get("step_metric") for one in records(rows, "metric") if "name" in one}
    assert axes["val/top1"] == axes["late"] == "epoch"
    assert len(records(rows, "history")) == 2
    assert [row["exit_code"] for row in records(rows, "exit")] == [int(not succeeded)]


def test_runs_are_open_side_by_side(tmp_path: Path) -> None:
    place, patience = WandbPlace(project="ablate"), Patience()
    twin = TrackedRun(identity="twin", study="a-study", arm="base", name="base seed 1")
    made = [
        open_wandb(run, tmp_path / run.identity, place, online=False, patience=patience)
        for run in (RUN, twin)
    ]
    for _ in range(3):
        for one in made:
            one.log_metrics(ROWS[0], step=1)
    for one in made:
        one.finalize(True)
    for run in (RUN, twin):
        assert len(records(read_back(tmp_path / run.identity)[1], "history")) == 3


def test_nothing_of_this_process_is_described(tmp_path: Path) -> None:
    made = offline(tmp_path / "w")
    made.finalize(True)
    place, rows = read_back(tmp_path / "w")
    assert not list((place / "files").iterdir())
    assert str(Path(sys.executable)) not in json.dumps(rows)
    assert {path.name for path in tmp_path.iterdir()} <= {"w", "wandb-config"}


@pytest.mark.parametrize("open_one", [open_csv, open_tensorboard])
def test_a_run_that_is_opened_again_is_written_anew(tmp_path: Path, open_one: Any) -> None:
    for succeeded in (False, True):
        made = open_one(RUN, tmp_path / "run")
        assert made.sent == 0
        made.log_hyperparams({"arm": "base + ls", "component/ls": True})
        for row in ROWS:
            made.log_metrics(row, step=6 * row["epoch"])
        made.summarize({"result/top1": 20.0, "outcome/status": "finished"})
        made.finalize(succeeded)
    files = {path.name.partition(".tfevents")[0] for path in (tmp_path / "run").iterdir()}
    assert files == {"hparams.yaml", "metrics.csv" if open_one is open_csv else "events.out"}
    if open_one is open_csv:
        lines = (tmp_path / "run/metrics.csv").read_text().splitlines()
        assert len(lines) == 3
    words = (tmp_path / "run/hparams.yaml").read_text()
    assert "component/ls: true" in words and "outcome/status: finished" in words


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({}, "offline"),
        ({"WANDB_MODE": "online"}, "offline"),  # without a key there is no online
        ({"WANDB_API_KEY": "local-" + "a" * 40}, "online"),
        ({"WANDB_API_KEY": "local-" + "a" * 40, "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_API_KEY": "local-" + "a" * 40, "WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_API_KEY": "local-" + "a" * 40, "WANDB_DISABLED": "true"}, "disabled"),
    ],
)
def test_the_clients_own_word_decides_then_whether_there_is_a_key(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], state: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, why = wandb_state()
    assert found == state
    word = {"disabled": "WANDB_", "offline": ""}.get(state, "there is a key")
    assert why.startswith(word) and (word != "WANDB_" or why.split("=")[0] in environment)


def test_a_key_in_the_users_files_counts(tmp_path: Path) -> None:
    assert not is_logged_in()
    leave_wandb()
    key = "local-" + "a" * 40
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {key}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert is_logged_in()


def test_a_folder_says_which_run_it_is_and_leaves_no_other() -> None:
    odd = TrackedRun(identity="abcdef0123", study="s", arm="x", name="../wd(value=1e-4)/é seed 1")
    assert folder_name(odd) == "wd(value=1e-4)-seed-1-abcdef01"
    assert folder_name(RUN) == "base-+-ls-seed-0-01234567"
