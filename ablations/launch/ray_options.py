"""Which Ray cluster makes the runs, and what each of them takes of it. Imports no ray."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

from ablations.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Which cluster, and what a run takes of it.

    Raises:
        RequestError: an address or a number that cannot be meant.
    """

    address: str | None = None  # host:port, or auto for what RAY_ADDRESS or this machine has
    cpus: int | None = None  # of a run; None: the threads of a worker here
    gpus: float | None = None  # of a run; None: one per device where it has any

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
        if self.gpus is not None and not (
            0 <= self.gpus < 1 or (1 <= self.gpus < 1e6 and self.gpus == int(self.gpus))
        ):
            raise RequestError(
                f"--ray-gpus {self.gpus:g}: give a whole number, or 0.5 for two runs on one GPU"
            )


def check_installed() -> None:
    """Look for Ray without importing it.

    Raises:
        RequestError: it is not there.
    """
    if importlib.util.find_spec("ray") is None:
        raise RequestError(
            "--launch ray needs Ray: pip install 'ablate-recipes[ray]' (or pip install ray)"
        )
