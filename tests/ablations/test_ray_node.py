"""What a node does of a run that Ray gives it, without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.launch.job import Job
from ablations.launch.on_ray import RayCluster, _Given
from ablations.launch.ray_node import Blind, carry_out
from ablations.launch.ray_options import RayOptions
from lightning_modules.checkpoint_files import FOLDER
from lightning_modules.execution import Execution
from recipes import load


def job_of(home: Path) -> Job:
    return Job(
        run="r",
        arm="base",
        seed=0,
        recipe=load("tiny"),
        data="digits",
        home=home,
        execution=Execution(time_limit=0.1),
    )


def test_a_node_that_does_not_see_the_home_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(Blind, match="does not see .*home"):
        carry_out(job_of(home), home / ".seen.0", [])
    assert not home.exists()


HANG = """
import sys, time
from pathlib import Path
from ablations.launch import watch
from tests.ablations.test_ray_node import job_of
watch.OVERTIME_SECONDS = 0.2
watch.Watch(job_of(Path(sys.argv[1])))
time.sleep(60)
"""


def test_a_run_that_hangs_long_after_its_limit_ends_with_its_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    status = json.loads((tmp_path / "runs" / "r" / "status.json").read_text())
    assert status["status"] == "timed_out"
    assert "after its limit of 0.1 s" in status["message"]


def test_losses_count_between_checkpoints_alone(tmp_path: Path) -> None:
    given = _Given(0, job_of(tmp_path))
    cluster = RayCluster(RayOptions(), tmp_path, threads=1, device="cpu")
    folder = tmp_path / "runs" / "r" / FOLDER
    folder.mkdir(parents=True)
    for step in range(9):  # each loss comes after a further checkpoint
        (folder / f"{step}.{'0' * 64}.ckpt").touch()
        assert cluster._goes_on(given)
    assert [cluster._goes_on(given) for _ in range(4)] == [True, True, True, False]
