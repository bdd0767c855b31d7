"""A page that is kept fresh: made anew, by one thread, where what it is made from has changed.

Looks at the ledger only while somebody looks at the page: who asks for it wakes the thread, so that
a study that is watched by nobody costs nothing. The page that is there is given while the next one
is made.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.stages import runs_so_far

LIVE = "ablate-live"  # name of the <meta> by which a page knows its version, and that it is live
SECONDS = 2.0  # between looks, at least
_RESTS = 9.0  # times what the last page took: the runs that it shows want the machine
_LONGEST = 10.0  # seconds of such a rest
_HEAD = re.compile(r"<head(\s[^>]*)?>", re.IGNORECASE)


def state_of(plan: Plan, ledger: Ledger) -> str:
    """Return a digest of the plan, stages, statuses and curves of a study, by times and sizes.

    Args:
        plan: as it was frozen last.
        ledger: of its home.

    Raises:
        RequestError: a file that says which runs it has is damaged.
    """
    folder = ledger.study_folder(plan.study)
    seen: list[Any] = [
        _stat(f"{folder}/{name}") for name in ("plan.yaml", "stages.json", "certificates.json")
    ]
    for run in runs_so_far(plan, ledger).runs:
        place = str(ledger.run_folder(run.id))
        seen += [_stat(f"{place}/{name}") for name in ("status.json", "metrics.jsonl")]
        if _stat(f"{place}/progress.json") is not None:  # the curve may be that of its training
            training = ledger.record(run.id).get("training")
            if training:
                seen.append(_stat(f"{ledger.training_folder(training)}/metrics.jsonl"))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that was made. Its version is that of its text."""

    version: str
    content: bytes


class Fresh:
    """The latest page and the thread that makes it; use as a context.

    Args:
        make: returns the page as HTML. Called in a thread, by one at a time.
        state: returns a digest of all that the page is made from; cheap.
        say: told when the page cannot be made, once for each reason.
    """

    def __init__(
        self, make: Callable[[], str], state: Callable[[], str], say: Callable[[str], None]
    ) -> None:
        self._make, self._state, self._say = make, state, say
        self._asked, self._ended = threading.Event(), threading.Event()
        self._looked = threading.Event()  # for the first time
        self._page: Page | None = None
        self._made_of: str | None = None  # the state behind the page; None: make it again
        self._problem = "the page is being made"
        self._maker = threading.Thread(target=self._keep, name="pages", daemon=True)

    def __enter__(self) -> Fresh:
        """Begin with the first page, before anybody asks."""
        self._asked.set()
        self._maker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._asked.set()
        self._maker.join(timeout=SECONDS)  # one that is making a page ends with the process

    def wait(self, seconds: float) -> None:
        """Wait until there is a first page, or a reason why there is none; at most so long."""
        self._looked.wait(seconds)

    def latest(self) -> tuple[Page | None, str]:
        """Return the page, and why there is no newer one; have it looked whether it is fresh."""
        self._asked.set()
        return self._page, self._problem

    def _keep(self) -> None:
        while not self._ended.is_set():
            self._asked.wait()
            self._asked.clear()
            began = time.monotonic()
            if not self._ended.is_set():
                self._look()
            self._looked.set()
            rest = min(_RESTS * (time.monotonic() - began), _LONGEST)
            self._ended.wait(max(SECONDS, rest))

    def _look(self) -> None:
        """Make the page anew where what it is made from has changed."""
        try:
            now = self._state()  # before the page: what changes meanwhile is seen by the next look
            if now == self._made_of:
                return
            page = self._make()
        except (
            Exception
        ) as error:  # whatever it is, the last good page stays, and it is tried again
            self._made_of = None
            problem = str(error) or type(error).__name__
            if problem != self._problem:
                kept = "the page before stays" if self._page else "there is no page yet"
                self._say(f"the page cannot be made; {kept}: {problem}")
            self._problem = problem
            return
        version = hashlib.sha256(page.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self._made_of, self._problem = now, ""
        self._page = Page(version=version, content=_marked(page, version))


def _marked(page: str, version: str) -> bytes:
    """Return a page that knows its own version, by which its script sees that there is another."""
    mark = f'<meta name="{LIVE}" content="{version}">'
    marked = _HEAD.sub(lambda head: head[0] + mark, page, count=1)
    return marked.encode("utf-8", "backslashreplace")
