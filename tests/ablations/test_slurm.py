"""Runs as jobs of a real SLURM cluster: `.ci/slurm-cluster start`, then `pytest -m slurm`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ablations.errors import RequestError
from ablations.launch import slurm_queue as queue
from ablations.launch.job import Job
from ablations.launch.local import LocalPool
from ablations.launch.pool import Event
from ablations.launch.slurm import SlurmCluster
from ablations.launch.slurm_options import Slurm
from ablations.ledger import Ledger
from lightning_modules import Execution
from recipes import edit, hook, load
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
# Slow until a file says otherwise: so that what is to happen during a run does, on any machine.
MODULE = """
    import time
    from pathlib import Path

    HURRY = Path(__file__).with_name("hurry")

    def slow(images, targets):
        if not HURRY.exists():
            time.sleep(1.5)
        return images, targets
"""
STUDY = (
    *("--base", "tiny", "--add", "ls,se", "--design", "one-at-a-time", "--seeds", "1"),
    *("--set", "optim.epochs=3", "--set", "optim.warmup_epochs=0", "--track", "none"),
    *("--device", "cpu", "--study", "s"),
    *("--format", "json"),
)
PATIENCE = 400.0
FOLDER = Path(os.environ.get("SLURM_CONF", "")).parent  # of the cluster that was started


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A user's module, which the nodes find where this Python does."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "slurm_hooks.py").write_text(textwrap.dedent(MODULE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("slurm_hooks")
    del sys.modules["slurm_hooks"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, own: ModuleType) -> Callable[..., Job]:
    cache = tmp_path_factory.mktemp("cache")
    recipe = edit(load("tiny"), {"optim.epochs": 6, "custom.slow": hook("batch", own.slow)})

    def job(home: Path, run: str = "r") -> Job:
        return Job(
            run=run,
            arm="base",
            seed=0,
            recipe=recipe,
            data="digits",
            home=home,
            execution=Execution(cache=cache, device="cpu", threads=1, checkpoint_seconds=0.1),
        )

    return job


@pytest.fixture(autouse=True)
def no_hurry(own: ModuleType) -> None:
    own.HURRY.unlink(missing_ok=True)


def results(home: Path) -> dict[str, Any]:
    """What a home holds of its finished runs, less what differs from time to time."""
    found: dict[str, Any] = {}
    for path in sorted((home / "runs").glob("*/result.json")):
        whole = json.loads(path.read_text())
        with np.load(path.parent / "predictions.npz") as kept:
            predictions = {name: kept[name].tolist() for name in kept.files}
        found[path.parent.name] = (
            {name: value for name, value in whole.items() if name not in TIMES},
            [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()],
            predictions,
        )
    return found


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Job], own: ModuleType
) -> Any:
    """The run, made by a worker of this machine in one go."""
    home = tmp_path_factory.mktemp("undisturbed")
    own.HURRY.touch()
    with LocalPool(1, ("cpu",), 1) as pool:
        list(pool.run([make(home)]))
    own.HURRY.unlink()
    (found,) = results(home).values()
    return found


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    yield
    if not _MISSING:
        subprocess.run(["scancel", f"--user={os.geteuid()}"], check=True)


@pytest.fixture
def follow(
    tmp_path: Path, make: Callable[..., Job], own: ModuleType
) -> Callable[..., tuple[list[Event], list[str]]]:
    """Make a run, disturb its job once when it has a checkpoint; return events and what is said."""

    def followed(disturb: Callable[[str], None], **slurm: Any) -> tuple[list[Event], list[str]]:
        events: list[Event] = []
        said: list[str] = []
        disturbed = False
        deadline = time.monotonic() + PATIENCE
        with SlurmCluster(Slurm(**slurm), tmp_path, 1, said.append) as launcher:
            for event in launcher.run([make(tmp_path)]):
                assert time.monotonic() < deadline, (events[-3:], said)
                events += [event] if event.what != "pulse" else []
                if not disturbed and list((tmp_path / "runs/r/checkpoint").glob("*.ckpt")):
                    disturbed = True
                    (number,) = launcher.numbers
                    disturb(number)
                if event.what == "lost":
                    own.HURRY.touch()
                    # Time again, where it was taken; of a job that is gone this says nothing.
                    subprocess.run(["scontrol", "update", f"JobId={number}", "TimeLimit=60"])
        return events, said

    return followed


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


HOW = ("killed", "requeued", "told to stop", "out of time", "pre-empted", "without its node")


@pytest.mark.parametrize("how", HOW)
def test_a_disturbed_run_goes_on_and_ends_as_undisturbed(
    how: str, undisturbed: Any, follow: Callable[..., Any], tmp_path: Path
) -> None:
    def disturb(number: str) -> None:
        if how == "killed":
            os.kill(pid_of(tmp_path), signal.SIGKILL)
        elif how == "requeued":
            told("scontrol", "requeue", number)
        elif how == "told to stop":
            told("scancel", "--signal=USR2", number)
        elif how == "out of time":
            told("scontrol", "update", f"JobId={number}", "TimeLimit=1")
        elif how == "pre-empted":
            words = ("--partition=urgent", "--nodes=2", "--ntasks-per-node=1", "--time=1")
            told("sbatch", *words, "--output=/dev/null", "--wrap=sleep 5")
        else:
            lose_node(number, pid_of(tmp_path))

    try:
        events, said = follow(disturb, time=3600.0)
    finally:
        if how == "without its node":
            bring_nodes_back()
    assert events[-1].status == "finished", (events[-1], said)
    kinds = [event.what for event in events if event.what in ("started", "lost", "ended")]
    if how == "out of time":  # the next jobs have as little
        assert kinds[::2] == ["started"] * (len(kinds) // 2)
        assert kinds[1:-1:2] == ["lost"] * (len(kinds) // 2 - 1) != []
    else:
        assert kinds == ["started", "lost", "started", "ended"]
    lost = next(event.message for event in events if event.what == "lost")
    if how == "killed":
        assert "ended FAILED; its log ends: " in lost
        assert "Killed" in lost
    else:
        assert "went back into SLURM's queue" in lost
    assert lost.endswith("going on from its last checkpoint")
    (found,) = results(tmp_path).values()
    assert found == undisturbed
    assert not list((tmp_path / "submissions").iterdir())


def lose_node(number: str, pid: int) -> None:
    """End the daemon of a job's node and the run there, as one, for SLURM to see."""
    shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True)
    node = next(word[9:] for word in shown.stdout.split() if word.startswith("NodeList="))
    daemon = int((FOLDER / f"slurmd.{node}.pid").read_text())
    os.kill(daemon, signal.SIGKILL)
    told("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    os.kill(pid, signal.SIGKILL)


def bring_nodes_back() -> None:
    for node in ("n1", "n2"):
        try:
            os.kill(int((FOLDER / f"slurmd.{node}.pid").read_text()), 0)
        except ProcessLookupError:
            told("slurmd", "-c", "-N", node)  # its jobs find it back in service by themselves


def test_a_job_that_a_person_cancels_is_not_submitted_again(
    follow: Callable[..., Any], tmp_path: Path
) -> None:
    events, _ = follow(lambda number: told("scancel", number))
    assert [event.status for event in events if event.what == "ended"] == ["interrupted"]
    assert "was cancelled; the same command goes on" in events[-1].message
    assert Ledger(tmp_path).status("r") == "interrupted"


def test_a_run_whose_jobs_leave_without_a_word_twice_has_failed(
    make: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "submissions").mkdir()
    events = []
    with SlurmCluster(Slurm(), tmp_path, 1, print) as launcher:
        for event in launcher.run([make(tmp_path)]):
            events.append(event)
            for folder in (tmp_path / "submissions").iterdir():
                (folder / "job-0.json").write_text("{}")  # a node cannot make sense of that
    assert events[-1].status == Ledger(tmp_path).status("r") == "failed"
    assert "ended FAILED, the 2. of this run; its log ends: " in events[-1].message
    assert "by another version" in events[-1].message


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
    refused = pytest.raises(RequestError, match="--launch slurm: sbatch: .*nothing was submitted")
    with refused, SlurmCluster(Slurm(**words), tmp_path, 1, print):
        pass
    assert not list(tmp_path.iterdir())


def test_the_batch_script_holds_what_was_asked_and_no_environment(
    make: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "correct horse battery staple")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "7")
    jobs = [make(tmp_path, f"r{number}") for number in range(3)]
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
