"""Do the same to many images on a few threads: decoding and hashing release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_CHUNK = 64  # calls per task: a task costs about as much as decoding one 32 x 32 image


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on a Mac
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(function: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """Yield `function(0)` to `function(count - 1)` in order, never far ahead of the reader."""
    if threads <= 1:
        yield from map(function, range(count))
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[T]]] = deque()
        for start in range(0, count, _CHUNK):
            part = range(start, min(start + _CHUNK, count))
            waiting.append(pool.submit(_each, function, part))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _each(function: Callable[[int], T], part: range) -> list[T]:
    return [function(i) for i in part]
