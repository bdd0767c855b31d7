"""The benchmark of a whole ablation: its arms reach a real script, its verdict can say no."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).parent

# Says what a training script with timm's flags would have understood: the last of a repeated flag.
SCRIPT = """
import argparse, json, pathlib
parser = argparse.ArgumentParser(allow_abbrev=False)
for flag in ("--output", "--smoothing", "--aa", "--drop-path", "--drop", "--model-ema-decay"):
    parser.add_argument(flag)
args, _ = parser.parse_known_args()
out = pathlib.Path(args.output)
(out / "run").mkdir()
(out / "run" / "summary.csv").write_text("epoch,eval_top1\\n0,12.5\\n1,50.0\\n")
with open(pathlib.Path(__file__).with_name("said"), "a") as file:
    file.write(json.dumps(vars(args)) + "\\n")
"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("ablation")


def test_a_real_script_is_told_each_arm_on_top_of_those_before(
    bench: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "images" / "train" / "0").mkdir(parents=True)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    found = bench.peer(bench.SETTINGS["digits"], tmp_path / "images", 1, 6, str(script))
    said = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    assert [one["smoothing"] for one in said] == ["0", "0", "0.1", "0.1", "0.1", "0.1"]
    assert [one["aa"] for one in said] == [None] + 5 * ["rand-m10-n2"]
    assert [one["drop_path"] for one in said] == 3 * [None] + 3 * ["0.1"]
    assert [one["model_ema_decay"] for one in said] == 4 * [None] + 2 * ["0.9"]
    assert [one["drop"] for one in said] == 5 * [None] + ["0.25"]
    assert found["top1"] == {arm: [50.0] for arm in bench.ARMS}  # the last epoch's
    assert found["memory"] > 2**20


def test_accuracies_agree_within_noise_and_not_beyond(bench: ModuleType) -> None:
    draw = np.random.default_rng(0)
    # What a seed does to all its arms alike, and to each arm.
    games = 50 + draw.normal(size=(300, 2, 1, 3)) + draw.normal(size=(300, 2, 6, 3))
    agreed = np.mean([bench.agreement(peer, ours).agrees for peer, ours in games])
    assert 0.85 < agreed < 0.98
    peer, ours = 50 + draw.normal(size=(2, 6, 3))
    assert not bench.agreement(peer, ours + 10).agrees
    ours[2] += 10
    ours[4] -= 10  # cancels in the mean
    assert not bench.agreement(peer, ours).agrees
    assert bench.agreement(peer[:, :1], ours[:, :1]).agrees is None


@pytest.mark.slow
def test_both_sides_run(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "ablation.py"), "digits", "--smoke"]
    done = subprocess.run([*command, "--json", str(tmp_path / "found.json")], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["summary"]["ratio"] == found["ratios"][0] > 0
    for side in ("peer", "ours"):
        assert set(found["rounds"][0][side]["top1"]) == {"base", "ra"}
        assert found["rounds"][0][side]["memory"] > 100 * 2**20
    assert found["rounds"][0]["ours"]["runs"] == 2
