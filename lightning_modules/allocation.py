"""Memory that a process has freed is used again, not given back and asked for anew. No torch.

glibc returns every large block to the system; the next step's tensors then cost a page fault each
4 KiB, about a tenth of a step's time on a CPU (tests/benchmarks/cpu_step.py).
"""

from __future__ import annotations

import ctypes
import sys

_TRIM, _PAD, _MMAP = -1, -2, -3  # of mallopt(3)
_LARGEST = 32 << 20  # bytes: glibc takes no more for the blocks that it keeps
_KEPT = 1 << 30  # bytes that may lie free before they are returned
_AHEAD = 64 << 20  # bytes that are asked for at once


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to keep what is freed; return whether it listens.

    For processes that are ours: it holds for all that runs in them. Peak memory stays; what lies
    free between two runs does not go back to the system (up to 1 GiB).
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    wanted = ((_MMAP, _LARGEST), (_TRIM, _KEPT), (_PAD, _AHEAD))
    return all([mallopt(key, value) == 1 for key, value in wanted])
