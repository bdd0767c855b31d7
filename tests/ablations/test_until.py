"""A study that adds seeds by itself, for real: killed, gone on with, asked for again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ablations.conftest import Said, snapshot
from tests.ablations.test_study import started

Call = Callable[..., Said]
SETTINGS = ("optim.epochs=3", "optim.warmup_epochs=0", "data.train_fraction=0.1")
WORDS = (
    *("--base", "tiny", "--add", "ls,se", "--seeds", "2", "--until", "verdicts"),
    *("--max-runs", "14", "--confirm", "1", "--study", "mine", "--track", "none"),
    *(word for text in SETTINGS for word in ("--set", text)),
)


def stages(home: Path) -> dict[str, Any]:
    path = home / "studies/mine/stages.json"
    return json.loads(path.read_text()) if path.exists() else {"looks": []}  # type: ignore[no-any-return]


def second_stage_runs(home: Path) -> list[Path]:
    """The folders of the runs that the first look added and that have been begun."""
    runs = [run["id"] for look in stages(home)["looks"][:1] for run in look["runs"]]
    return [home / "runs" / run for run in runs if (home / "runs" / run / "status.json").exists()]


@pytest.mark.slow  # tests/faults kills studies more often; this one decides as it goes
def test_a_study_killed_in_a_later_stage_goes_on_to_the_same_decisions(
    tmp_path: Path, call: Call
) -> None:
    home = tmp_path / "home"
    words = (*WORDS, "--home", str(home))
    process = started(*words, "--slots", "1")
    deadline = time.monotonic() + 180
    while not second_stage_runs(home):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert "8 runs now, at most 14" in err
    assert "stage 1 of" in err
    assert "then 2 runs to confirm" in err
    killed = stages(home)
    assert len(killed["looks"]) == 1
    assert killed["choice"] is None
    # Two arms fewer than a verdict needs in the first stage: all four get a third seed.
    assert killed["looks"][0]["share"] == 0
    assert len(killed["looks"][0]["runs"]) == 4

    said = call(*words, "--format", "json")
    assert said.code == 0, said.err
    whole = stages(home)
    assert whole["looks"][0] == killed["looks"][0]
    assert whole["looks"][-1]["runs"] == []
    added = [run["id"] for look in whole["looks"] for run in look["runs"]]
    shown = [row["id"] for row in said.json["runs"]]
    assert len(shown) == 8 + len(added) <= 14
    assert set(added) < set(shown)
    assert {row["status"] for row in said.json["runs"]} == {"finished"}
    fresh = [run["id"] for run in whole["choice"]["runs"]]
    assert not set(fresh) & set(shown)
    statuses = {
        json.loads((home / "runs" / run / "status.json").read_text())["status"]
        for run in (*shown, *fresh)
    }
    assert statuses == {"finished"}
    assert any(note.startswith("stopped at stage") for note in said.json["notes"])

    before = snapshot(home)
    again = call(*words, "--format", "json")
    assert (again.code, again.out) == (0, said.out)
    assert f"all {len(shown) + len(fresh)} runs are in the ledger; trained nothing" in again.err
    assert call("report", "mine", "--format", "json", "--home", home).out == said.out
    assert snapshot(home) == before
    refused = call("extend", "mine", "--seeds", "5", "--home", home)
    assert (refused.code, refused.out) == (2, "")
    assert "is not extended: --until verdicts and --confirm 1 was declared" in refused.err
