"""Runs on two processes, from the command line to the ledger; nobody outlives a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations import RequestError
from ablations.bases import fit_to_hardware
from ablations.launch.job import Job
from ablations.launch.local import LocalPool
from ablations.ledger import Ledger
from ablations.packing import bounded, candidates, choose_slots, gpu_groups, remember, slots_of
from ablations.request import Request
from ablations.study import Options, plan_study
from lightning_modules import Execution
from lightning_modules.data import available_cores
from lightning_modules.footprint import Footprint
from recipes import RecipeError, edit, load
from tests.ablations.conftest import ABLATE

TINY = load("tiny")
LONG = edit(TINY, {"optim.epochs": 2000, "optim.bn_batch": TINY.data.batch_size // 2})
SHORT = edit(LONG, {"optim.epochs": 2, "optim.warmup_epochs": 0})
TWO = Options(device="cpu", devices=2)


def test_statistics_are_of_each_device_s_share_unless_asked_otherwise() -> None:
    batch = TINY.data.batch_size
    found, words = fit_to_hardware(TINY, (), "cpu", 2)
    assert found == edit(TINY, {"optim.bn_batch": batch // 2})
    assert words.startswith(f"optim.bn_batch 0 -> {batch // 2} (of each of 2 devices;")
    assert fit_to_hardware(TINY, ("optim.bn_batch=0",), "cpu", 2) == (TINY, "")
    divided = edit(TINY, {"optim.bn_batch": 4})
    assert fit_to_hardware(divided, (), "cpu", 2) == (divided, "")
    with pytest.raises(RecipeError, match="cannot be divided evenly over 3 devices: use 30 or 33"):
        fit_to_hardware(TINY, (), "cpu", 3)
    with pytest.raises(RecipeError, match="one image to each of 32 devices, too few for a batch"):
        fit_to_hardware(TINY, (), "cpu", 32)
    with pytest.raises(RecipeError, match="bn_batch = 4 does not divide the 2 images"):
        fit_to_hardware(divided, (), "cpu", 16)


def test_the_devices_of_a_run_are_part_of_its_recipe_only_by_their_statistics(
    tmp_path: Path,
) -> None:
    request = Request(base="tiny", add="ls", seeds=1)
    divided = Request(base="tiny", add="ls", seeds=1, settings=("optim.bn_batch=16",))
    whole = Request(base="tiny", add="ls", seeds=1, settings=("optim.bn_batch=0",))

    def runs(asked: Request, devices: int) -> list[str]:
        return [one.id for one in plan_study(asked, tmp_path, devices=devices).plan.runs]

    assert runs(request, 2) == runs(divided, 1) == runs(divided, 2)
    assert runs(request, 1) == runs(whole, 1) == runs(whole, 2)
    assert runs(request, 1) != runs(request, 2)


def test_a_slot_has_as_many_cores_as_a_run_has_devices(tmp_path: Path) -> None:
    cores, ledger = available_cores(), Ledger(tmp_path)
    slots = choose_slots(100, TWO)
    assert (slots.each, slots.count) == (2, max(cores // 2, 1))
    assert slots.threads >= 2
    assert slots.words.startswith(f"{slots.count} at once on cpu (2 devices per run), ")
    assert candidates(slots, 100, 64) == [slots]
    alone = choose_slots(100, Options(device="cpu"))
    remember("mine", alone, {}, ledger)
    assert slots_of("mine", 100, Options(device="cpu"), ledger) == alone
    assert slots_of("mine", 100, TWO, ledger) == slots
    remember("mine", slots, {}, ledger)
    assert slots_of("mine", 100, TWO, ledger) == slots
    used = Footprint(host=10**9)
    four = choose_slots(100, Options(device="cpu", devices=2, slots=4))
    assert bounded(four, used, None, 6 * 10**9).count == 2


def test_gpus_are_taken_in_groups_of_neighbours() -> None:
    assert gpu_groups(8, 2) == ("cuda:0", "cuda:2", "cuda:4", "cuda:6")
    assert gpu_groups(8, 3) == ("cuda:0", "cuda:3")
    assert gpu_groups(4, 2, begin=1) == ("cuda:1",)
    with pytest.raises(RequestError, match="--devices 4: this machine has 2 GPUs"):
        gpu_groups(2, 4)
    with pytest.raises(RequestError, match="has 2 GPUs, so 1 for a run from number 1 on"):
        gpu_groups(2, 2, begin=1)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Job]:
    def job(run: str, recipe=SHORT, **execution: object) -> Job:
        return Job(
            run=run,
            arm="base",
            seed=0,
            recipe=recipe,
            data="digits",
            home=tmp_path / "home",
            execution=Execution(cache=tmp_path / "cache", devices=2, **execution),
        )

    return job


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    with LocalPool(1, ("cpu",), 2, each=2) as made:
        yield made


def processes() -> Iterator[tuple[int, int, int]]:
    """Return process, parent and session of everything that is alive."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
        if fields[0] != "Z":
            yield int(path.parent.name), int(fields[1]), int(fields[3])


def members(worker: int) -> list[int]:
    """Return the processes that make a worker's run: its server has forked them."""
    servers = {one for one, parent, _ in processes() if parent == worker}
    return [one for one, parent, _ in processes() if parent in servers]


def gone(pids: list[int], seconds: float) -> bool:
    """Wait until none of these is alive any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not set(pids) & {one for one, _, _ in processes()}:
            return True
        time.sleep(0.1)
    return False


def worker_of(home: Path, run: str) -> int:
    """Wait until a run has an epoch behind it and return its worker."""
    folder = home / "runs" / run
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(json.loads((folder / "status.json").read_text())["pid"])


@pytest.mark.slow
def test_a_run_whose_process_dies_goes_on_and_fails_only_with_the_next(
    pool: LocalPool, make: Callable[..., Job], tmp_path: Path
) -> None:
    killed: list[int] = []
    ended = {}
    for event in pool.run([make("long", LONG), make("next")]):
        if event.what == "progress" and event.job.run == "long" and len(killed) < 4:
            now = members(worker_of(tmp_path / "home", "long"))
            if not set(now) & set(killed) and len(now) == 2:
                killed += now
                os.kill(now[1], signal.SIGKILL)
        if event.what == "ended":
            assert isinstance(event.job, Job)
            ended[event.job.run] = event
    assert len(killed) == 4
    assert gone(killed, 1)
    ledger = Ledger(tmp_path / "home")
    assert ended["long"].status == ledger.status("long") == "failed"
    assert "of the 2 of this run died (killed, perhaps for want of memory)" in ended["long"].message
    assert "log.txt" in ended["long"].message
    log = (ledger.run_folder("long") / "log.txt").read_text()
    assert log.count("going on from its last checkpoint") == 1
    assert ended["next"].status == "finished"
    result = json.loads((ledger.run_folder("next") / "result.json").read_text())
    assert result["devices"] == 2


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_its_checkpoint(
    make: Callable[..., Job], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "home")
    recipe = edit(SHORT, {"optim.epochs": 6})
    job = make("stopped", recipe, checkpoint_seconds=0.0)
    with LocalPool(1, ("cpu",), 2, each=2) as pool:
        events = pool.run([job])
        assert next(events).what == "started"
        team = members(worker_of(tmp_path / "home", "stopped"))
        checkpoint = ledger.run_folder("stopped") / "checkpoint"
        while not (checkpoint.exists() and any(checkpoint.iterdir())):
            time.sleep(0.01)
    assert gone(team, 1)
    assert ledger.status("stopped") == "interrupted"
    ended = {}
    with LocalPool(1, ("cpu",), 2, each=2) as pool:
        for event in pool.run([job, make("whole", recipe)]):
            if event.what == "ended":
                assert isinstance(event.job, Job)
                ended[event.job.run] = event
    assert ended["stopped"].status == "finished"
    assert ended["stopped"].value == ended["whole"].value
    losses = [
        json.loads((ledger.run_folder(run) / "result.json").read_text())["loss"]
        for run in ("stopped", "whole")
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_study_on_two_devices_and_nobody_left_where_it_is_killed(tmp_path: Path) -> None:
    words = [
        *("--base", "tiny", "--add", "ls", "--seeds", "1", "--devices", "2", "--device", "cpu"),
        *("--track", "none", "--home", str(tmp_path / "home"), "--format", "json"),
        *("--set", "optim.epochs=12", "--set", "optim.warmup_epochs=0"),
    ]
    process = subprocess.Popen([*ABLATE, *words], start_new_session=True, cwd=tmp_path)
    runs = tmp_path / "home" / "runs"
    deadline = time.monotonic() + 200
    while not list(runs.glob("*/metrics.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    session = [one for one, _, of in processes() if of == process.pid]
    assert len(session) >= 5  # with a worker, its two members and the two servers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(session, 20)
    done = subprocess.run(
        [*ABLATE, *words], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert "optim.bn_batch 0 -> 16" in done.stderr
    assert {run["status"] for run in json.loads(done.stdout)["runs"]} == {"finished"}
    results = [json.loads(path.read_text()) for path in runs.glob("*/result.json")]
    assert [one["devices"] for one in results] == [2, 2]
