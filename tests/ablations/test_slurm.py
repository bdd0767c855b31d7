"""Runs as jobs of a real SLURM cluster: `.ci/slurm-cluster start`, then `pytest -m slurm`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.errors import RequestError
from ablations.launch import slurm_queue as queue
from ablations.launch.job import Job
from ablations.launch.local import LocalPool
from ablations.launch.pool import Event
from ablations.launch.slurm_options import Slurm
from ablations.ledger import Ledger
from lightning_modules import Execution
from recipes import edit, load
from tests.ablations.conftest import ABLATE, ablate, without_wandb

_MISSING = [
    name
    for name, found in (
        ("submitit", importlib.util.find_spec("submitit")),
        ("sbatch", shutil.which("sbatch")),
        ("SLURM_CONF", os.environ.get("SLURM_CONF")),
    )
    if not found
]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(_MISSING), reason=f"no {', '.join(_MISSING)}; .ci/slurm-cluster start"),
]
TIMES = {"seconds", "train_seconds", "data_seconds", "train_images_per_second", "peak_memory_bytes"}
LONG = edit(load("tiny"), {"optim.epochs": 10})
STUDY = (
    *("--base", "tiny", "--add", "ls,se", "--design", "one-at-a-time", "--seeds", "1"),
    *("--set", "optim.epochs=3", "--track", "none", "--device", "cpu", "--study", "s"),
    *("--format", "json"),
)
PATIENCE = 300.0


def job(home: Path, cache: Path, run: str = "r", **execution: Any) -> Job:
    about = {"checkpoint_seconds": 0.1, "keep": "last"} | execution
    return Job(
        run=run,
        arm="base",
        seed=0,
        recipe=LONG,
        data="digits",
        home=home,
        execution=Execution(cache=cache, device="cpu", threads=1, **about),
    )


def results(home: Path) -> dict[str, Any]:
    """What a home holds of its finished runs, less what differs from time to time."""
    found: dict[str, Any] = {}
    for path in sorted((home / "runs").glob("*/result.json")):
        whole = json.loads(path.read_text())
        with np.load(path.parent / "predictions.npz") as kept:
            predictions = {name: kept[name].tolist() for name in kept.files}
        found[path.parent.name] = (
            {name: value for name, value in whole.items() if name not in TIMES},
            (path.parent / "metrics.jsonl").read_text(),
            predictions,
        )
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Any:
    """The run of `LONG`, made by a worker of this machine in one go."""
    home = tmp_path_factory.mktemp("undisturbed")
    with LocalPool(1, ("cpu",), 1, track=False) as pool:
        list(pool.run([job(home, cache)]))
    (found,) = results(home).values()
    return found


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    yield
    if not _MISSING:
        subprocess.run(["scancel", f"--user={os.geteuid()}"], check=True)


def followed(
    home: Path, cache: Path, disturb: Callable[[str], None], **slurm: Any
) -> tuple[list[Event], list[str]]:
    """Make a run, disturb its job once when it has a checkpoint; return events and what is said."""
    from ablations.launch.slurm import SlurmCluster

    events: list[Event] = []
    said: list[str] = []
    disturbed = False
    deadline = time.monotonic() + PATIENCE
    with SlurmCluster(Slurm(**slurm), home, 1, said.append) as launcher:
        for event in launcher.run([job(home, cache)]):
            assert time.monotonic() < deadline, (events[-3:], said)
            events += [event] if event.what != "pulse" else []
            if not disturbed and list((home / "runs/r/checkpoint").glob("*.ckpt")):
                disturbed = True
                (number,) = launcher.numbers
                disturb(number)
    assert disturbed
    return events, said


def pid_of(home: Path) -> int:
    return int(json.loads((home / "runs/r/status.json").read_text())["pid"])


def told(*words: str) -> None:
    subprocess.run(words, check=True, timeout=60)


def test_a_study_gives_the_same_as_on_this_machine(tmp_path: Path) -> None:
    here = ablate(*STUDY, "--slots", "2", "--home", tmp_path / "here", folder=tmp_path)
    assert here.code == 0, here.err
    home = tmp_path / "a home, più"
    said = ablate(*STUDY, "--launch", "slurm", "--home", home, folder=tmp_path, timeout=PATIENCE)
    assert said.code == 0, said.err
    assert results(home) == results(tmp_path / "here")
    assert "submitted 3 jobs" in said.err
    assert not list((home / "submissions").iterdir())  # nothing is left to be unpickled, or read
    again = ablate(*STUDY, "--launch", "slurm", "--home", home, folder=tmp_path)
    assert "trained nothing" in again.err


@pytest.mark.parametrize("how", ["killed", "requeued", "told to stop", "pre-empted"])
def test_a_disturbed_run_goes_on_and_ends_as_undisturbed(
    how: str, undisturbed: Any, cache: Path, tmp_path: Path
) -> None:
    pids = []

    def disturb(number: str) -> None:
        pids.append(pid_of(tmp_path))
        if how == "killed":
            os.kill(pids[0], signal.SIGKILL)
        elif how == "requeued":
            told("scontrol", "requeue", number)
        elif how == "told to stop":  # as SLURM does before the end of its time
            told("scancel", "--signal=USR2", number)
        else:
            words = ("--partition=urgent", "--nodes=2", "--ntasks-per-node=1", "--time=1")
            told("sbatch", *words, "--output=/dev/null", "--wrap=sleep 5")

    events, said = followed(tmp_path, cache, disturb)
    assert events[-1].status == "finished", (events[-1], said)
    assert [event.what for event in events if event.what in ("started", "lost", "ended")] == [
        "started",
        "lost",
        "started",
        "ended",
    ]
    (lost,) = (event.message for event in events if event.what == "lost")
    if how == "killed":
        assert "ended FAILED; its log ends: " in lost
        assert "Killed" in lost
    else:
        assert "went back into SLURM's queue" in lost
    assert lost.endswith("going on from its last checkpoint")
    (found,) = results(tmp_path).values()
    assert found == undisturbed
    assert pid_of_log(tmp_path) is None  # the folder is gone: all is finished


def pid_of_log(home: Path) -> Path | None:
    return next(iter((home / "submissions").glob("*/*.out")), None)


def test_a_run_that_takes_longer_than_its_jobs_may_goes_on_in_the_next(
    undisturbed: Any, cache: Path, tmp_path: Path
) -> None:
    def disturb(number: str) -> None:  # as if most of the hour were over
        told("scontrol", "update", f"JobId={number}", "TimeLimit=1")

    events, said = followed(tmp_path, cache, disturb, time=3600.0)
    assert events[-1].status == "finished", (events[-1], said)
    (found,) = results(tmp_path).values()
    assert found == undisturbed


def test_a_job_that_a_person_cancels_is_not_submitted_again(cache: Path, tmp_path: Path) -> None:
    events, _ = followed(tmp_path, cache, lambda number: told("scancel", number))
    assert [event.status for event in events if event.what == "ended"] == ["interrupted"]
    assert "was cancelled; the same command goes on" in events[-1].message
    assert Ledger(tmp_path).status("r") == "interrupted"


def test_a_run_whose_jobs_leave_without_a_word_twice_has_failed(
    cache: Path, tmp_path: Path
) -> None:
    from ablations.launch.slurm import SlurmCluster

    for folder in ("runs/r", "submissions"):
        (tmp_path / folder).mkdir(parents=True)
    with SlurmCluster(Slurm(), tmp_path, 1, print) as launcher:
        events = []
        for event in launcher.run([job(tmp_path, cache)]):
            events.append(event)
            for folder in (tmp_path / "submissions").iterdir():
                (folder / "job-0.json").write_text("{}")  # a node cannot make sense of that
    assert events[-1].status == Ledger(tmp_path).status("r") == "failed"
    assert "ended FAILED, the 2. of this run; its log ends: " in events[-1].message
    assert "of another version" in events[-1].message


def begun(home: Path, *more: str) -> subprocess.Popen[str]:
    """Start a study, and wait until a run of it has begun on the cluster."""
    driver = subprocess.Popen(
        [*ABLATE, *STUDY, "--launch", "slurm", "--home", str(home), *more],
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**without_wandb(), "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + PATIENCE
    while not list((home / "runs").glob("*/status.json")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return driver


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_ended_comes_back_and_submits_nothing_twice(
    end: signal.Signals, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    driver = begun(home, "--slots", "1")
    driver.send_signal(end)
    _, said = driver.communicate(timeout=60)
    if end == signal.SIGTERM:
        assert "jobs go on in SLURM, and the same command follows them" in said
    (first,) = (home / "submissions").iterdir()
    before = {path.name for path in (home / "runs").iterdir()}
    again = ablate(*STUDY, "--launch", "slurm", "--home", home, folder=tmp_path, timeout=PATIENCE)
    assert again.code == 0, again.err
    assert "are in SLURM: following them" in again.err
    assert "submitted" not in again.err
    assert not first.exists()
    assert len(results(home)) == 3
    assert before <= set(results(home))


def test_ctrl_c_cancels_what_was_submitted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    driver = begun(home)
    (name,) = (f"ablate-{folder.name}" for folder in (home / "submissions").iterdir())
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "cancelled 3 jobs in SLURM" in said
    deadline = time.monotonic() + 60
    while queue.UNDERWAY & {seen.state for seen in queue.look([name]).values()}:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert {seen.state for seen in queue.look([name]).values()} == {"CANCELLED"}


@pytest.mark.parametrize("words", [{"partition": "nowhere"}, {"gpus": "9"}, {"cpus": 999}])
def test_what_the_cluster_does_not_have_is_refused_before_anything_is_kept(
    words: dict[str, Any], tmp_path: Path
) -> None:
    from ablations.launch.slurm import SlurmCluster

    refused = pytest.raises(RequestError, match="--launch slurm: sbatch: .*nothing was submitted")
    with refused, SlurmCluster(Slurm(**words), tmp_path, 1, print):
        pass
    assert not list(tmp_path.iterdir())


def test_the_batch_script_holds_what_was_asked_and_no_environment(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablations.launch.slurm import SlurmCluster

    monkeypatch.setenv("MY_SECRET", "correct horse battery staple")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "7")
    jobs = [job(tmp_path, cache, run=f"r{number}") for number in range(3)]
    asked = Slurm(partition="normal", time=1800.0, mem="100M")
    with SlurmCluster(asked, tmp_path, 1, print) as launcher:
        for event in launcher.run(jobs, at_most=1):
            if event.what == "pulse":
                break
        folder = next((tmp_path / "submissions").iterdir())
        (script,) = (path for path in folder.glob("*_submission.sh") if not path.is_symlink())
        lines = script.read_text().splitlines()
    for line in (
        "#SBATCH --array=0-2%1",
        f"#SBATCH --job-name=ablate-{folder.name}",
        "#SBATCH --partition=normal",
        "#SBATCH --time=30",
        "#SBATCH --mem=100M",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --cpus-per-task=1",
    ):
        assert line in lines
    assert os.environ["SBATCH_TIMELIMIT"] == "7"
    assert not list(folder.glob("*.pkl"))
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"battery staple" not in path.read_bytes()
