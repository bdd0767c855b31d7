"""Play cells over processes. What comes out depends on cells and games, never on the slots."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np

from ablations.simulation.cell import Cell, Columns, Row, rows
from ablations.simulation.cells import cell_of

CHUNK = 100  # games with one stream of random numbers
FEWEST_GAMES = 100  # below, the intervals of means by the central limit theorem are too narrow
# Matrices here are a few arms wide: threads inside a process would only get in each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def played(
    cells: Sequence[Cell], games: int, slots: int, progress: Callable[[Cell, int], None]
) -> list[Row]:
    """Play every cell and return its figures, in the order of the cells.

    Args:
        cells: of the table in `cells`; workers find them there by name.
        games: per cell.
        slots: processes; 1: this one.
        progress: called with a cell whose games are played, and how many cells are left.
    """
    found: dict[str, list[Row]] = {}
    for cell, columns in _each(cells, games, slots):
        found[cell.name] = rows(cell, columns)
        progress(cell, len(cells) - len(found))
    return [row for cell in cells for row in found[cell.name]]


def play_chunk(name: str, chunk: int, games: int) -> Columns:
    """Play some games of a cell, with a stream of their own."""
    generator = np.random.default_rng([zlib.crc32(name.encode()), chunk])
    return cell_of(name).play(generator, games)


def _each(cells: Sequence[Cell], games: int, slots: int) -> Iterator[tuple[Cell, Columns]]:
    sizes = [min(CHUNK, games - start) for start in range(0, games, CHUNK)]
    if slots == 1:
        for cell in cells:
            yield cell, _joined([play_chunk(cell.name, *chunk) for chunk in enumerate(sizes)])
        return
    with _one_thread(), ProcessPoolExecutor(slots, mp_context=get_context("spawn")) as pool:
        places: dict[Future[Columns], tuple[Cell, int]] = {}
        for cell in cells:
            for chunk, size in enumerate(sizes):
                places[pool.submit(play_chunk, cell.name, chunk, size)] = cell, chunk
        done: dict[str, dict[int, Columns]] = {}
        try:
            for future in as_completed(places):
                cell, chunk = places.pop(future)
                parts = done.setdefault(cell.name, {})
                parts[chunk] = future.result()
                if len(parts) == len(sizes):
                    yield cell, _joined([parts[place] for place in range(len(sizes))])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started inside have one thread each."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update({name: "1" for name in _ONE_THREAD})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
