"""A worker's allocator gives freed blocks out again: their pages are there already."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from lightning_modules.allocation import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("not with this C library")
import numpy as np
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
blocks = [np.ones(8 * 2**20, np.uint8) for _ in range(4)]
del blocks
before = faults()
for _ in range(20):
    blocks = [np.ones(8 * 2**20, np.uint8) for _ in range(4)]
    del blocks
print(faults() - before)
"""


def faults(how: str) -> int:
    found = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_blocks_are_used_again():
    given_back, kept = faults("given back"), faults("kept")
    assert kept < given_back / 10
