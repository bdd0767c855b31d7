"""What keeps a run from being published: a tracker, or what the ledger has of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class Unreadable(Exception):
    """What the ledger has of one run cannot be shown; no fault of a tracker."""


@contextlib.contextmanager
def reading_ledger() -> Iterator[None]:
    """Tell what goes wrong with the ledger from what trackers do wrong."""
    try:
        yield
    except Exception as error:
        raise Unreadable(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run could not be published, in the state in which that was tried."""

    status: str
    ended: float | None
    words: str
    is_of_tracker: bool

    def is_at(self, record: Mapping[str, Any]) -> bool:
        """Return whether a run is still in that state."""
        return (self.status, self.ended) == (str(record.get("status")), record.get("ended"))
