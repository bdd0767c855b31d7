import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations import leases
from ablations.leases import Claim, Lease, LeaseLost, holder_of, leases_of

ELSEWHERE = {"host": "another", "boot": "b", "namespace": "pid:[1]", "pid": 1, "ticks": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Give the steady clock of this process a hand that a test moves."""
    hand = [1000.0]
    monkeypatch.setattr("ablations.leases.time.monotonic", lambda: hand[0])
    yield hand


def take(folder: Path) -> Lease:
    lease = Claim(folder).attempt()
    assert lease is not None
    return lease


def of_another_machine(folder: Path, generation: int = 1, after: str = "") -> Path:
    path = folder / f"lease.{generation}"
    value = {"schema_version": 1, "token": f"theirs{generation}", "after": after, **ELSEWHERE}
    path.write_text(json.dumps(value))
    return path


def test_one_holds_at_a_time_and_nothing_is_left_of_a_hold(folder: Path) -> None:
    lease = take(folder)
    lease.check()
    lease.confirm()
    assert Claim(folder).attempt() is None
    holder = holder_of(folder)
    assert holder is not None and not holder.gone
    assert holder.about["pid"] == os.getpid()
    lease.release()
    assert list(folder.iterdir()) == []
    take(folder).release()


def test_the_lease_of_a_process_that_ended_here_is_followed_at_once(folder: Path) -> None:
    program = (
        f"from ablations.leases import Claim; Claim(__import__('pathlib').Path({str(folder)!r}))"
    )
    subprocess.run([sys.executable, "-c", f"{program}.attempt()"], check=True)
    holder = holder_of(folder)
    assert holder is not None and holder.gone
    lease = take(folder)
    assert lease.path.name == "lease.2"
    lease.confirm()
    lease.release()
    assert list(folder.iterdir()) == []


def test_a_number_that_another_process_has_now_is_not_its_holder(folder: Path) -> None:
    lease = take(folder)
    about = json.loads(lease.path.read_text())
    assert about["ticks"] > 0
    lease.path.write_text(json.dumps(about | {"ticks": about["ticks"] - 1}))
    holder = holder_of(folder)
    assert holder is not None and holder.gone
    lease.release()


def test_a_lease_of_another_machine_is_stale_after_no_change_for_long_enough(
    folder: Path, clock: list[float]
) -> None:
    path = of_another_machine(folder)
    claim = Claim(folder)
    assert claim.attempt() is None
    clock[0] += leases.STALE_SECONDS - 1
    assert claim.attempt() is None
    os.utime(path)  # it beats
    clock[0] += leases.STALE_SECONDS - 1
    assert claim.attempt() is None
    clock[0] += leases.STALE_SECONDS
    lease = claim.attempt()
    assert lease is not None and lease.path.name == "lease.2"
    lease.release()


@pytest.mark.parametrize("jump", [-(10**6), 10**6])
def test_clocks_that_jump_make_nobody_stale(folder: Path, clock: list[float], jump: int) -> None:
    """The time of change is compared with itself alone, whatever the hour is on either machine."""
    path = of_another_machine(folder)
    os.utime(path, (time.time() + jump, time.time() + jump))
    claim = Claim(folder)
    for _ in range(5):
        clock[0] += leases.STALE_SECONDS - 1
        assert claim.attempt() is None
        os.utime(path, (path.stat().st_mtime - jump / 7, path.stat().st_mtime - jump / 7))


def test_who_was_only_slow_finds_out(folder: Path, clock: list[float]) -> None:
    lease = take(folder)
    of_another_machine(folder, 2, after=json.loads(lease.path.read_text())["token"])
    lease.check()  # not yet: the disk is not looked at every time
    clock[0] += 3 * leases.BEAT_SECONDS + 1
    with pytest.raises(LeaseLost, match="another process took over"):
        lease.check()
    with pytest.raises(LeaseLost):
        lease.confirm()
    lease.release()
    assert [path.name for path in leases_of(folder)] == ["lease.2"]  # the new holder's stays


def test_a_beat_shows_life_and_finds_a_loss(folder: Path) -> None:
    lease = take(folder)
    os.utime(lease.path, (1, 1))
    lease.beat()
    assert time.time() - lease.path.stat().st_mtime < 60
    lease.path.unlink()
    lease.beat()
    with pytest.raises(LeaseLost):
        lease.check()
    lease.release()


def test_who_followed_a_lease_that_was_released_meanwhile_withdraws(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow holder lets go just as it is followed: somebody else may have begun anew."""
    path = of_another_machine(folder)
    create = leases._create

    def released_meanwhile(*arguments: str) -> bool:
        path.unlink()
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(leases.Claim, "_is_stale", lambda *_: True)
    monkeypatch.setattr(leases, "_create", released_meanwhile)
    assert Claim(folder).attempt() is None
    assert list(folder.iterdir()) == []


def test_a_lease_that_lost_its_race_does_not_disturb_the_holder(folder: Path) -> None:
    lease = take(folder)
    of_another_machine(folder, 7, after="of nobody here")
    lease.confirm()
    holder = holder_of(folder)
    assert holder is not None and holder.path == lease.path
    lease.release()


def test_a_damaged_lease_is_waited_for_and_then_followed(folder: Path, clock: list[float]) -> None:
    (folder / "lease.1").write_bytes(b'{"token": "ab')
    claim = Claim(folder)
    assert claim.attempt() is None
    clock[0] += leases.STALE_SECONDS
    lease = claim.attempt()
    assert lease is not None
    lease.confirm()
    lease.release()


def test_without_links_a_lease_is_made_in_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lease = take(folder)
    assert Claim(folder).attempt() is None
    lease.release()
    assert list(folder.iterdir()) == []


CONTENDER = """
    import sys, time
    from pathlib import Path
    from ablations.leases import Claim
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(count):
        claim = Claim(folder / "held")
        while (lease := claim.attempt()) is None:
            time.sleep(0.0005)
        inside = folder / "inside"
        inside.mkdir()  # fails where somebody else is inside
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
        inside.rmdir()
        lease.confirm()
        lease.release()
"""


def test_processes_that_contend_are_never_inside_together(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "number").write_text("0")
    program = textwrap.dedent(CONTENDER)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), "60"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        process.communicate(b"\n")
    assert [process.returncode for process in started] == [0] * 4
    assert (tmp_path / "number").read_text() == "240"
    assert list((tmp_path / "held").iterdir()) == []


def test_threads_of_one_process_hold_one_at_a_time(folder: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            while (lease := Claim(folder).attempt()) is None:
                time.sleep(0.0005)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.0005)
            inside[0] -= 1
            lease.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def _beats_in(folder: Path) -> None:
    take(folder).release()
    assert [one.name for one in threading.enumerate()].count("leases") == 1


def test_a_forked_process_keeps_its_own_leases_alive(tmp_path: Path) -> None:
    ours = take(tmp_path)
    (tmp_path / "theirs").mkdir()
    process = multiprocessing.get_context("forkserver").Process(
        target=_beats_in, args=(tmp_path / "theirs",)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    ours.confirm()
    ours.release()
