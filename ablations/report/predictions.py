"""What runs said of each evaluated image, read from the ledger when a report asks for it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ablations.correctness import KeptImages
from ablations.ledger import Ledger
from ablations.plans import Outcome


@dataclass(frozen=True, eq=False, kw_only=True)
class Said:
    """What a run said of each evaluated image."""

    predicted: NDArray[np.int64]  # (N,) labels
    loss: NDArray[np.float64]  # (N,) cross-entropy
    right: NDArray[np.bool_]


class Predictions:
    """What runs said, read when it is asked for and kept; why where it cannot be used."""

    def __init__(self, ledger: Ledger, outcomes: Sequence[Outcome]) -> None:
        self._ledger = ledger
        self._ids = {(one.run.arm, one.run.seed): one.run.id for one in outcomes}
        self._images = KeptImages(ledger, outcomes)
        self._known: dict[tuple[str, int], Said | None] = {}
        self._unread: dict[tuple[str, int], str] = {}

    def of(self, arm: str, seed: int) -> Said | None:
        """Return what a run said, or None."""
        run = (arm, seed)
        if run not in self._known:
            self._known[run] = self._read(run)
        return self._known[run]

    def used(self) -> Iterator[Said]:
        """Yield all that was read and can be used."""
        yield from (said for said in self._known.values() if said is not None)

    def told(self) -> list[str]:
        """Return why runs are left out, each reason with the number of runs."""
        reasons = Counter({**self._images.unread, **self._unread}.values())
        return [
            f"{count} run{'s are' if count > 1 else ' is'} left out: {reason}"
            for reason, count in reasons.items()
        ]

    def _read(self, run: tuple[str, int]) -> Said | None:
        right = self._images.of(*run)
        if right is None:
            return None
        path = self._ledger.run_folder(self._ids[run]) / "predictions.npz"
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                predicted, loss = stored["predicted"], stored["loss"]
        except FileNotFoundError:
            self._unread[run] = "its predictions are not there any more"
            return None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
            self._unread[run] = f"{path} is damaged"
            return None
        whole = predicted.shape == loss.shape == right.shape
        if not whole or predicted.dtype.kind not in "iu" or loss.dtype.kind != "f":
            self._unread[run] = f"{path} does not hold a label and a loss of every image"
            return None
        return Said(
            predicted=predicted.astype(np.int64), loss=loss.astype(np.float64), right=right > 0
        )
