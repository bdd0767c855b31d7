"""The size of the cache: the least recently used goes first, and what is in use stays."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data import ArrayItems, DataError, open_cache
from lightning_modules.data.room import LIMIT, make_room

MIB = 2**20


def build(folder: Path, key: str) -> np.ndarray:
    """Open a cache of one MiB and a little."""
    pixels = np.zeros((22, 128, 128, 3), dtype=np.uint8)
    names = tuple(f"{i:02d}" for i in range(22))
    return open_cache(ArrayItems(names, np.zeros(22, dtype=np.int64), pixels), 128, folder, key)


def kept(folder: Path) -> list[str]:
    gc.collect()
    return sorted(path.name.split(".")[0] for path in folder.glob("*.npy"))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three caches that nobody uses, last opened in the order b, c, a."""
    for key in "abc":
        build(tmp_path, key)
    gc.collect()
    for age, key in enumerate("acb"):
        os.utime(tmp_path / f"{key}.v1.npy", ns=(10**18, 10**18 - age))
    return tmp_path


def test_the_least_recently_used_goes_first(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, str(3.5 / 1024))
    build(three, "d")
    assert kept(three) == ["a", "c", "d"]
    build(three, "c")  # opened again: used last but one
    build(three, "e")
    assert kept(three) == ["c", "d", "e"]
    assert not (three / "a.v1.json").exists()


def test_what_is_in_use_stays(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a view, and in any process: the lock is on the file."""
    monkeypatch.setenv(LIMIT, str(3.5 / 1024))
    view = build(three, "b")[3:5]
    os.utime(three / "b.v1.npy", ns=(10**18 - 9, 10**18 - 9))
    gc.collect()
    build(three, "d")
    assert kept(three) == ["a", "b", "d"]
    del view
    build(three, "e")
    assert kept(three) == ["a", "d", "e"]


def test_more_than_the_limit_is_refused(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, str(0.5 / 1024))
    with pytest.raises(DataError, match=f"needs 1 MiB .*; {LIMIT} allows 0 MiB.*stored_size=N"):
        build(three, "d")
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(DataError, match=f"{LIMIT} = 'much': give a number of GiB"):
        build(three, "d")


def test_a_tenth_of_the_disk_stays_free(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches go for that, but what fits without it is not refused."""

    def nearly_full(folder: Path) -> shutil._ntuple_diskusage:
        free = 12 * MIB - sum(path.stat().st_size for path in Path(folder).glob("*.npy"))
        return shutil._ntuple_diskusage(100 * MIB, 100 * MIB - free, free)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    assert make_room(three, MIB // 2) and kept(three) == ["a"]
    assert make_room(three, 10 * MIB) and kept(three) == []
    assert not make_room(three, 13 * MIB)
