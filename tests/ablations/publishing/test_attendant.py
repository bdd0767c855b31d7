"""A study's command and the process that publishes beside it: real runs, real clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ablations.conftest import ABLATE, Said, ablate, without_wandb
from tests.stub_wandb import StubServer, client_environment, dead_address

pytestmark = pytest.mark.slow
REQUEST = (
    *("--base", "tiny", "--add", "ls", "--seeds", "2", "--study", "s", "--home", "home"),
    *("--set", "optim.epochs=3", "--set", "optim.warmup_epochs=0", "--format", "json"),
)
RUNS, EPOCHS = 4, 3


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as made:
        yield made


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What the study says where nothing is published."""
    folder = tmp_path_factory.mktemp("untracked")
    said = ablate(*REQUEST, "--track", "none", folder=folder)
    assert said.code == 0, said.err
    assert not (folder / "home/tracking").exists()
    return said


def asked(folder: Path, server: StubServer | str, *words: str) -> Said:
    """The study's command, logged in at a server or at an address."""
    address = server if isinstance(server, str) else server.address
    return ablate(*(words or REQUEST), folder=folder, variables=variables(address, folder))


def variables(address: str, folder: Path) -> dict[str, str]:
    return client_environment(address, folder)


def numbers(said: Said) -> object:
    """The answer less what takes time, and the values of all runs."""
    values = [(one["id"], one["status"], one["value"]) for one in said.json["runs"]]
    effects = [(one["label"], one["delta"], one["interval"]) for one in said.json["contrasts"]]
    return sorted(values), effects


def assert_all_once(server: StubServer) -> None:
    assert len(server.runs) == RUNS
    for run in server.runs.values():
        assert [row["epoch"] for row in run.history] == list(range(1, EPOCHS + 1))
        assert run.lines_received == EPOCHS
        assert run.summary["certificate/proven"] is True
        assert (run.summary["outcome/status"], run.exit_code) == ("finished", 0)


def test_online_every_run_is_there_when_the_command_ends(
    tmp_path: Path, server: StubServer, untracked: Said
) -> None:
    said = asked(tmp_path, server)
    assert (said.code, numbers(said)) == (0, numbers(untracked)), said.err
    assert_all_once(server)
    requests = len(server.requests)
    again = asked(tmp_path, server)
    assert (again.code, len(server.requests)) == (0, requests)
    assert "W&B" not in said.err + again.err
    synced = asked(tmp_path, server, "dashboard", "sync", "s", "--home", "home")
    assert (synced.code, len(server.requests)) == (0, requests)
    assert "uploaded nothing" in synced.out


@pytest.mark.parametrize("kind", ["dead", "broken", "slow"])
def test_a_server_that_fails_changes_no_answer(
    tmp_path: Path, server: StubServer, untracked: Said, kind: str
) -> None:
    if kind != "dead":
        server.mode, server.delay = kind, 1.0
    said = asked(tmp_path, dead_address() if kind == "dead" else server)
    assert (said.code, numbers(said)) == (0, numbers(untracked)), said.err
    if kind == "slow":
        assert_all_once(server)
        return
    assert f"{RUNS} runs not uploaded; `ablate dashboard sync s` does it" in said.err
    assert len(list((tmp_path / "home/tracking/wandb").glob("offline-run-*"))) == RUNS
    server.mode = "ok"
    synced = asked(tmp_path, server, "dashboard", "sync", "s", "--home", "home")
    assert synced.code == 0 and f"uploaded {RUNS} runs" in synced.out, synced.err
    assert_all_once(server)


def test_a_home_that_takes_no_tracking_changes_no_answer(tmp_path: Path, untracked: Said) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/tracking").write_text("in the way")
    said = ablate(*REQUEST, "--track", "csv,wandb", folder=tmp_path)
    assert (said.code, numbers(said)) == (0, numbers(untracked)), said.err
    assert "tracking: runs are not published: NotADirectoryError" in said.err
    assert "Traceback" not in said.err


def test_who_is_not_logged_in_is_told_once_and_uploads_later(
    tmp_path: Path, server: StubServer
) -> None:
    nobody = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    nobody["WANDB_CONFIG_DIR"] = str(tmp_path / "config")
    said = ablate(*REQUEST, folder=tmp_path, variables=nobody)
    assert said.code == 0
    assert said.err.count("nobody is logged in") == 1
    again = ablate(*REQUEST, folder=tmp_path, variables=nobody)
    assert "logged in" not in again.err and "import torch" not in again.err
    words = ("dashboard", "sync", "s", "--home", "home")
    refused = ablate(*words, folder=tmp_path, variables=nobody)
    assert refused.code == 2 and "wandb login" in refused.err
    for _ in range(2):
        synced = asked(tmp_path, server, *words)
        assert synced.code == 0
    assert_all_once(server)


def test_a_publisher_that_is_killed_costs_a_note_and_is_made_up_for(
    tmp_path: Path, server: StubServer, untracked: Said
) -> None:
    server.mode, server.delay = "slow", 0.3  # so that it is still at work
    environment = {**without_wandb(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*ABLATE, *REQUEST],
        cwd=tmp_path,
        env=environment | variables(server.address, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kill_publisher(tmp_path, server)
    out, err = process.communicate(timeout=240)
    said = Said(code=process.returncode, out=out, err=err)
    assert (said.code, numbers(said)) == (0, numbers(untracked))
    assert "was lost (killed" in err and "the next command" in err
    server.mode = "ok"
    assert asked(tmp_path, server).code == 0
    assert_all_once(server)


def kill_publisher(folder: Path, server: StubServer) -> None:
    """Kill the process that publishes, once the server has a part of what it is to have."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        leases = list((folder / "home/tracking/studies/s").glob("lease.*"))
        if leases and any(run.history for run in list(server.runs.values())):
            os.kill(json.loads(leases[0].read_text())["pid"], signal.SIGKILL)
            return
        time.sleep(0.02)
    pytest.fail("nothing was published in time")


def test_an_interrupted_command_goes_on_in_the_same_runs(
    tmp_path: Path, server: StubServer
) -> None:
    words = [one.replace("epochs=3", "epochs=80") for one in REQUEST]
    environment = {**without_wandb(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*ABLATE, *words],
        cwd=tmp_path,
        env=environment | variables(server.address, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not server.runs:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    said = asked(tmp_path, server, *words)
    assert said.code == 0
    assert len(server.runs) == RUNS
    for run in server.runs.values():
        assert [row["epoch"] for row in run.history] == list(range(1, 81))
        assert run.lines_received == 80
        assert (run.summary["outcome/status"], run.exit_code) == ("finished", 0)
