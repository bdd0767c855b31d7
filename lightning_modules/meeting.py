"""How the processes of one run find each other, and what Lightning is told of them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning_fabric.plugins import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=10)  # of one for another: compiling and slow disks take less


@dataclass(frozen=True, kw_only=True)
class Member:
    """The place of one process among those that make a run."""

    rank: int = 0
    devices: int = 1
    meeting: Path = Path()  # a file through which they find each other; not read where alone
    patience: timedelta = PATIENCE

    @property
    def leads(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0


ALONE = Member()


def strategy_of(member: Member) -> DDPStrategy:
    """Return the strategy of Lightning that a member trains with."""
    # Batch norms' statistics are averaged by `batch_statistics`, not taken from the first device;
    # nor may devices wait for each other where they evaluate, one a batch more than another.
    known = inspect.signature(DistributedDataParallel).parameters
    new = "forward_sync_buffers"  # its name from torch 2.15 on
    alone: dict[str, Any] = {new if new in known else "broadcast_buffers": False}
    return DDPStrategy(cluster_environment=_Meeting(member), timeout=member.patience, **alone)


@contextmanager
def together(member: Member, device: torch.device) -> Iterator[None]:
    """Let the members of a run find each other; alone, do nothing."""
    if member.devices == 1:
        yield
        return
    group: dict[str, Any] = {}
    if device.type == "cuda":
        group["device_id"] = device
    else:  # all are on this machine: nothing has to listen to others
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        # A file, not a port, on which anybody could listen and call.
        store=torch.distributed.FileStore(  # type: ignore[attr-defined]
            str(member.meeting), member.devices
        ),
        rank=member.rank,
        world_size=member.devices,
        timeout=member.patience,
        **group,
    )
    try:
        yield
    except RuntimeError as error:
        if "imed out" not in str(error):
            raise
        raise RuntimeError(
            f"process {member.rank + 1} of the {member.devices} of this run waited"
            f" {member.patience.total_seconds():g} s for another one, which hangs"
        ) from error
    torch.distributed.destroy_process_group()  # not after an error: others may be waiting in it


class _Meeting(ClusterEnvironment):
    """Tells Lightning of processes that are there already and have found each other."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"  # not used: they have met

    @property
    def main_port(self) -> int:
        return 0

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._member.devices

    def set_world_size(self, size: int) -> None:
        assert size == self._member.devices

    def global_rank(self) -> int:
        return self._member.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._member.rank

    def local_rank(self) -> int:
        return self._member.rank

    def node_rank(self) -> int:
        return 0
