"""Runs on a real Ray cluster of two nodes on this machine: `pytest -m ray`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ablations.errors import RequestError
from ablations.launch.ray_options import RayOptions
from tests.ablations.conftest import ABLATE, ablate, without_wandb

WORDS = (
    *("--base", "tiny", "--add", "ls,se", "--design", "one-at-a-time", "--seeds", "2"),
    *("--set", "optim.epochs=12", "--track", "none", "--device", "cpu", "--keep", "last"),
    *("--study", "s", "--format", "json", "--checkpoint-every", "0.1s"),
)
_FOUND = importlib.util.find_spec("ray") is not None
TIMES = {"seconds", "train_seconds", "data_seconds", "train_images_per_second", "peak_memory_bytes"}


@pytest.mark.parametrize("address", ["here", "a:b", "ray://a:1", "a:1;ls", "$(id):1", "a b:1"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="give HOST:PORT"):
        RayOptions(address=address)


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "node-3.lab:6379", "[::1]:6379"])
def test_an_address_that_can_be_one_is_taken(address: str) -> None:
    assert RayOptions(address=address).address == address


def test_resources_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"cpus": 0}, {"gpus": -1.0}, {"gpus": float("nan")}, {"gpus": 1.5}):
        with pytest.raises(RequestError, match="--ray-.*give"):
            RayOptions(**wrong)  # type: ignore[arg-type]
    assert RayOptions(gpus=0.5).gpus == 0.5


def test_options_of_ray_without_ray_are_refused(tmp_path: Path) -> None:
    words = ("--base", "tiny", "--add", "ls", "--ray-cpus", "2")
    said = ablate(*words, "--home", tmp_path, folder=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "--ray-cpus goes with --launch ray" in said.err


def on_a_cluster(test: Any) -> Any:
    reason = "Ray is not installed: pip install 'ablate-recipes[ray]'"
    return pytest.mark.ray(pytest.mark.skipif(not _FOUND, reason=reason)(test))


# On a cluster -----------------------------------------------------------------------------------


def results(home: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((home / "runs").glob("*/result.json")):
        whole = json.loads(path.read_text())
        kept = {name: value for name, value in whole.items() if name not in TIMES}
        found[path.parent.name] = (kept, (path.parent / "metrics.jsonl").read_text())
    return found


@pytest.fixture(scope="module")
def locally(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("local")
    said = ablate(*WORDS, "--slots", "2", "--home", home, folder=home)
    assert said.code == 0, said.err
    return results(home)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    own = tmp_path_factory.mktemp("token") / "token"
    own.write_text("0123456789abcdef" * 4)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(own),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


HEAD = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell has it that starts it in the background
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
head = {**node, "num_cpus": 0}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
cluster.wait_for_nodes()
print(json.dumps({"address": cluster.address}), flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("removed", flush=True)
    elif line.strip() == "add":
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=100 << 20))
        cluster.wait_for_nodes()
        print("added", flush=True)
cluster.shutdown()
"""


class Cluster:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = str(json.loads(self._heard())["address"])

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith(("{", "removed", "added")):
            assert line or self._process.poll() is None
        return line


@pytest.fixture
def cluster(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # sockets have short names only
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment, "RAY_TMPDIR": short},
        )
        yield Cluster(process)
        process.communicate(timeout=120)


def begin(home: Path, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ABLATE, *WORDS, "--launch", "ray", "--home", str(home), *more],
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**without_wandb(), **environment, "OMP_NUM_THREADS": "1"},
    )


def running(home: Path, besides: set[int] = frozenset()) -> tuple[str, int]:  # type: ignore[assignment]
    """Wait until a run has a checkpoint, and return it with its process."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for path in (home / "runs").glob("*/checkpoint/*.ckpt"):
            with contextlib.suppress(OSError, ValueError):
                status = json.loads((path.parents[1] / "status.json").read_text())
                if status["status"] == "running" and status["pid"] not in besides:
                    return path.parents[1].name, int(status["pid"])
        time.sleep(0.02)
    raise AssertionError("no run has begun")


@on_a_cluster
def test_what_a_lost_worker_and_a_lost_node_were_making_ends_as_undisturbed(
    cluster: Cluster, environment: dict[str, str], locally: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    driver = begin(home, environment, "--ray-address", cluster.address)
    run, pid = running(home)
    os.kill(pid, signal.SIGKILL)
    running(home, {pid})
    cluster.tell("remove")
    out, said = driver.communicate(timeout=900)
    assert driver.returncode == 0, said
    assert "its Ray worker was lost" in said
    assert results(home) == locally
    assert {row["status"] for row in json.loads(out)["runs"]} == {"finished"}


@on_a_cluster
def test_a_driver_that_died_comes_back_and_nothing_is_lost_or_made_twice(
    cluster: Cluster, environment: dict[str, str], locally: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    driver = begin(home, environment, "--ray-address", cluster.address)
    running(home)
    driver.kill()
    driver.communicate()
    done = {path: path.stat().st_ino for path in (home / "runs").glob("*/result.json")}
    dead = {json.loads(path.read_text()).get("pid") for path in home.glob("runs/*/status.json")}
    driver = begin(home, environment, "--ray-address", cluster.address)
    run, _ = running(home, dead)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 130, said
    status = json.loads((home / "runs" / run / "status.json").read_text())["status"]
    assert status in ("interrupted", "finished")
    again = begin(home, environment, "--ray-address", cluster.address)
    _, said = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert results(home) == locally
    assert all(path.stat().st_ino == number for path, number in done.items())


@on_a_cluster
def test_a_cluster_of_its_own_is_interrupted_and_gone_on_with(
    environment: dict[str, str], locally: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    driver = begin(home, {})
    run, _ = running(home)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 130, said
    assert "the same command goes on" in said
    status = json.loads((home / "runs" / run / "status.json").read_text())["status"]
    assert status in ("interrupted", "finished")
    again = begin(home, {})
    _, said = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert results(home) == locally


@on_a_cluster
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--ray-address", "127.0.0.1:1"), "no cluster could be joined there"),
        (("--ray-gpus", "3"), "no node of the Ray cluster has them"),
    ],
)
def test_what_cannot_be_had_is_told_once(
    words: tuple[str, ...], wanted: str, tmp_path: Path
) -> None:
    driver = begin(tmp_path / "home", {}, *words)
    out, said = driver.communicate(timeout=300)
    assert (driver.returncode, out) == (2, "")
    assert wanted in said
    assert "Traceback" not in said
