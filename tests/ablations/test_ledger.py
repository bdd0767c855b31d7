from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ablations import RequestError
from ablations.ledger import TERMINAL, Ledger, run_id
from ablations.plans import Run
from recipes import edit, load, loads

RECIPE = load("tiny")
RESULT: dict[str, Any] = {"top1": 90.0, "seconds": 1.5, "params": 1000, "macs": 2000}
RUN = Run(id="0123456789", arm="base", seed=0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "home")
    made.check_writable()
    return made


def begin(ledger: Ledger) -> Path:
    return ledger.begin(RUN.id, RECIPE, 0, "digits")


def finish(ledger: Ledger, status: str = "finished") -> Path:
    folder = begin(ledger)
    ledger.finish(RUN.id, status, RESULT if status == "finished" else None, "")
    return folder


def test_the_identity_is_everything_that_can_change_a_result() -> None:
    base = run_id(RECIPE, "data", 0)
    assert base == run_id(RECIPE, "data", 0)
    others = {
        run_id(edit(RECIPE, {"optim.lr": 0.3}), "data", 0),
        run_id(RECIPE, "other", 0),
        run_id(RECIPE, "data", 1),
        run_id(RECIPE, "data", 0, ["parent"]),
    }
    assert len(others | {base}) == 5


def test_a_run_goes_from_missing_over_running_to_its_end(ledger: Ledger) -> None:
    assert ledger.status(RUN.id) == "missing"
    folder = begin(ledger)
    assert ledger.status(RUN.id) == "running"
    assert loads((folder / "recipe.yaml").read_text()) == RECIPE
    ledger.finish(RUN.id, "finished", RESULT, "")
    outcome = ledger.outcome(RUN)
    assert (outcome.status, outcome.value, outcome.seconds) == ("finished", 90.0, 1.5)
    assert outcome.cost["params"] == 1000
    assert outcome.cost["peak_memory_bytes"] is None


def test_what_the_sanity_gates_read_is_given_on_and_may_be_missing(ledger: Ledger) -> None:
    known = {"loss": 0.5, "evaluated_images": 599, "chance_top1": 10.2}
    known |= {"train_seconds": 1.0, "data_seconds": None}
    begin(ledger)
    ledger.finish(RUN.id, "finished", {**RESULT, **known}, "")
    outcome = ledger.outcome(RUN)
    assert {name: getattr(outcome, name) for name in known} == known
    for damaged in ("much", [1], None):
        ledger.finish(RUN.id, "finished", {**RESULT, "data_seconds": damaged}, "")
        outcome = ledger.outcome(RUN)  # of an earlier version too: none of them is there
        assert {getattr(outcome, name) for name in known} == {None}


def test_minival_of_an_older_result_is_the_end_of_its_curve_or_not_known(ledger: Ledger) -> None:
    folder = finish(ledger)
    assert ledger.outcome(RUN).minival is None
    ledger.finish(RUN.id, "finished", {**RESULT, "epochs": 2}, "")
    rows = [{"epoch": 1, "val/top1": 80.0}, {"epoch": 2, "val/top1": 90.5}]
    curve = folder / "metrics.jsonl"
    curve.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert ledger.outcome(RUN).minival == 90.5
    for rows_left in (rows[:1], [*rows[:1], {"epoch": 2}], [], [None]):  # no point at the end
        curve.write_text("".join(f"{json.dumps(row)}\n" for row in rows_left))
        assert ledger.outcome(RUN).minival is None
    ledger.finish(RUN.id, "finished", {**RESULT, "minival_top1": 91.0}, "")
    assert ledger.outcome(RUN).minival == 91.0


@pytest.mark.parametrize("status", [*sorted(TERMINAL - {"finished"}), "interrupted"])
def test_a_bad_end_has_no_value_and_keeps_its_message(ledger: Ledger, status: str) -> None:
    begin(ledger)
    ledger.finish(RUN.id, status, None, "why")
    outcome = ledger.outcome(RUN)
    assert (outcome.status, outcome.value, outcome.error) == (status, None, "why")


def test_a_run_that_never_began_can_fail(ledger: Ledger) -> None:
    ledger.finish(RUN.id, "failed", None, "its worker died")
    assert ledger.status(RUN.id) == "failed"


def test_every_file_has_a_schema_version(ledger: Ledger) -> None:
    folder = finish(ledger)
    for path in folder.glob("*.json"):
        assert json.loads(path.read_text())["schema_version"] == 1


def test_only_a_run_that_did_not_finish_is_forgotten(ledger: Ledger) -> None:
    finish(ledger, "failed")
    ledger.forget(RUN.id)
    assert ledger.status(RUN.id) == "missing"
    ledger.forget(RUN.id)
    finish(ledger)
    with pytest.raises(RequestError, match="is finished and is kept"):
        ledger.forget(RUN.id)
    assert ledger.status(RUN.id) == "finished"


@pytest.mark.parametrize("name", ["status.json", "result.json"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'{"schema_version": 2, "status": "finished"}', "schema version 2.*reads.*1"),
        (b'{"status": "finished"}', "schema version None"),
    ],
)
def test_damage_and_other_versions_are_told_with_the_file(
    ledger: Ledger, name: str, text: bytes, words: str
) -> None:
    path = finish(ledger) / name
    path.write_bytes(text)
    with pytest.raises(RequestError, match=words) as caught:
        ledger.outcome(RUN)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("top1", [None, float("nan"), float("inf"), "90"])
def test_a_finished_run_without_an_accuracy_is_damaged(ledger: Ledger, top1: Any) -> None:
    path = finish(ledger) / "result.json"
    path.write_text(json.dumps({"schema_version": 1, **RESULT, "top1": top1}))
    with pytest.raises(RequestError, match=r"result.json is damaged: .* its accuracy is"):
        ledger.outcome(RUN)


def test_a_result_that_is_gone_is_damage(ledger: Ledger) -> None:
    (finish(ledger) / "result.json").unlink()
    with pytest.raises(RequestError, match=r"result.json is damaged"):
        ledger.outcome(RUN)


def test_a_kill_at_any_moment_leaves_whole_files(ledger: Ledger) -> None:
    program = textwrap.dedent(f"""
        from pathlib import Path
        from ablations.ledger import Ledger
        from recipes import load
        ledger, recipe, turn = Ledger(Path({str(ledger.home)!r})), load("tiny"), 0
        print("ready", flush=True)
        while True:
            turn += 1
            ledger.begin("{RUN.id}", recipe, 0, "digits")
            ledger.finish("{RUN.id}", "finished", {RESULT!r}, "x" * 100_000)
    """)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        path = ledger.run_folder(RUN.id) / "result.json"
        while not path.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert ledger.outcome(RUN).status in ("running", "finished")
        assert ledger.result(RUN.id)["top1"] == 90.0


class WaitedLongEnoughError(Exception):
    pass


def test_a_run_is_held_by_one_at_a_time(ledger: Ledger) -> None:
    def wait() -> None:
        raise WaitedLongEnoughError

    with ledger.claim(RUN.id, wait):
        with pytest.raises(WaitedLongEnoughError), Ledger(ledger.home).claim(RUN.id, wait):
            pass
        with ledger.claim("another", wait):
            pass
    with ledger.claim(RUN.id, wait):
        pass


def test_a_folder_that_is_removed_while_it_is_waited_for_is_made_again(ledger: Ledger) -> None:
    folder = ledger.run_folder("a1")
    with ledger.claim("a1", lambda: None), ledger.claim("a1", lambda: shutil.rmtree(folder)):
        assert ledger.is_held("a1")


def test_the_hold_of_a_killed_process_ends(ledger: Ledger) -> None:
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from ablations.ledger import Ledger
        with Ledger(Path({str(ledger.home)!r})).claim("{RUN.id}", print):
            print("held", flush=True)
            time.sleep(600)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    calls = []

    def wait() -> None:
        calls.append(1)
        process.kill()
        process.wait()

    with ledger.claim(RUN.id, wait):
        pass
    assert len(calls) == 1
    process.stdout.close()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/tmp", "a\\b", "a\0b", "a\nb", "-rf", "x" * 300]
)
def test_a_name_cannot_leave_the_home(ledger: Ledger, name: str) -> None:
    with pytest.raises(RequestError, match="use letters, digits"):
        ledger.study_folder(name)


@pytest.mark.parametrize("name", ["tiny-ladder-0a1b2c3d", "my_study.2", "größe", "x" * 200])
def test_a_plain_name_stays_in_the_home(ledger: Ledger, name: str) -> None:
    assert ledger.study_folder(name).parent == ledger.home / "studies"
    ledger.study_folder(name).mkdir()


@pytest.mark.parametrize("below", ["", "home"])
def test_a_home_that_is_a_file_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file.* cannot be written: .*--home DIR"):
        Ledger(tmp_path / "file" / below).check_writable()


def test_a_home_on_a_file_system_that_takes_nothing_is_told() -> None:
    with pytest.raises(RequestError, match=r"/proc/ablate cannot be written"):
        Ledger(Path("/proc/ablate")).check_writable()


def test_a_home_in_the_current_folder_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(Path("home"))
    monkeypatch.chdir("/")
    assert ledger.home == tmp_path / "home"


def test_a_run_is_found_by_how_it_begins(ledger: Ledger) -> None:
    for run in ("aaaa1", "aaaa2", "bbbb1"):
        ledger.begin(run, RECIPE, 0, "digits")
    assert ledger.find_run("bbbb") == "bbbb1"
    assert ledger.find_run("aaaa2") == "aaaa2"
    assert ledger.find_run("cccc") is None
    assert ledger.find_run("bbb") is None  # too short to be meant
    with pytest.raises(RequestError, match="'aaaa' begins 2 runs: aaaa1, aaaa2"):
        ledger.find_run("aaaa")
