import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules import Tracking, fit
from lightning_modules.tracking import can_track, open_logger, tracked
from recipes import edit, leaves


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings, and none left behind for the next test."""
    for variable in {"WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_SILENT", *os.environ}:
        if variable.startswith("WANDB_"):
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-home"))


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return Tracking(
        group="a-study",
        job_type="base + ls",
        name="base + ls, seed 0",
        run_id="0123456789abcdef",
        folder=tmp_path / "wandb-home",
        tags=("ladder", "digits"),
        config={"arm": "base + ls", "seed": 0, "loss": {"label_smoothing": 0.1}},
    )


def read_back(folder: Path) -> tuple[Path, list[dict]]:
    """Return the run's folder and the records that W&B's own reader finds in it."""
    [run] = folder.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return run, [json.loads(line) for line in done.stdout.splitlines()]


def records(rows: list[dict], kind: str) -> list[dict]:
    return [row[kind] for row in rows if row["type"] == kind]


def test_a_run_is_written_offline_whole_and_closed(tiny, on_cpu, tmp_path, tracking):
    recipe = edit(tiny, {"optim.epochs": 2, "loss.label_smoothing": 0.1})
    config = {name: str(value) for name, value in leaves(recipe).items()} | {"seed": 0}
    execution = replace(on_cpu, tracking=replace(tracking, config=config))
    result = fit(recipe, 0, execution, tmp_path / "run")
    import wandb

    assert wandb.run is None  # closed: the next run of this process opens its own
    place, rows = read_back(tracking.folder)
    assert place.name.endswith(tracking.run_id)
    [run] = records(rows, "run")
    named = {name: run[name] for name in ("run_group", "job_type", "display_name", "run_id")}
    assert named == {
        "run_group": "a-study",
        "job_type": "base + ls",
        "display_name": "base + ls, seed 0",
        "run_id": tracking.run_id,
    }
    assert set(run["tags"]) == {"ladder", "digits"}
    assert config.items() <= run["config"]["update"].items()
    history = [row for row in records(rows, "history") if "val/top1" in json.dumps(row)]
    assert len(history) == 2  # one point of the curve per epoch
    summary = {}
    for row in records(rows, "summary"):
        summary |= row["update"]
    assert summary["result/top1"] == pytest.approx(result.top1)
    assert summary["result/status"] == "finished"
    assert [row["exit_code"] for row in records(rows, "exit")] == [0]
    assert {path.name for path in tmp_path.iterdir()} == {"wandb-home", "run"}


def test_tracking_changes_no_result(tiny, on_cpu, tmp_path, tracking):
    plain = fit(tiny, 0, on_cpu, tmp_path / "plain")
    tracked = fit(tiny, 0, replace(on_cpu, tracking=tracking), tmp_path / "tracked")
    assert (plain.loss, plain.top1) == (tracked.loss, tracked.top1)
    curves = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("plain", "tracked")]
    assert curves[0] == curves[1]


def test_a_run_that_breaks_is_closed_too(tracking):
    import wandb

    with pytest.raises(ZeroDivisionError), tracked(tracking) as logger:
        assert logger.experiment is wandb.run
        raise ZeroDivisionError
    assert wandb.run is None
    _, rows = read_back(tracking.folder)
    assert records(rows, "exit")[0]["exit_code"] == 1


@pytest.mark.parametrize(
    ("environment", "project", "mode", "wanted"),
    [
        ({}, None, "offline", "ablate"),
        ({}, "mine", "online", "mine"),
        ({"WANDB_PROJECT": "theirs"}, None, "online", "theirs"),
        ({"WANDB_PROJECT": "theirs"}, "mine", "online", "mine"),
        ({"WANDB_MODE": "offline"}, "mine", "offline", "mine"),
        ({"WANDB_MODE": "online"}, None, "online", "ablate"),
    ],
)
def test_offline_unless_a_project_is_set_and_the_clients_own_word_wins(
    monkeypatch, tracking, environment, project, mode, wanted
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    logger = open_logger(replace(tracking, project=project))  # starts nothing until it is used
    assert logger._wandb_init["mode"] == mode
    assert logger._wandb_init["project"] == wanted
    assert logger._wandb_init["group"] == "a-study"
    assert logger._wandb_init["id"] == tracking.run_id


def test_no_tracking_is_no_logger(monkeypatch, tracking):
    assert open_logger(None) is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert open_logger(tracking) is None
    with tracked(None) as logger:
        assert logger is None


def test_tracking_that_cannot_start_leaves_the_result_as_it_is(tiny, on_cpu, tmp_path, tracking):
    (tmp_path / "file").write_text("in the way")
    broken = replace(tracking, folder=tmp_path / "file" / "wandb-home")
    result = fit(tiny, 0, replace(on_cpu, tracking=broken), tmp_path / "run")
    assert result.status == "finished"
    assert result.top1 == fit(tiny, 0, on_cpu, tmp_path / "plain").top1


@pytest.mark.parametrize(
    ("environment", "project", "able"),
    [
        ({}, None, True),
        ({}, "mine", False),
        ({"WANDB_PROJECT": "theirs"}, None, False),
        ({"WANDB_MODE": "online"}, None, False),
        ({"WANDB_MODE": "offline"}, "mine", True),
        ({"WANDB_API_KEY": "local-" + "a" * 40}, "mine", True),
    ],
)
def test_a_project_needs_a_key(monkeypatch, tmp_path, environment, project, able):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert can_track(project) is able


def test_a_client_that_dies_in_training_leaves_the_result_as_it_is(
    tiny, on_cpu, tmp_path, tracking, monkeypatch
):
    import wandb

    def lost(*arguments, **named):
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(wandb.Run, "log", lost)  # the client's, not ours
    result = fit(tiny, 0, replace(on_cpu, tracking=tracking), tmp_path / "run")
    assert result.status == "finished"
    assert wandb.run is None
