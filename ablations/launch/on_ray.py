"""Runs on a Ray cluster, an existing one or one of this machine, where its own scheduling says.

A run is a Ray task that asks for its CPUs and GPUs. What it has done lies in the home, which every
node must see under the same path; so a task whose worker or node is lost is simply given again, and
whoever gets it goes on from the run's last checkpoint. Ray keeps the process of a task for the next
one, with what it has imported. The only file that imports ray. Longer than most: all that can
become of a cluster and of a task is read in one place; what a node does is in `ray_node`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.launch.job import Ended, Job, ends_of, left_by, module_places, newest_step
from ablations.launch.noted import noted
from ablations.launch.pool import Event, ended_events
from ablations.launch.ray_node import Blind, carry_out, is_able
from ablations.launch.ray_options import RayOptions
from ablations.ledger import Ledger
from lightning_modules.data import available_cores

_ATTEMPTS = 5  # of a run whose workers or nodes are lost before it comes to a further checkpoint
_TRIES = 2  # of a run whose task ends in an error outside the training
_GRACE_SECONDS = 30.0  # for tasks to record their runs as interrupted
_CONNECT_SECONDS = 10.0  # for a machine to answer at the cluster's port
_ANSWER_SECONDS = 120.0  # for the nodes to say whether they see the home, and can train
_LOOK_SECONDS = 5.0  # between looks at what runs have begun
_STORE_BYTES = 100 << 20  # of shared memory for objects: ours are messages; Ray takes no less


@dataclass
class _Given:
    """A job that Ray has, and what became of earlier tasks of it."""

    slot: int
    job: Job
    losses: int = 0  # since it came to its latest checkpoint
    errors: int = 0
    step: int = -1  # of the newest checkpoint when a task was last lost
    begun: bool = False  # some process makes it: Ray has found room


class RayCluster:
    """A launcher of Ray tasks, one for each training."""

    def __init__(
        self, options: RayOptions, home: Path, threads: int, device: str, devices: int = 1
    ) -> None:
        self._options, self._ledger = options, Ledger(home)
        self._cpus = options.cpus or max(threads, devices)
        self._device, self._devices, self._gpus = device, devices, 0.0
        self._temporary: str | None = None
        self._pending: dict[Any, _Given] = {}
        self._mark = self._ledger.home / f".seen.{secrets.token_hex(16)}"  # `doctor` knows such
        self._looked = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> RayCluster:
        # Ray tells of lost workers on stdout, which is for the answer, and with screens of its own
        # state. What became of the runs is told by our events, the rest stands in Ray's logs.
        nowhere = self._stack.enter_context(open(os.devnull, "w"))
        self._stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            _prepare_environment(self._options)
            self._ray = _imported()
            self._stack.callback(self._leave)
            self._connect()
            self._choose_resources()
            self._mark.touch()
            self._stack.callback(self._mark.unlink, missing_ok=True)
            self._check_nodes()
            self._task = self._ray.remote(carry_out).options(
                num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for task in self._pending:
                self._ray.cancel(task, force=False)  # as Ctrl-C: recorded as interrupted
            if self._pending:
                waited = list(self._pending)
                _, left = self._ray.wait(waited, num_returns=len(waited), timeout=_GRACE_SECONDS)
                for task in left:
                    self._ray.cancel(task, force=True)

    def run(self, jobs: Sequence[Job], at_most: int | None = None) -> Iterator[Event]:
        """Give the jobs to Ray in order and yield what happens; see `Launcher`.

        Without `at_most`, as many are given as the cluster's resources hold and as many again, so
        that nodes that join find something to do.

        Raises:
            RequestError: a node that joined later does not see the home.
        """
        waiting = [_Given(slot, job) for slot, job in enumerate(jobs)]
        while waiting or self._pending:
            while waiting and len(self._pending) < (at_most or self._room()):
                given = waiting.pop(0)
                given.begun = False
                self._pending[
                    self._task.remote(self._own(given.job), self._mark, module_places())
                ] = given
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for task in done:
                given = self._pending.pop(task)
                if not given.begun:
                    given.begun = True
                    yield Event(what="started", slot=given.slot, job=given.job)
                ended = self._ended(task, given)
                if isinstance(ended, str):
                    waiting.insert(0, given)
                    yield Event(what="lost", slot=given.slot, job=given.job, message=ended)
                    continue
                yield from ended_events(given.slot, given.job, ended)
            if not done:
                yield from self._begun()
                yield Event(what="pulse", slot=-1)

    def _begun(self) -> Iterator[Event]:
        """Look, now and then, which of the jobs that Ray has are being made."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        with contextlib.suppress(OSError):  # a full disk: an absent one is the runs' affair
            os.utime(self._mark)  # `doctor` removes what has been left for an hour
        for given in self._pending.values():
            if not given.begun and self._ledger.is_held(given.job.run):
                given.begun = True
                yield Event(what="started", slot=given.slot, job=given.job)
            progress = noted(self._ledger, given.job.run) if given.begun else None
            if progress is not None:
                yield Event(what="progress", slot=given.slot, job=given.job, progress=progress)

    def _own(self, job: Job) -> Job:
        return job.on(threads=self._cpus, device="cuda" if self._gpus else "cpu")

    def _ended(self, task: Any, given: _Given) -> list[Ended] | str:
        """Return how a task's runs ended, or why it is to be given again."""
        errors = self._ray.exceptions
        job, status = given.job, "failed"
        try:
            found: list[Ended] = self._ray.get(task)
            return found
        except errors.RayError as error:
            cause: Any = getattr(error, "cause", None)  # of one that our code raised there
            if isinstance(cause, Blind):
                raise RequestError(f"{cause}; every node must, under this path") from None
            if known := ends_of(job, self._ledger):  # it was lost after they had ended
                return known
            ours = isinstance(error, errors.RayTaskError)
            if ours and not isinstance(error, errors.TaskCancelledError):
                given.errors += 1
                words, again = _words(cause), given.errors < _TRIES
            else:
                words, again = f"its Ray worker was lost ({_kind(error)})", self._goes_on(given)
                if isinstance(error, errors.OutOfMemoryError):
                    status = "out_of_memory"
        if again:
            return f"{words}; going on from its last checkpoint"
        message = f"{words}, {_TRIES if ours else _ATTEMPTS} times"
        return [left_by(one, status, message) for one in job.all]

    def _goes_on(self, given: _Given) -> bool:
        """Count a loss; on machines that come and go, a long run may see any number of them."""
        step = newest_step(given.job, self._ledger)
        given.losses = 1 if step > given.step else given.losses + 1
        given.step = max(step, given.step)
        return given.losses < _ATTEMPTS

    def _room(self) -> int:
        have = self._ray.cluster_resources()
        by_cpu = have.get("CPU", 0.0) / self._cpus
        by_gpu = have.get("GPU", 0.0) / self._gpus if self._gpus else by_cpu
        return max(2 * int(min(by_cpu, by_gpu)), 1)

    # Joining -----------------------------------------------------------------------------------

    def _connect(self) -> None:
        address = self._options.address
        if address is None:
            self._temporary = tempfile.mkdtemp(prefix="ray-")
            more: dict[str, Any] = {
                "address": "local",  # else one that runs here or that RAY_ADDRESS names is joined
                "num_cpus": available_cores(),
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": self._temporary,
            }
        else:
            more = {"address": address}
        try:
            if address not in (None, "auto"):
                _knock(str(address))
            with _own_signals():
                self._ray.init(log_to_driver=False, logging_level="ERROR", **more)
        except Exception as error:  # of many kinds, by what is wrong
            if address is None:
                raise RequestError(f"Ray could not be started here: {_words(error)}") from error
            raise RequestError(
                f"--ray-address {address!r}: no cluster could be joined there: {_words(error)}."
                " This machine must be a node of it (`ray start --address`), with the same"
                " versions of Python and Ray and the cluster's token, if it has one; without the"
                " option a cluster is started here"
            ) from None

    def _choose_resources(self) -> None:
        """Settle what a run takes; refuse what no node has, which Ray would wait for.

        Raises:
            RequestError: no node has them, or a run cannot use them.
        """
        has = self._ray.cluster_resources().get("GPU", 0.0) >= 1
        given, wants, devices = self._options.gpus, self._device, self._devices
        self._gpus = (devices if has and wants != "cpu" else 0.0) if given is None else given
        if wants not in ("auto", "cpu", "cuda"):
            raise RequestError(f"--device {wants}: Ray chooses each run's GPUs; use cuda or auto")
        if wants == "cuda" and not self._gpus:
            raise RequestError("--device cuda: the nodes of the Ray cluster have no GPU to give")
        if self._gpus and wants == "cpu":
            raise RequestError(f"--ray-gpus {self._gpus:g} with --device cpu: give one of them")
        if devices > 1 and self._gpus not in (0.0, devices):
            raise RequestError(f"--ray-gpus {self._gpus:g} with --devices {devices}: give as many")
        if self._cpus < devices:
            raise RequestError(f"--ray-cpus {self._cpus} with --devices {devices}: give one each")
        if self._able():
            return
        each = "; ".join(
            sorted({f"{_has(node, 'CPU'):g} and {_has(node, 'GPU'):g}" for node in self._nodes()})
        )
        raise RequestError(
            f"a run takes {self._cpus} CPUs and {self._gpus:g} GPUs, and no node of the Ray cluster"
            f" has them (the nodes have {each}); see --ray-cpus and --ray-gpus"
        )

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _able(self) -> list[dict[str, Any]]:
        """Return the nodes that can take a run."""
        return [
            node
            for node in self._nodes()
            if _has(node, "CPU") >= self._cpus and _has(node, "GPU") >= self._gpus
        ]

    def _check_nodes(self) -> None:
        """Let every node that can take a run look at the home, and import what trains.

        Raises:
            RequestError: one does not see it, or cannot.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = self._ray.remote(num_cpus=0, max_retries=1)(is_able)
        asked = {}
        for node in self._able():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = look.options(scheduling_strategy=there).remote(self._mark)
            asked[task] = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        blind = []
        self._ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
        for task, name in asked.items():
            try:
                if not self._ray.get(task, timeout=0):
                    blind.append(f"{name} does not see it")
            except self._ray.exceptions.GetTimeoutError:
                blind.append(f"{name} did not answer within {_ANSWER_SECONDS:g} s")
            except self._ray.exceptions.RayError as error:
                blind.append(f"{name}: {_words(getattr(error, 'cause', error))}")
        if blind:
            raise RequestError(
                f"every node of the Ray cluster must have this program and see the home"
                f" {self._ledger.home} under the same path, and not all do: {'; '.join(blind)}"
            )

    def _leave(self) -> None:
        self._ray.shutdown()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _prepare_environment(options: RayOptions) -> None:
    """Set what Ray reads as it is imported, and what the processes of a cluster here inherit."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if options.address is None and not any(name.startswith("RAY_AUTH") for name in os.environ):
        # Ray would write a token into the user's home; this one ends with the process.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _imported() -> Any:
    import ray

    return ray


def _knock(address: str) -> None:
    """See that something listens there: Ray itself tries for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
        return


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what a polite end does here: Ray would have it stop everything at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread: Ray set none either
            signal.signal(signal.SIGTERM, before)


def _has(node: dict[str, Any], kind: str) -> float:
    return float(node["Resources"].get(kind, 0.0))


def _kind(error: Exception) -> str:
    """Return the plain name of an error of Ray's, which may be made of two."""
    name = type(error).__name__
    return name.removeprefix("RayTaskError(").removesuffix(")")


def _words(error: BaseException) -> str:
    """Return what an error says, in one line that is not too long."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
