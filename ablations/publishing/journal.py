"""`tracking/studies/<study>/published.jsonl`: which runs are in which tracker, as they ended.

A line is added when a run is safely there, by whoever holds the folder. A line that a kill cut off
is left out, and its run is published again, which trackers bear.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.ledger import TERMINAL
from ablations.publishing.targets import Target

SCHEMA = 1
# How a run is in a target: not at all, on W&B's server and not yet complete, complete there, in a
# folder that can be uploaded, in files of another tracker.
NOWHERE, BEGUN = "nowhere", "begun"
ONLINE, OFFLINE, WRITTEN = "online", "offline", "written"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a run in a target."""

    how: str
    status: str = ""  # of the run when it was published, and when it had ended
    ended: float | None = None
    folder: str = ""  # below `tracking/wandb`, of an offline run
    attempt: int = 1  # of the run: one made again after its end is another run in W&B
    failed: str = ""  # why this end could not be published; asked for by `dashboard sync` alone

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Return whether the target shows the end of a run that its status tells of."""
        return self._is_whole and self.is_at(record)

    def is_at(self, record: Mapping[str, Any]) -> bool:
        """Return whether this end of a run was published, or could not be."""
        return (self.status, self.ended) == (record.get("status"), record.get("ended"))

    @property
    def is_final(self) -> bool:
        """Return whether nothing can change any more: a finished run is not made again."""
        return self._is_whole and self.status == "finished"

    @property
    def _is_whole(self) -> bool:
        return self.how not in (NOWHERE, BEGUN) and not self.failed


class Journal:
    """The entries of a study. Reading asks for nothing; writing, that the folder is held."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "published.jsonl"
        self._known: dict[tuple[str, str], Entry] = {}
        self._torn = False
        self.read()

    def read(self) -> None:
        """Read what others have written; a damaged line counts as none."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                row = json.loads(line)
                if row.pop("schema_version") == SCHEMA:
                    key = (str(row.pop("target")), str(row.pop("run")))
                    self._known[key] = Entry(**row)
            except (AttributeError, KeyError, TypeError, ValueError):
                continue

    def entry(self, target: Target, run: str) -> Entry | None:
        """Return what is known of a run in a target."""
        return self._known.get((target.key, run))

    def lacks(self, target: Target, run: str, record: Mapping[str, Any]) -> bool:
        """Return whether a run has ended otherwise than the target knows."""
        entry = self.entry(target, run)
        return record.get("status") in TERMINAL and (entry is None or not entry.is_of(record))

    def waits(self, target: Target, run: str, record: Mapping[str, Any]) -> bool:
        """Return whether the next command is to publish a run: not, what failed at this end."""
        entry = self.entry(target, run)
        failed = entry is not None and bool(entry.failed) and entry.is_at(record)
        return self.lacks(target, run, record) and not failed

    def add(self, target: Target, run: str, entry: Entry) -> None:
        """Write an entry, whole or not at all for who reads it.

        Raises:
            OSError: the home cannot be written.
        """
        row = {"schema_version": SCHEMA, "target": target.key, "run": run, **vars(entry)}
        text = json.dumps(row, allow_nan=False) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._path, flags, 0o666)
        try:
            os.write(handle, (("\n" if self._torn else "") + text).encode())
        finally:
            os.close(handle)
        self._torn = False
        self._known[target.key, run] = entry
