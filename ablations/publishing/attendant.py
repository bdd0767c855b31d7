"""How a command has its study's runs published by a process beside it, and how it ends that.

The command waits for it at its own end alone: a minute for W&B's server, and as long as runs go
into files one after the other (a minute at most for each). Then it says what is left. If the
process is lost, the next command publishes the rest. Loads no tracker and no torch.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.publishing.journal import Journal
from ablations.publishing.process import FINISH, STOP, attend
from ablations.publishing.targets import Target, counted, folder_of
from lightning_modules.forking import cause_of_death

WAIT_SECONDS = 60.0  # of a command, for W&B's server in all; anew for each run put into files
_STOP_SECONDS = 10.0  # of a command that is interrupted


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
        """Have the rest published, and say what is left after the wait; raises nothing."""
        try:
            self._finish()
        except (OSError, RequestError) as error:  # as another user's files: no fault of the study
            self._say(f"tracking: runs are not published: {error}")

    def _finish(self) -> None:
        if self._process is None and self._targets and self._lacks():
            self.begin()
        if self._process is None or not self._targets:
            return
        try:
            told = self._wait(FINISH, WAIT_SECONDS)
        except KeyboardInterrupt:  # the study is done: nothing but this was interrupted
            told = None
        self._end()
        self._tell(told)

    def stop(self) -> None:
        """End it soon: the command was interrupted or failed."""
        if self._process is not None and self._targets:
            with contextlib.suppress(KeyboardInterrupt):
                self._wait(STOP, _STOP_SECONDS)
            self._end()

    def _wait(self, word: str, seconds: float) -> Mapping[str, Any] | None:
        """Return its last report, or None where it is lost or late."""
        assert self._connection is not None
        with contextlib.suppress(OSError):
            self._connection.send(word)
        deadline, patient = time.monotonic() + seconds, word == FINISH
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
                self._say(f"tracking: {counted(left)} not published yet; {sync} uploads to W&B")
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
        if trouble and left:
            self._say(f"W&B: {trouble}; {counted(left)} not uploaded; {sync} does it")
        elif told["offline"] and told["why"]:
            self._say(f"W&B: {counted(told['offline'])} offline: {told['why']}; {sync} uploads")

    def _lacks(self) -> int:
        """Return how many ended runs some target does not show as they ended, and may yet."""
        from ablations.frozen import thaw
        from ablations.stages import runs_so_far

        journal = Journal(folder_of(self._ledger, self._study))
        plan, _, _ = thaw(self._ledger.study_folder(self._study))
        found = 0
        for run in {one.id for one in runs_so_far(plan, self._ledger).runs}:
            entries = [journal.entry(target, run) for target in self._targets]
            if not all(one is not None and one.is_final for one in entries):
                record = self._ledger.record(run)
                found += any(journal.waits(target, run, record) for target in self._targets)
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
