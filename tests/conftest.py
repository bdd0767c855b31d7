"""One thread for torch in every test: two workers share two cores, and sums keep their order."""

from __future__ import annotations

import os
import sys

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first loaded, here or in a child


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    if "torch" in sys.modules:  # the tests of `recipes` alone do not load it
        sys.modules["torch"].set_num_threads(1)
