"""What tests look at: offline runs by W&B's own reader, and what the recording server holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ablations.plans import Run
from ablations.publishing.shown import identity_of
from tests.ablations.publishing.conftest import EPOCHS, Study, row_of
from tests.stub_wandb import StubRun, StubServer


def read_back(folder: Path) -> list[dict[str, Any]]:
    """The records that W&B's own reader finds in an offline run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def records(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row[kind] for row in rows if row["type"] == kind]


def curve_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Names and numbers of an offline curve, with the optimiser's step as rows have it."""
    found = []
    for one in records(rows, "history"):
        row = {key: value for key, value in one["item"].items() if not key.startswith("_")}
        row["step"] = row.pop("trainer/global_step")
        found.append(row)
    return found


def written_of(study: Study, run: Run) -> list[dict[str, Any]]:
    """The same of `metrics.jsonl`; what is no number is not shown."""
    text = (study.ledger.run_folder(run.id) / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def on_server(server: StubServer, study: Study, run: Run) -> StubRun:
    return server.runs[identity_of(study.plan.study, run.id)]


def assert_whole(server: StubServer, study: Study) -> None:
    """Every row of every run is on the server exactly once, and nothing else is."""
    assert set(server.runs) == {identity_of(study.plan.study, run.id) for run in study.runs}
    for run in study.runs:
        found = on_server(server, study, run)
        assert [row["epoch"] for row in found.history] == list(range(1, EPOCHS + 1))
        assert found.lines_received == EPOCHS
        assert [row["val/top1"] for row in found.history] == [
            row_of(run, number)["val/top1"] for number in range(EPOCHS)
        ]
        assert found.summary["outcome/status"] == "finished"
        assert found.exit_code == 0
