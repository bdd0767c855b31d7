"""The process beside a study's command: publishes what the ledger has until it is told to end.

It is forked from the server that has the libraries, has a lower priority and reads the home alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ablations.leases import Lease, LeaseLost, held
from ablations.ledger import Ledger
from ablations.publishing.journal import OFFLINE
from ablations.publishing.targets import Target, folder_of

FINISH, STOP = "finish", "stop"  # what the command says
_LOOK_SECONDS = 1.5  # between two looks at the ledger
_LONGEST_SECONDS = 15.0  # of a study so large that a look takes a second
_NICE = 10  # training first; not the lowest, for the command waits for it in the end


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
    _print_into(os.open(os.devnull, os.O_WRONLY))  # the command's stdout is for its result
    ledger = Ledger(home)
    command = _Command(connection)
    try:
        folder = folder_of(ledger, study)
        with held(folder, command.give_up_if_late, every=_LOOK_SECONDS) as lease:
            log = folder / "log.txt"
            log.unlink(missing_ok=True)
            _print_into(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666))
            report = _publish(ledger, study, targets, command, lease)
    except _Busy:
        report = _report({"tracking": "another command publishes this study's runs now"})
    except LeaseLost:
        with contextlib.suppress(OSError):
            connection.send(("done", _report({"tracking": "another command took over to publish"})))
        # At once: the client would end the runs that the other process goes on with.
        os._exit(0)
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

    def is_lost() -> bool:
        try:
            lease.check()
        except LeaseLost:  # it seemed gone: another one publishes now
            return True
        return False

    def stopped() -> bool:
        return is_lost() or command.stopped()

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
            publisher.look()
            if last or stopped():
                break
            if not command.finishing:
                command.wait(pause(publisher.reading))
    finally:
        if is_lost():
            publisher.close(lost=True)
            raise LeaseLost(study)
        publisher.close()
    left = 0 if stopped() else publisher.left()
    leave_wandb()
    asked = "WANDB_MODE" in os.environ  # whoever asks for offline knows
    offline = publisher.made["wandb", OFFLINE]
    return _report(publisher.trouble, left, offline, "" if asked else why)


def pause(reading: float) -> float:
    """Return the seconds until the next look, where reading the ledger takes so many."""
    return min(max(10.0 * reading, _LOOK_SECONDS), _LONGEST_SECONDS)


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
                self.finishing |= word == FINISH
                self._stopped |= word == STOP
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


def _print_into(handle: int) -> None:
    """Send what this process and the trackers' libraries print into an open file."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
