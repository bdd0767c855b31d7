"""The process that publishes a study's runs while its command makes them, and how it is ended.

It is forked from the server that has the libraries, has a lower priority and reads the home
alone. The command never waits for it but at its end, for a bounded time, and then says what is
left; if it is lost, the next command publishes the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.leases import Lease, LeaseLost, held
from ablations.ledger import Ledger
from ablations.publishing.journal import OFFLINE, Journal
from ablations.publishing.targets import Target, folder_of
from lightning_modules.forking import cause_of_death

WAIT_SECONDS = 60.0  # of a command, for W&B's server; or for the next run that goes into files
_STOP_SECONDS = 10.0  # of a command that is interrupted
_LOOK_SECONDS = 1.5  # between two looks at the ledger, longer where a look takes long
_NICE = 10  # training first; not the lowest, for the command waits for it in the end
_FINISH, _STOP = "finish", "stop"


class Attendant:
    """The command's side: starts the process that publishes, and waits for it in the end."""

    def __init__(
        self, study: str, ledger: Ledger, targets: Sequence[Target], say: Callable[[str], None]
    ) -> None:
        self._study, self._ledger, self._targets, self._say = study, ledger, tuple(targets), say
        self._process: Any = None
        self._connection: Connection | None = None

    def begin(self) -> None:
        """Start to publish, if anything is asked for; the plan is frozen and a server runs."""
        if self._process is not None or not self._targets:
            return
        from ablations.launch import server

        made = server.context()
        self._connection, theirs = made.Pipe()
        arguments = (theirs, self._ledger.home, self._study, self._targets, dict(os.environ))
        self._process = made.Process(target=attend, args=arguments, daemon=True)
        try:
            server.started(self._process)
        except (RequestError, OSError) as error:
            self._say(f"tracking: nothing is published now: {error}")
            self._targets = ()
        theirs.close()

    def finish(self) -> None:
        """Have the rest published, and say what is left after a bounded time."""
        if self._process is None and self._targets and self._lacks():
            self.begin()
        if self._process is None or not self._targets:
            return
        try:
            told = self._wait(_FINISH, WAIT_SECONDS)
        except KeyboardInterrupt:  # the study is done: nothing but this was interrupted
            told = None
        self._end()
        self._tell(told)

    def stop(self) -> None:
        """End it soon: the command was interrupted or failed."""
        if self._process is not None and self._targets:
            with contextlib.suppress(KeyboardInterrupt):
                self._wait(_STOP, _STOP_SECONDS)
            self._end()

    def _wait(self, word: str, seconds: float) -> Mapping[str, Any] | None:
        """Return its last report, or None where it is lost or late."""
        assert self._connection is not None
        with contextlib.suppress(OSError):
            self._connection.send(word)
        deadline, patient = time.monotonic() + seconds, word == _FINISH
        while (left := deadline - time.monotonic()) > 0:
            try:
                if not self._connection.poll(min(left, 5.0)):
                    if patient:
                        self._say("waiting for the trackers to have the last runs ...")
                        patient = False
                    continue
                what, body = self._connection.recv()
            except (EOFError, OSError):
                self._process.join(5.0)
                return {"lost": cause_of_death(self._process.exitcode)}
            if what == "done":
                return dict(body)
            if what == "published" and not body:  # into files: there is no server to wait for
                deadline = time.monotonic() + seconds
        return None

    def _end(self) -> None:
        self._process.join(2.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        assert self._connection is not None
        self._connection.close()

    def _tell(self, told: Mapping[str, Any] | None) -> None:
        """Say what a person should know, in one line each; nothing where all is published."""
        sync = f"`ablate dashboard sync {self._study}`"
        if told is None:
            left = self._lacks()
            if left:
                self._say(f"tracking: {left} runs are not published yet; {sync} uploads to W&B")
            return
        if "lost" in told:
            self._say(
                f"tracking: the process that publishes runs was lost ({told['lost']}); the next"
                f" command for this study publishes the rest"
            )
            return
        for tracker, words in told["trouble"].items():
            if tracker == "tracking":
                self._say(f"tracking: {words}")
            elif tracker != "wandb":
                self._say(f"{tracker}: runs could not be written: {words}")
        trouble, left = told["trouble"].get("wandb"), told["left"]
        if trouble:
            self._say(f"W&B: {trouble}; {left} runs are not uploaded; {sync} does it")
        elif told["offline"] and told["why"]:
            self._say(
                f"W&B: {told['offline']} runs are offline: {told['why']}; {sync} uploads them"
            )

    def _lacks(self) -> int:
        """Return how many ended runs some target does not show as they ended."""
        from ablations.frozen import thaw
        from ablations.stages import runs_so_far

        journal = Journal(folder_of(self._ledger, self._study))
        plan, _, _ = thaw(self._ledger.study_folder(self._study))
        found = 0
        for run in {one.id for one in runs_so_far(plan, self._ledger).runs}:
            entries = [journal.entry(target, run) for target in self._targets]
            if not all(one is not None and one.is_final for one in entries):
                record = self._ledger.record(run)
                found += any(journal.lacks(target, run, record) for target in self._targets)
        return found


@contextlib.contextmanager
def attended(
    study: str, ledger: Ledger, targets: Sequence[Target], say: Callable[[str], None]
) -> Iterator[Attendant]:
    """Publish a study beside a block, which begins it; the rest is published when it ends."""
    attendant = Attendant(study, ledger, targets, say)
    try:
        yield attendant
    except BaseException:
        attendant.stop()
        raise
    attendant.finish()


def attend(
    connection: Connection,
    home: Path,
    study: str,
    targets: Sequence[Target],
    environment: Mapping[str, str],
) -> None:
    """Publish until the command says that the study is done, or is gone: the process's own work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which decides
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    os.environ.clear()
    os.environ.update(environment)
    ledger = Ledger(home)
    command = _Command(connection)
    try:
        folder = folder_of(ledger, study)
        folder.mkdir(parents=True, exist_ok=True)
        _print_into(folder / "log.txt")
        with held(folder, command.give_up_if_late, every=_LOOK_SECONDS) as lease:
            report = _publish(ledger, study, targets, command, lease)
    except _Busy:
        report = _report({"tracking": "another command publishes this study's runs now"})
    except Exception as error:  # a full disk, a damaged home: told, and no more
        print(traceback.format_exc(), flush=True)
        report = _report({"tracking": f"runs are not published: {type(error).__name__}: {error}"})
    with contextlib.suppress(OSError):
        connection.send(("done", report))


def _publish(
    ledger: Ledger, study: str, targets: Sequence[Target], command: _Command, lease: Lease
) -> dict[str, Any]:
    from ablations.publishing.publisher import Publisher
    from lightning_modules.tracking import leave_wandb, wandb_state

    mode, why = "offline", ""
    if any(one.tracker == "wandb" for one in targets):
        mode, why = wandb_state()
        if mode == "disabled":
            targets = [one for one in targets if one.tracker != "wandb"]

    def stopped() -> bool:
        with contextlib.suppress(LeaseLost):  # it seemed gone: another one publishes now
            lease.check()
            return command.stopped()
        return True

    publisher = Publisher(
        ledger,
        study,
        targets,
        online=mode == "online",
        stopped=stopped,
        progress=command.published,
    )
    try:
        while True:
            last = command.finishing
            began = time.monotonic()
            publisher.look()
            if last or stopped():
                break
            if not command.finishing:
                command.wait(max(_LOOK_SECONDS, 10.0 * (time.monotonic() - began)))
    finally:
        publisher.close()
    left = 0 if stopped() else publisher.left()
    leave_wandb()
    asked = "WANDB_MODE" in os.environ  # whoever asks for offline knows
    offline = publisher.made["wandb", OFFLINE]
    return _report(publisher.trouble, left, offline, "" if asked else why)


def _report(
    trouble: Mapping[str, str], left: int = 0, offline: int = 0, why: str = ""
) -> dict[str, Any]:
    return {"trouble": dict(trouble), "left": left, "offline": offline, "why": why}


class _Busy(Exception):
    """Another process publishes the study, and this one has no time to wait for it."""


class _Command:
    """What the command says to the process, and what it is told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.finishing = False
        self._stopped = False

    def stopped(self) -> bool:
        """Return whether it wants an end now, or is gone."""
        self.wait(0.0)
        return self._stopped

    def wait(self, seconds: float) -> None:
        """Wait for a word, at most so long."""
        try:
            if not self._stopped and self._connection.poll(seconds):
                word = self._connection.recv()
                self.finishing |= word == _FINISH
                self._stopped |= word == _STOP
        except (EOFError, OSError):
            self._stopped = True

    def give_up_if_late(self) -> None:
        """Wait for the study's folder no longer than the command works.

        Raises:
            _Busy: it has nothing more to do.
        """
        if self.stopped() or self.finishing:
            raise _Busy

    def published(self, online: bool) -> None:
        """Tell that a run is published, if the command waits: else nobody reads what is sent."""
        if self.finishing:
            with contextlib.suppress(OSError):
                self._connection.send(("published", online))


def _print_into(path: Path) -> None:
    """Send what this process and the trackers' libraries print into a file, begun anew."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    handle = os.open(path, flags, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
