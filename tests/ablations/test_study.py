"""The whole path, twice, and what happens to a study afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from ablations import open_study, plan, run
from ablations.ledger import Ledger
from ablations.request import Request
from ablations.study import (
    Options,
    make_jobs,
    missing_runs,
    plan_study,
)
from tests.ablations.conftest import (
    ABLATE,
    QUICK,
    REQUEST,
    SETTINGS,
    Finished,
    Said,
    snapshot,
    write_folders,
)

Call = Callable[..., Said]


def test_the_first_time_trains_every_run_and_says_how_far_it_is(finished: Finished) -> None:
    found, err = finished.said.json, finished.said.err
    assert [row["status"] for row in found["runs"]] == ["finished"] * 8
    assert all(0 < row["value"] <= 100 for row in found["runs"])
    assert "4 arms x 2 seeds, 0 runs done, 8 to train" in err
    assert "0 of 8 runs done" in err
    assert "[8/8]" in err


def test_the_second_time_makes_no_run_and_loads_no_torch(finished: Finished, home: Path) -> None:
    before = snapshot(home)
    program = (
        "import sys; from ablations.cli import main; code = main(sys.argv[1:]);"
        " print(sorted({'torch', 'timm', 'pytorch_lightning', 'wandb'} & set(sys.modules)),"
        " file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *REQUEST, "--format", "json", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert "all 8 runs are in the ledger; trained nothing" in done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout == finished.said.out
    assert snapshot(home) == before


def test_a_report_says_what_the_run_said(finished: Finished, home: Path, call: Call) -> None:
    said = call("report", finished.study, "--format", "json", "--home", home)
    assert (said.code, said.out, said.err) == (0, finished.said.out, "")


@pytest.mark.parametrize("design", ["one-at-a-time", "leave-one-out", "factorial"])
def test_a_run_that_another_design_made_is_not_made_again(
    design: str, finished: Finished, home: Path, call: Call
) -> None:
    said = call(*REQUEST, "--design", design, "--format", "json", "--home", home)
    assert said.code == 0
    assert "trained nothing" in said.err
    ours = {row["id"]: row["value"] for row in finished.said.json["runs"]}
    theirs = {row["id"]: row["value"] for row in said.json["runs"]}
    assert theirs.items() <= ours.items()
    assert said.json["design"] == design


def test_arms_at_chance_are_noted_and_older_results_are_still_read(
    tmp_path: Path, call: Call
) -> None:
    words = ("--base", "tiny", "--add", "ls", "--seeds", "1", *QUICK)
    words = (*words, "--set", "optim.lr=1e-8", "--home", str(tmp_path), "--format", "json")
    said = call(*words)
    assert said.code == 0, said.err
    (note,) = (note for note in said.json["notes"] if "at chance" in note)
    assert note.startswith("all arms are at chance, not clearly above the 10.18")
    assert "on these 599 images: base " in note

    for path in tmp_path.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        assert 0 <= result["data_seconds"] <= result["train_seconds"]
        del result["chance_top1"], result["data_seconds"]
        path.write_text(json.dumps(result))
    again = call(*words)
    assert (again.code, again.json["runs"]) == (0, said.json["runs"])
    assert again.json["notes"] == [one for one in said.json["notes"] if one != note]


def test_python_gives_frames_equal_to_the_document(finished: Finished, home: Path) -> None:
    document: dict[str, Any] = finished.said.json
    study = open_study(finished.study, home)
    assert json.loads(json.dumps(study.document)) == document
    contrasts = study.contrasts
    assert isinstance(contrasts, pandas.DataFrame)
    assert contrasts.to_dict("records") == document["contrasts"]
    runs = study.runs
    for key in ("id", "arm", "seed", "status", "value", "seconds"):
        assert runs[key].tolist() == [row[key] for row in document["runs"]]
    assert set(runs) >= {"params", "macs", "train_images_per_second", "peak_memory_bytes"}


def test_python_plans_and_runs_as_the_command_line_does(finished: Finished, home: Path) -> None:
    before = snapshot(home)
    prepared = plan("tiny", "ls,se", seeds=2, settings=SETTINGS, home=home)
    assert prepared.plan.study == finished.study
    assert missing_runs(prepared.plan, Ledger(home)) == []
    study = run(
        "tiny", "ls,se", seeds=2, settings=SETTINGS, home=home, options=Options(track="none")
    )
    assert json.loads(json.dumps(study.document)) == finished.said.json
    assert snapshot(home) == before


def test_python_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no study 'nope'"):
        open_study("nope", tmp_path)
    with pytest.raises(ValueError, match="no component 'lz'"):
        plan("tiny", "lz", home=tmp_path)


def test_a_failed_run_is_shown_and_only_repeated_by_retry(
    finished: Finished, home: Path, call: Call
) -> None:
    ledger = Ledger(home)
    victim = finished.said.json["runs"][-1]
    ledger.finish(victim["id"], "failed", None, "its worker died")
    again = call(*REQUEST, "--format", "json", "--home", home)
    assert again.code == 1
    assert "trained nothing" in again.err
    (row,) = (row for row in again.json["runs"] if row["id"] == victim["id"])
    assert (row["status"], row["value"]) == ("failed", None)
    assert any("failed" in note for note in again.json["notes"])
    assert "its worker died" in call("status", finished.study, "--home", home).out

    retried = call(*REQUEST, "--retry", "--format", "json", "--home", home)
    assert retried.code == 0
    assert "7 runs done, 1 to train" in retried.err
    (row,) = (row for row in retried.json["runs"] if row["id"] == victim["id"])
    assert (row["status"], row["value"]) == ("finished", victim["value"])


def test_a_retry_that_is_refused_loses_nothing(
    finished: Finished, home: Path, call: Call, tmp_path: Path
) -> None:
    folder = write_folders(tmp_path / "images")
    words = ("--base", "tiny", "--add", "ls", "--seeds", "1", "--data", f"imagefolder:{folder}")
    (folder / "val/light/0.jpg").write_bytes(b"broken")
    plan_of = plan_study(
        Request(base="tiny", add="ls", seeds=1, data=f"imagefolder:{folder}"), home
    ).plan
    ledger = Ledger(home)
    ledger.begin(plan_of.runs[0].id, plan_of.layout.arms[0].recipe, 0, "imagefolder")
    ledger.finish(plan_of.runs[0].id, "failed", None, "as before")
    said = call(*words, "--track", "none", "--retry", "--home", home)
    assert said.code == 2
    assert ledger.outcome(plan_of.runs[0]).error == "as before"


def started(*words: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [*ABLATE, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite started in the background ignores Ctrl-C, and what it starts would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


INTERRUPTED = "ablate: interrupted; what had finished is kept, and the same command goes on\n"


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path: Path, call: Call) -> None:
    home = tmp_path / "home"
    words = ("--base", "tiny", "--add", "ls", "--seeds", "1", "--set", "optim.epochs=40")
    words = (*words, "--slots", "2", "--track", "none", "--home", str(home))
    process = started(*words)
    deadline = time.monotonic() + 180
    while not any(home.glob("runs/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # the workers get it too
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith(INTERRUPTED)
    assert "Traceback" not in err
    statuses = [json.loads(path.read_text())["status"] for path in home.glob("runs/*/status.json")]
    assert statuses
    assert set(statuses) == {"interrupted"}

    said = call(*words, "--format", "json")
    assert said.code == 0, said.err
    assert "0 runs done, 2 to train" in said.err
    assert {row["status"] for row in said.json["runs"]} == {"finished"}


def test_an_interrupt_while_workers_start_is_one_line(tmp_path: Path) -> None:
    process = started(*REQUEST, "--home", str(tmp_path / "home"))
    assert process.stderr is not None
    process.stderr.readline()
    assert process.stderr.readline().startswith("starting the workers")
    time.sleep(1.0)  # in the middle of importing torch; sooner or later is fine too
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.endswith(INTERRUPTED)


def test_a_study_of_images_from_a_folder(tmp_path: Path, call: Call) -> None:
    folder, home = write_folders(tmp_path / "my images"), tmp_path / "home"
    words = ("--base", "tiny", "--add", "ls", "--seeds", "1", *QUICK, "--slots", "2")
    words = (*words, "--home", str(home), "--data", f"imagefolder:{folder}")
    said = call(*words, "--format", "json")
    assert said.code == 0, said.err
    assert said.json["data"] == "imagefolder"
    assert "data profile imagefolder" in said.err
    assert not [note for note in said.json["notes"] if "demonstration" in note]
    assert "trained nothing" in call(*words).err

    for name in ("train/dark/3.jpg", "val/light/1.jpg"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:200])
    before = snapshot(home, ["runs"])
    corrupt = call(*words)
    assert (corrupt.code, corrupt.out) == (2, "")
    assert "train/dark/3.jpg" in corrupt.err
    assert "val/light/1.jpg" in corrupt.err
    assert "--skip-corrupt" in corrupt.err
    assert snapshot(home, ["runs"]) == before

    skipped = call(*words, "--skip-corrupt", "--format", "json")
    assert skipped.code == 0, skipped.err
    assert "left out 2 corrupt images: train/dark/3.jpg, val/light/1.jpg" in skipped.json["notes"]
    assert {row["status"] for row in skipped.json["runs"]} == {"finished"}


def test_a_folder_of_the_users_home_may_be_named_by_a_tilde(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(tmp_path / "images")
    monkeypatch.setenv("HOME", str(tmp_path))
    request = Request(base="tiny", add="ls", seeds=1, data="imagefolder:~/images")
    prepared = plan_study(request, tmp_path / "home")
    jobs = make_jobs(prepared, prepared.plan.runs, Ledger(tmp_path / "home"), Options())
    assert jobs[0].execution.data_folder == tmp_path / "images"


def test_a_study_whose_first_steps_fail_is_refused_and_leaves_nothing(
    tmp_path: Path, call: Call
) -> None:
    # 16 pixels where the network was made for one size: known only once it is built and fed.
    bad = (
        "--base",
        "vit_tiny_patch16_224",
        "--add",
        "ls",
        "--set",
        "data.resolution=16",
        "--study",
        "mine",
    )
    said = call(*bad, *QUICK, "--home", tmp_path / "home")
    assert (said.code, said.out) == (2, "")
    assert "the first steps of the arm 'base' failed, and nothing was trained" in said.err
    assert not any((tmp_path / "home/runs").iterdir())
    assert not any((tmp_path / "home/studies").iterdir())
    said = call("status", "--home", tmp_path / "home")
    assert "no study" in said.out


def test_a_corrupt_image_of_a_streamed_set_is_told_before_training(
    tmp_path: Path, call: Call
) -> None:
    folder = write_folders(tmp_path / "images")
    (folder / "train/dark/0.jpg").write_bytes(b"no image")
    words = ("--base", "tiny", "--add", "ls", "--data", f"imagefolder:{folder}")
    said = call(*words, "--set", "data.stored_size=0", *QUICK, "--home", tmp_path / "home")
    assert (said.code, said.out) == (2, "")
    assert "1 of 32 images cannot be decoded" in said.err
    assert "dark/0.jpg" in said.err
    assert not any((tmp_path / "home/studies").iterdir())


def test_a_run_whose_process_is_gone_is_shown_as_interrupted(
    finished: Finished, home: Path, call: Call
) -> None:
    ledger, run = Ledger(home), finished.said.json["runs"][0]["id"]
    path = ledger.run_folder(run) / "status.json"
    path.write_text(path.read_text().replace("finished", "running"))
    assert "1 interrupted" in call("status", finished.study, "--home", home).out
    assert call("report", finished.study, "--home", home).code == 0  # nothing has failed
    with ledger.claim(run, lambda: None):
        assert "1 running" in call("status", finished.study, "--home", home).out
