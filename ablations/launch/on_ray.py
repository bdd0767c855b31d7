"""Runs on a Ray cluster, an existing one or one of this machine, where its own scheduling says.

A run is a Ray task that asks for its CPUs and GPUs. What it has done lies in the home, which every
node must see under the same path; so a task whose worker or node is lost is simply given again, and
whoever gets it goes on from the run's last checkpoint. Ray keeps the process of a task for the next
one, with what it has imported. The only file that imports ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.launch.job import Ended, Job, left_by, perform
from ablations.launch.pool import Event
from lightning_modules.data import available_cores

_ATTEMPTS = 5  # of a run whose workers or nodes are lost
_GRACE_SECONDS = 30.0  # for tasks to record their runs as interrupted
_ANSWER_SECONDS = 60.0  # for a node to say whether it sees the home
_STORE_BYTES = 100 << 20  # of shared memory for objects: ours are messages; Ray takes no less


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Which cluster, and what a run takes of it.

    Raises:
        RequestError: an address or a number that cannot be meant.
    """

    address: str | None = None  # host:port, or auto for what RAY_ADDRESS or this machine has
    cpus: int | None = None  # of a run; None: the threads of a worker here
    gpus: float | None = None  # of a run; None: one where the cluster has any

    def __post_init__(self) -> None:
        if self.address is not None and not re.fullmatch(
            r"auto|[A-Za-z0-9_.\-]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", self.address
        ):
            raise RequestError(
                f"--ray-address {self.address!r}: give HOST:PORT, as `ray start --head` prints it,"
                " or auto"
            )
        if self.cpus is not None and self.cpus < 1:
            raise RequestError(f"--ray-cpus {self.cpus}: give 1 or more")
        if self.gpus is not None and not 0 <= self.gpus < 1e6:
            raise RequestError(f"--ray-gpus {self.gpus:g}: give 0 or more; 0.5 shares one by two")


class RayCluster:
    """A launcher of Ray tasks, one for each training."""

    def __init__(self, options: RayOptions, home: Path, threads: int) -> None:
        self._options, self._home = options, home
        self._cpus = options.cpus or threads
        self._temporary: str | None = None
        self._pending: dict[Any, tuple[int, Job]] = {}

    def __enter__(self) -> RayCluster:
        _prepare_environment(self._options)
        # Ray tells of lost workers on stdout, which carries the result alone.
        self._stdout = contextlib.ExitStack()
        self._stdout.enter_context(contextlib.redirect_stdout(sys.stderr))
        self._ray = _imported()
        try:
            self._connect()
            self._task = self._ray.remote(_carry_out).options(
                num_cpus=self._cpus, num_gpus=self._gpus(), max_retries=0
            )
            self._check_home()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._pending:
            self._ray.cancel(task, force=False)  # as Ctrl-C: recorded as interrupted
        if self._pending:
            waited = list(self._pending)
            _, left = self._ray.wait(waited, num_returns=len(waited), timeout=_GRACE_SECONDS)
            for task in left:
                self._ray.cancel(task, force=True)
        self._leave()

    def run(self, jobs: Sequence[Job], at_most: int | None = None) -> Iterator[Event]:
        """Give the jobs to Ray in order and yield what happens; see `Launcher`.

        Without `at_most`, as many are given as the cluster's resources hold and as many again, so
        that nodes that join find something to do.
        """
        waiting = list(enumerate(jobs))
        attempts: dict[int, int] = {}
        while waiting or self._pending:
            while waiting and len(self._pending) < (at_most or self._room()):
                slot, job = waiting.pop(0)
                attempts[slot] = attempts.get(slot, 0) + 1
                self._pending[self._task.remote(self._own(job), sys.path)] = (slot, job)
                yield Event(what="started", slot=slot, job=job)
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            if not done:
                yield Event(what="pulse", slot=-1)
            for task in done:
                slot, job = self._pending.pop(task)
                ended = self._ended(task, job, attempts[slot] < _ATTEMPTS)
                if isinstance(ended, str):
                    waiting.insert(0, (slot, job))
                    yield Event(what="lost", slot=slot, job=job, message=ended)
                    continue
                for one, (status, value, message) in zip(job.all, ended, strict=True):
                    yield Event(
                        what="ended",
                        slot=slot,
                        job=one,
                        status=status,
                        value=value,
                        message=message,
                    )

    def _own(self, job: Job) -> Job:
        return dataclasses.replace(
            job, execution=dataclasses.replace(job.execution, threads=self._cpus)
        )

    def _ended(self, task: Any, job: Job, again: bool) -> list[Ended] | str:
        """Return how a task's runs ended, or why it is to be given again."""
        errors = self._ray.exceptions
        try:
            found: list[Ended] = self._ray.get(task)
            return found
        except errors.RayTaskError as error:  # of our code, outside a training
            status, message = "failed", str(error).strip().splitlines()[-1]
        except errors.RayError as error:
            status = "out_of_memory" if isinstance(error, errors.OutOfMemoryError) else "failed"
            words = f"its Ray worker was lost ({type(error).__name__})"
            if again:
                return f"{words}; going on from its last checkpoint"
            message = f"{words}, {_ATTEMPTS} times"
        return [left_by(one, status, message) for one in job.all]

    def _room(self) -> int:
        have = self._ray.cluster_resources()
        by_cpu = have.get("CPU", 0.0) / self._cpus
        by_gpu = have.get("GPU", 0.0) / self._gpus() if self._gpus() else by_cpu
        return max(2 * int(min(by_cpu, by_gpu)), 1)

    def _gpus(self) -> float:
        if self._options.gpus is not None:
            return self._options.gpus
        return 1.0 if self._ray.cluster_resources().get("GPU", 0.0) >= 1 else 0.0

    def _connect(self) -> None:
        address = self._options.address
        more: dict[str, Any] = {"address": address}
        if address is None:
            self._temporary = tempfile.mkdtemp(prefix="ray-")
            more = {
                "num_cpus": max(available_cores(), self._cpus),
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": self._temporary,
            }
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **more)
        except Exception as error:  # of many kinds, by what is wrong
            words = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if address is None:
                raise RequestError(f"Ray could not be started here: {words}") from error
            raise RequestError(
                f"--ray-address {address!r}: no cluster could be joined there ({words}); start one"
                " with `ray start --head`, or leave the option out"
            ) from None
        self._check_room()

    def _check_room(self) -> None:
        gpus = self._gpus()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(
            node.get("CPU", 0.0) >= self._cpus and node.get("GPU", 0.0) >= min(gpus, 1e9)
            for node in nodes
        ):
            each = "; ".join(
                f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in nodes
            )
            raise RequestError(
                f"a run takes {self._cpus} CPUs and {gpus:g} GPUs, and no node of the Ray cluster"
                f" has them: {each}; see --ray-cpus and --ray-gpus"
            )

    def _check_home(self) -> None:
        """Let every node look at a file of the home."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        path = self._home / f".seen.{secrets.token_hex(16)}"
        path.touch()
        try:
            look = self._ray.remote(num_cpus=0, max_retries=1)(_sees)
            asked = {
                node["NodeManagerHostname"]: look.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                ).remote(str(path))
                for node in self._ray.nodes()
                if node["Alive"]
            }
            blind = []
            for name, task in asked.items():
                try:
                    if not self._ray.get(task, timeout=_ANSWER_SECONDS):
                        blind.append(f"{name} does not see it")
                except self._ray.exceptions.RayError as error:
                    blind.append(f"{name}: {str(error).strip().splitlines()[-1]}")
        finally:
            path.unlink()
        if blind:
            raise RequestError(
                f"every node of the Ray cluster must have this program and see the home"
                f" {self._home} under the same path, and not all do: {'; '.join(blind)}"
            )

    def _leave(self) -> None:
        self._ray.shutdown()
        self._stdout.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _carry_out(job: Job, paths: Sequence[str]) -> list[Ended]:
    """Make the runs of a job, in a process of Ray's; modules of the user's own are found."""
    sys.path.extend(path for path in paths if path not in sys.path)
    return perform(job, lambda _: None)


def _sees(path: str) -> bool:
    import lightning_modules.training  # noqa: F401  # this node can train at all

    return Path(path).exists()


def check_installed() -> None:
    """Look for Ray without importing it.

    Raises:
        RequestError: it is not there.
    """
    if importlib.util.find_spec("ray") is None:
        raise RequestError(
            "--launch ray needs Ray: pip install 'ablate-recipes[ray]' (or pip install ray)"
        )


def _prepare_environment(options: RayOptions) -> None:
    """Set what Ray reads as it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if options.address is None and not any(name.startswith("RAY_AUTH") for name in os.environ):
        # Ray would write a token into the user's home; this one ends with the process.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _imported() -> Any:
    import ray

    return ray
