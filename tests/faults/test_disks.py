"""A full disk and a read-only one under a study; both are small tmpfs, which root may mount."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ablations.conftest import ablate
from tests.faults.campaign import Watch, start, written

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing more goes."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with pytest.raises(OSError) as caught:
        (disk / "more").write_bytes(bytes(1 << 16))
    assert caught.value.errno == errno.ENOSPC
    (disk / "more").unlink(missing_ok=True)
    return ballast


def wait_for(watch: Watch, count: int, driver: subprocess.Popen[str]) -> None:
    """Wait until so many runs have finished."""
    while len(watch.finished) < count:
        assert driver.poll() is None, "the study ended too soon"
        watch.look()
        time.sleep(0.05)


def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(
    disk: Path, undisturbed: dict[str, Any]
) -> None:
    home = disk / "home"
    watch = Watch(home)
    driver = start(home, 2)
    wait_for(watch, 4, driver)
    ballast = fill(disk)
    _, said = driver.communicate()
    assert driver.returncode in (1, 130), said
    assert "No space left on device" in said
    watch.look()
    assert watch.doubled == []
    kept = dict(watch.finished)
    assert len(kept) >= 4
    ballast.unlink()
    again = start(home, 2)
    _, said = again.communicate()
    assert again.returncode == 0, said
    watch.look()
    assert watch.doubled == []
    assert kept.items() <= watch.finished.items()
    assert written(home) == undisturbed


def test_a_read_only_home_is_told_and_can_be_read(disk: Path, undisturbed: dict[str, Any]) -> None:
    home = disk / "home"
    driver = start(home, 2)
    wait_for(Watch(home), 4, driver)
    driver.terminate()
    driver.communicate()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = start(home, 2)
    _, said = refused.communicate()
    assert refused.returncode == 2, said
    assert "Read-only file system" in said
    assert "Traceback" not in said
    for words in (("status", "s"), ("report", "s"), ("doctor", "--check")):
        shown = ablate(*words, "--home", home, folder=disk.parent)
        assert shown.out and "Traceback" not in shown.err, shown.err
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    again = start(home, 2)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert written(home) == undisturbed
