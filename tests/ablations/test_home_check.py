"""`ablate doctor home`: every kind of damage, made in the home of a finished study."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations import leases
from ablations.errors import RequestError
from ablations.home_check import check_home
from ablations.leases import Claim
from ablations.ledger import KEPT, Ledger
from lightning_modules.checkpoint_files import checkpoints
from lightning_modules.checkpoints import save
from tests.ablations.conftest import Finished, Said, snapshot

Call = Callable[..., Said]
HEX = "0123456789abcdef0123456789abcdef"


def old(path: Path) -> Path:
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def run(finished: Finished, home: Path) -> Path:
    """The folder of a finished run in a copy of the home."""
    return home / "runs" / str(finished.said.json["runs"][0]["id"])


def set_status(folder: Path, status: str) -> None:
    path = folder / "status.json"
    path.write_text(path.read_text().replace('"finished"', f'"{status}"'))


def test_a_whole_home_is_whole_and_stays_as_it_is(home: Path, call: Call) -> None:
    before = snapshot(home, ("runs", "studies", "cache"))
    for words in (("doctor",), ("doctor", "home"), ("doctor", "home", "--check")):
        said = call(*words, "--home", home)
        assert (said.code, said.err) == (0, "")
        assert said.out.strip().endswith("whole")
        assert "8 runs" in said.out
    assert snapshot(home, ("runs", "studies", "cache")) == before


def test_a_finished_run_knows_what_it_keeps(run: Path) -> None:
    kept = Ledger(run.parents[1]).files(run.name)
    assert set(kept) == {path.name for path in run.iterdir()} & set(KEPT)
    assert {"result.json", "predictions.npz", "weights.pt"} <= set(kept)


def test_what_can_be_mended_is_and_a_second_look_finds_nothing(
    home: Path, run: Path, call: Call
) -> None:
    one, two, three, *_ = (path for path in sorted((home / "runs").iterdir()) if path != run)
    set_status(one, "running")  # its process is gone, its result is not there
    (one / "result.json").unlink()
    set_status(two, "running")  # its result is there
    (three / "status.json").write_text("{")
    seen = home / f".seen.{HEX}"
    for path in (seen, run / f".x.json.{HEX}", home / "cache" / f".y.{HEX}", run / ".lock"):
        path.write_text("half")
        old(path)
    (run / "checkpoint").mkdir()
    save(one / "checkpoint", 1, {})
    save(one / "checkpoint", 2, {})
    checkpoints(one / "checkpoint")[0].path.write_bytes(b"cut")
    (home / "runs" / ("a" * 20)).mkdir()
    (home / "runs" / ("a" * 20) / "recipe.yaml").write_text("half")
    (home / "studies/refused").mkdir()
    (home / "cache/speed.json").write_text("{")
    about = {"token": "t", "after": "", "host": "h"}
    alive = {**about, **leases._machine(), "pid": os.getpid(), "ticks": 0}  # a number used again
    (run / "lease.3").write_text(json.dumps(alive))
    finished = {path: path.stat().st_mtime_ns for path in run.iterdir() if path.name in KEPT}

    told = call("doctor", "--check", "--home", home)
    assert told.code == 1
    again = call("doctor", "--check", "--home", home)
    assert again.out == told.out  # nothing was mended
    said = call("doctor", "home", "--home", home)
    assert (said.code, said.err) == (0, ""), said.out
    ledger = Ledger(home)
    assert ledger.status(one.name) == "interrupted"
    assert ledger.status(two.name) == ledger.status(three.name) == "finished"
    assert [one.step for one in checkpoints(one / "checkpoint")] == [1]
    for place in (
        f"runs/{one.name}/status.json: says running, and nobody makes the run; recorded",
        f"runs/{two.name}/status.json: says running, and the result is there; recorded from it",
        f"runs/{three.name}/status.json: is damaged; written anew",
        f"runs/{run.name}/.x.json.{HEX}: was left",
        f"runs/{run.name}/.lock: was left by an earlier version",
        f"runs/{run.name}/checkpoint: is of a training that is over; removed",
        f"runs/{run.name}/lease.3: a lease whose holder is gone",
        f"runs/{'a' * 20}: is half-written",
        "studies/refused: is the empty folder",
        "cache/speed.json: is damaged",
        f"cache/.y.{HEX}: was left",
        f".seen.{HEX}: was left",
    ):
        assert place in said.out, place
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert call("doctor", "--home", home).out.strip().endswith("whole")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("result.json", "is missing"),
        ("predictions.npz", "is missing"),
        ("weights.pt", "is missing"),
    ],
)
def test_what_a_finished_run_lacks_is_told_and_nothing_of_it_removed(
    home: Path, run: Path, call: Call, name: str, words: str
) -> None:
    (run / name).unlink()
    before = snapshot(home)
    said = call("doctor", "--home", home)
    assert said.code == 1
    assert f"runs/{run.name}/{name}: {words}; remove the folder yourself" in said.out
    assert snapshot(home) == before


def test_what_a_finished_run_did_not_write_is_told(home: Path, run: Path, call: Call) -> None:
    path = run / "predictions.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said = call("doctor", "--home", home, "--format", "json")
    assert said.code == 1
    (found,) = said.json["findings"]
    assert found["place"] == f"runs/{run.name}/predictions.npz"
    assert found["what"] == "is not what the run wrote (SHA-256)"
    assert found["mended"] is False
    assert path.read_bytes() != whole


def test_a_run_of_an_earlier_version_is_taken_as_it_is(home: Path, run: Path, call: Call) -> None:
    path = run / "status.json"
    status = json.loads(path.read_text())
    del status["files"]
    path.write_text(json.dumps(status))
    assert call("doctor", "--home", home).code == 0


def test_what_is_held_is_left_alone(home: Path, run: Path, call: Call) -> None:
    set_status(run, "running")
    (run / "result.json").unlink()
    lease = Claim(run).attempt()
    assert lease is not None
    try:
        for words in ((), ("--check",)):
            said = call("doctor", *words, "--home", home).out
            assert said.strip().endswith("whole (but 1 at work in, not looked at)")
        assert Ledger(home).status(run.name) == "running"
    finally:
        lease.release()


def test_a_silent_lease_of_another_machine_is_watched_before_it_is_taken(
    home: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_status(run, "running")
    (run / "result.json").unlink()
    elsewhere = {"token": "t", "after": "", "host": "far", "boot": "b", "namespace": "n", "pid": 1}
    (run / "lease.1").write_text(json.dumps(elsewhere))
    old(run / "lease.1")
    hand, said = [time.monotonic()], list[str]()
    monkeypatch.setattr("time.monotonic", lambda: hand[0])

    def pass_by(seconds: float) -> None:
        hand[0] += seconds

    monkeypatch.setattr("ablations.home_check.time.sleep", pass_by)
    text, code = check_home(Ledger(home), mend=True, form="table", say=said.append)
    assert code == 0, text
    assert "watching them for 120 s" in said[0]
    assert Ledger(home).status(run.name) == "interrupted"
    assert "a lease of far without a sign of life for long; removed" in text


def test_a_study_that_cannot_be_read_is_told(finished: Finished, home: Path, call: Call) -> None:
    path = home / "studies" / finished.study / "plan.yaml"
    path.write_text(path.read_text()[:200])
    said = call("doctor", "--home", home)
    assert said.code == 1
    assert f"studies/{finished.study}/plan.yaml" in said.out
    assert "its runs are safe" in said.out


def test_where_there_is_no_home_that_is_told(tmp_path: Path, call: Call) -> None:
    said = call("doctor", "--home", tmp_path / "nowhere")
    assert (said.code, said.out) == (2, "")
    assert "there is no home at" in said.err
    with pytest.raises(RequestError):
        check_home(Ledger(tmp_path), mend=True, form="table", say=print)
