"""`ablate simulate` as a user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ablations.conftest import Said

Call = Callable[..., Said]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["covrage"],
            "there are no cells 'covrage': choose from coverage, .*did you mean 'coverage'",
        ),
        (["null", "--games", "10"], "--games 10: give 100 or more"),
        (["null", "--games", "many"], "'many' is not a whole number"),
        (["null", "--slots", "0"], "--slots 0: give 1 or more"),
        (["null", "--format", "latex"], "there is no format 'latex'"),
        (["null", "--seeds", "3"], "'--seeds' is not known here"),
    ],
)
def test_a_wrong_request_is_one_message(words: list[str], message: str, call: Call) -> None:
    said = call("simulate", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ablate: ")
    assert said.err.count("ablate: ") == 1
    assert re.search(message, said.err)


def test_figures_go_to_stdout_or_a_file_and_progress_to_stderr(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("simulate", "width", "--games", "100", "--slots", "1")
    said = call(*words, "--format", "json")
    tree = json.loads(said.out)
    assert said.code == (1 if tree["failed"] else 0)
    assert [line for line in said.err.splitlines() if line.startswith("fails: ")] == [
        f"fails: {sentence}" for sentence in tree["failed"]
    ]
    assert "width: +-0.15, accuracies only: 100 games; 2 cells left" in said.err
    assert {one["group"] for one in tree["figures"]} == {"width"}


def test_simulate_loads_no_torch() -> None:
    code = (
        "import sys; from ablations.cli import main\n"
        "main(['simulate', 'width', '--games', '3'])\n"
        "from ablations.simulation import cells_of\n"
        "cells_of('all')\n"
        "from ablations.simulation.playing import play_chunk\n"
        "[play_chunk(cells_of(group)[0].name, 0, 2) for group in ('coverage', 'screen', 'until')]\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
