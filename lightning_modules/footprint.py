"""What a piece of work takes of memory. No torch, since the parent of the workers reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The bytes that a piece of work needed at most, and what there was for it on a GPU."""

    host: int  # of this process, over what it had before
    device: int = 0  # of the GPU, its context included
    device_free: int | None = None  # of the GPU, what this process holds included; None on a CPU
