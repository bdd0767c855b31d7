"""What a finished study answers from Python, and what a home without or with other images costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations import open_study
from ablations.report.effects import EFFECTS
from lightning_modules.execution import RESULTS_VERSION
from tests.ablations.conftest import Finished, Said

Call = Callable[..., Said]


def test_python_gives_every_effect_with_the_parts_of_its_error(
    finished: Finished, home: Path
) -> None:
    document: dict[str, Any] = finished.said.json
    effects = open_study(finished.study, home).effects
    assert tuple(effects.columns) == EFFECTS
    rows = effects.astype(object).where(effects.notna(), None).to_dict("records")
    contrasts = {row["name"]: row for row in rows if row["family"] == "components"}
    for one in document["contrasts"]:
        row = contrasts[one["label"]]
        assert [row["low"], row["high"]] == one["interval"]
        for key in ("estimand", "delta", "n", "error_df", "p", "p_holm", "verdict"):
            assert row[key] == one[key]
        both = row["seed_error"] ** 2 + row["image_error"] ** 2
        assert row["standard_error"] ** 2 == pytest.approx(both)
        assert row["simultaneous_low"] <= row["low"] <= row["high"] <= row["simultaneous_high"]
    sides = {row["name"]: row for row in rows if row["family"] == "split"}
    for way, found in document["split"].items():
        for side, one in found.items():
            row = sides[f"{way} {side}"]
            assert (row["delta"], row["n"]) == (one["delta"], one["n"])
            assert [row["low"], row["high"]] == one["interval"]


def test_damaged_images_cost_no_result_and_are_told(
    finished: Finished, home: Path, call: Call
) -> None:
    kept = [home / "runs" / run["id"] / "correct.npy" for run in finished.said.json["runs"]]
    kept[0].write_bytes(b"")
    one = call("report", finished.study, "--home", home, "--format", "json")
    assert one.code == 0, one.err
    assert any(f"{kept[0].name} is damaged" in note for note in one.json["notes"])
    for path in kept[1:]:
        path.unlink()
    kept[0].unlink()
    none = call("report", finished.study, "--home", home, "--format", "json")
    assert any(
        note.startswith("intervals are of seeds alone") and "8 runs were made before" in note
        for note in none.json["notes"]
    )
    for before, after in zip(finished.said.json["contrasts"], none.json["contrasts"], strict=True):
        assert (after["delta"], after["n"]) == (before["delta"], before["n"])
        width = before["interval"][1] - before["interval"][0]
        assert after["interval"][1] - after["interval"][0] < width * 1.2


def test_runs_of_other_data_are_refused_in_a_report(
    finished: Finished, home: Path, call: Call
) -> None:
    path = home / "runs" / finished.said.json["runs"][0]["id"] / "result.json"
    result = json.loads(path.read_text())
    assert result["results_version"] == RESULTS_VERSION
    path.write_text(json.dumps(result | {"data_fingerprint": "f" * 20}))
    said = call("report", finished.study, "--home", home)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"ablate: run {path.parent.name} (base, seed 0) was made on other")
