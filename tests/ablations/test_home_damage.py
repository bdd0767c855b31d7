"""Each kind of damage to a home by itself: told, mended where it can be, once.

Whatever is done to a home, its finished runs are the same bytes afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations import leases
from ablations.home_check import examine
from ablations.ledger import Ledger
from lightning_modules.checkpoint_files import FOLDER
from lightning_modules.data.cache import open_cache
from lightning_modules.data.digits import open_digits
from lightning_modules.data.items import DataSpec
from lightning_modules.files import read_json, write_json
from recipes import edit
from tests.ablations.made_up import frozen
from tests.ablations.made_up_home import RUNS, TINY, TRAINING, checkpoint, record

ASIDE = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in order: runs that finished, one that is interrupted, a study, a cache."""
    home = tmp_path_factory.mktemp("whole") / "home"
    _, ledger = frozen(home)
    for name in ("done", "twin"):
        record(ledger, name)
    results = {RUNS[name]: ledger.result(RUNS[name]) for name in ("done", "twin")}
    for result in results.values():
        del result["schema_version"]
    ledger.keep_results(TRAINING, results)
    runs = [RUNS["done"], RUNS["twin"]]
    write_json(ledger.training_folder(TRAINING) / "training.json", {"runs": runs})
    folder = ledger.begin(RUNS["left"], TINY, 2, "digits")
    for step in (10, 20):
        checkpoint(folder, step)
    ledger.finish(RUNS["left"], "interrupted", None, "stopped")
    source = open_digits(DataSpec("digits"))
    open_cache(source.validation, 8, ledger.cache, "digits-validation-8")
    write_json(ledger.cache / "speed.json", {"a": 1})
    shard = ledger.cache / "shards" / ("e3b0c44298fc1c149afbf4c8996fb924"
                                       "27ae41e4649b934ca495991b7852b855")  # fmt: skip
    shard.parent.mkdir()
    shard.write_bytes(b"")
    return home


@pytest.fixture
def ledger(whole: Path, tmp_path: Path) -> Ledger:
    """A home without the study, whose plan takes longest to read."""
    no_study = shutil.ignore_patterns("mine")
    return Ledger(Path(shutil.copytree(whole, tmp_path / "home", ignore=no_study)))


@pytest.fixture
def with_study(whole: Path, ledger: Ledger) -> Ledger:
    shutil.copytree(whole / "studies/mine", ledger.home / "studies/mine")
    return ledger


def everything(home: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(home)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in home.rglob("*")
        if path.is_file()
    }


def finished_runs(home: Path) -> dict[str, tuple[bytes, int]]:
    names = [f"runs/{RUNS[name]}/" for name in ("done", "twin")]
    kept = everything(home)
    return {name: kept[name] for name in kept if name.startswith(tuple(names))}


def told(home: Path, *, mend: bool = True) -> list[tuple[str, str]]:
    """What the doctor finds: places, and `mended`, `mendable` or `left`."""
    found = examine(Ledger(home), mend=mend, say=lambda _: None).findings
    can = {True: "mended"}
    return [
        (
            one["place"],
            can.get(one["mended"], "mendable" if "without --check" in one["done"] else "left"),
        )
        for one in found
    ]


def test_a_home_in_order_is_left_as_it_is(with_study: Ledger) -> None:
    ledger = with_study
    before = everything(ledger.home)
    assert told(ledger.home, mend=False) == told(ledger.home) == []
    assert everything(ledger.home) == before
    looked_at = examine(ledger, mend=True, say=lambda _: None).looked_at
    assert looked_at == {"runs": 3, "trainings": 1, "studies": 1, "caches": 2}


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def run(name: str, file: str = "") -> str:
    return f"runs/{RUNS[name]}/{file}".rstrip("/")


def left_over(file: str, age: float = 7200.0) -> Callable[[Path], object]:
    def damage(home: Path) -> None:
        (home / file).write_bytes(b"half of it")
        then = (home / file).stat().st_mtime - age
        os.utime(home / file, (then, then))

    return damage


def half_written(home: Path) -> None:
    (home / run("bad")).mkdir()
    (home / run("bad", "log.txt")).write_text("")


def killed(home: Path) -> None:
    Ledger(home).begin(RUNS["bad"], TINY, 3, "digits")


def lost_status(home: Path) -> None:
    (home / run("left", "status.json")).unlink()


def over(home: Path) -> None:
    checkpoint(home / "trainings" / TRAINING, 30)


def no_plan(home: Path) -> None:
    (home / "studies" / "begun").mkdir()
    (home / "studies" / "begun" / "certificates.json").write_text("{}")


CACHE = "cache/digits-validation-8.v1"
NEWEST = run("left", FOLDER) + "/20."
MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "aside, of a run": (left_over(run("done", f".result.json.{ASIDE}"), 0), run("done", ".result")),
    "aside, of the cache": (left_over(f"cache/.x.v1.npy.{ASIDE}"), "cache/.x"),
    "aside, of a checkpoint": (
        left_over(run("left", f"{FOLDER}/.new.ckpt.{ASIDE}"), 0),
        run("left", f"{FOLDER}/.new"),
    ),
    "earlier lock": (left_over(run("done", ".lock"), 0), run("done", ".lock")),
    "half-written run": (half_written, run("bad")),
    "killed run": (killed, run("bad", "status.json")),
    "status lost": (lost_status, run("left", "status.json")),
    "status cut": (lambda home: cut(home / run("left", "status.json")), run("left", "status.json")),
    "checkpoint cut": (lambda home: cut(next(home.glob(NEWEST + "*"))), NEWEST),
    "checkpoints of a training that is over": (over, f"trainings/{TRAINING}/{FOLDER}"),
    "results of a training cut": (
        lambda home: cut(home / "trainings" / TRAINING / "results.json"),
        f"trainings/{TRAINING}/results.json",
    ),
    "study without a plan": (no_plan, "studies/begun"),
    "memory": (lambda home: cut(home / "cache/speed.json"), "cache/speed.json"),
    "decoded images cut": (lambda home: cut(home / f"{CACHE}.npy"), f"{CACHE}.npy"),
    "decoded images without description": (
        lambda home: (home / f"{CACHE}.json").unlink(),
        f"{CACHE}.npy",
    ),
    "description without images": (lambda home: (home / f"{CACHE}.npy").unlink(), f"{CACHE}.json"),
    "shard": (lambda home: next((home / "cache/shards").iterdir()).write_bytes(b"x"), "cache/sha"),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_can_be_mended_is_mended_once(name: str, ledger: Ledger) -> None:
    damage, where = MENDED[name]
    kept = finished_runs(ledger.home)
    damage(ledger.home)
    before = everything(ledger.home)
    (found,) = told(ledger.home, mend=False)
    assert found[0].startswith(where) and found[1] == "mendable"
    assert everything(ledger.home) == before
    assert told(ledger.home) == [(found[0], "mended")]
    assert told(ledger.home) == []
    assert finished_runs(ledger.home) == kept
    assert not list(ledger.home.rglob("lease.*"))


def test_what_was_mended_goes_on(ledger: Ledger) -> None:
    for damage in (killed, lost_status, MENDED["checkpoint cut"][0], no_plan):
        damage(ledger.home)
    told(ledger.home)
    assert {name: ledger.status(run) for name, run in RUNS.items()} == {
        "done": "finished", "twin": "finished", "left": "interrupted", "bad": "interrupted",
    }  # fmt: skip
    kept = (ledger.run_folder(RUNS["left"]) / FOLDER).iterdir()
    assert [path.name.partition(".")[0] for path in kept] == ["10"]
    assert ledger.studies() == []


def test_what_is_around_a_plan_is_mended(with_study: Ledger) -> None:
    kept = (with_study.home / "studies/mine/plan.yaml").read_bytes()
    for name in (f".plan.yaml.{ASIDE}", "packing.json"):
        left_over(f"studies/mine/{name}")(with_study.home)
    left_over(f"studies/mine/.report.md.{ASIDE}", 60)(with_study.home)  # perhaps being written
    assert {state for _, state in told(with_study.home)} == {"mended"}
    assert told(with_study.home) == []
    names = {path.name for path in (with_study.home / "studies/mine").iterdir()}
    assert names == {"plan.yaml", "plan.json", f".report.md.{ASIDE}"}
    assert (with_study.home / "studies/mine/plan.yaml").read_bytes() == kept


LOST = [
    (file, damage)
    for file in ("predictions.npz", "correct.npy", "recipe.yaml", "environment.json")
    for damage in (cut, Path.unlink)
]


@pytest.mark.parametrize(("file", "damage"), LOST)
@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_damaged_finished_run_is_told_and_kept(
    file: str, damage: Callable[[Path], object], is_recorded: bool, ledger: Ledger
) -> None:
    path = ledger.home / run("done", file)
    if not is_recorded and (file, damage) in (LOST[3], LOST[4], LOST[6], LOST[7]):
        return  # it does not show by itself
    if not is_recorded:  # as earlier versions left it
        status = json.loads(path.with_name("status.json").read_text())
        del status["files"]
        write_json(path.with_name("status.json"), status)
    damage(path)
    before = everything(ledger.home)
    assert told(ledger.home, mend=False) == told(ledger.home) == [(run("done", file), "left")]
    assert everything(ledger.home) == before


def test_a_result_is_written_again_from_its_training(ledger: Ledger) -> None:
    before = {name: found[0] for name, found in finished_runs(ledger.home).items()}
    cut(ledger.home / run("done", "result.json"))
    (ledger.home / run("twin", "result.json")).unlink()
    assert [state for _, state in told(ledger.home)] == ["mended", "mended"]
    assert {name: found[0] for name, found in finished_runs(ledger.home).items()} == before


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_finished_run_whose_status_is_lost_is_proven(
    damage: Callable[[Path], object], ledger: Ledger
) -> None:
    before = finished_runs(ledger.home)
    path = ledger.home / run("done", "status.json")
    damage(path)
    assert told(ledger.home) == [(run("done", "status.json"), "mended")]
    after = finished_runs(ledger.home)
    assert ledger.status(RUNS["done"]) == "finished"
    changed = {name for name in before if before[name][0] != after[name][0]}
    assert changed == {run("done", "status.json")}
    damage(path)
    shutil.copy(ledger.home / run("twin", "recipe.yaml"), path.with_name("recipe.yaml"))
    assert told(ledger.home) == [(run("done", "status.json"), "left")]  # it is another run's


def test_a_run_killed_before_its_status_has_its_training_s_result(ledger: Ledger) -> None:
    path = ledger.home / run("done", "status.json")
    write_json(path, {**read_json(path), "status": "running", "training": TRAINING})
    (ledger.home / run("done", "result.json")).unlink()
    assert told(ledger.home) == [(run("done", "status.json"), "mended")]
    assert ledger.status(RUNS["done"]) == "finished"


@pytest.mark.parametrize("content", ["", "arms: [", "!!python/object/apply:os.getcwd []"])
def test_a_plan_that_cannot_be_read_is_told(content: str, ledger: Ledger) -> None:
    (ledger.home / "studies/mine").mkdir()
    (ledger.home / "studies/mine/plan.yaml").write_text(content)
    assert told(ledger.home) == [("studies/mine/plan.yaml", "left")]


@pytest.fixture
def ended_lease(ledger: Ledger) -> Path:
    folder = ledger.run_folder(RUNS["left"])
    program = f"from ablations.leases import *; assert Claim(Path({str(folder)!r})).attempt()"
    subprocess.run([sys.executable, "-c", program], check=True)
    (path,) = leases.leases_of(folder)
    return path


def test_the_lease_of_a_process_that_ended_goes(ended_lease: Path, ledger: Ledger) -> None:
    name = str(ended_lease.relative_to(ledger.home))
    assert told(ledger.home, mend=False) == [(name, "mendable")]
    assert told(ledger.home) == [(name, "mended")]
    assert told(ledger.home) == []


def test_the_lease_of_a_silent_machine_goes_when_time_has_told(
    ended_lease: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.leases.STALE_SECONDS", 0.2)
    monkeypatch.setattr("ablations.home_check._LOOK_SECONDS", 0.1)
    about = json.loads(ended_lease.read_text())
    ended_lease.write_text(json.dumps({**about, "host": "another"}))
    name = str(ended_lease.relative_to(ledger.home))
    os.utime(ended_lease, (1, 1))
    assert told(ledger.home, mend=False) == [(name, "mendable")]  # only time tells
    assert told(ledger.home) == [(name, "mended")]


@pytest.fixture
def at_work(ledger: Ledger) -> Iterator[str]:
    """Damage in what this process holds."""
    killed(ledger.home)
    left_over(run("bad", f".status.json.{ASIDE}"))(ledger.home)
    cut(ledger.home / f"{CACHE}.npy")
    lock = (ledger.home / f"{CACHE}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with ledger.claim(RUNS["bad"], lambda: None):
        yield run("bad")
    lock.close()


def test_what_is_held_is_never_touched(at_work: str, ledger: Ledger) -> None:
    before = everything(ledger.home)
    for mend in (False, True):
        found = examine(ledger, mend=mend, say=lambda _: None)
        assert (found.findings, found.busy) == ([], [at_work])
    assert everything(ledger.home) == before


def test_young_files_and_links_and_strangers_are_left_alone(ledger: Ledger) -> None:
    left_over(f"cache/.x.v1.npy.{ASIDE}", 60)(ledger.home)
    left_over("cache/notes.json")(ledger.home)
    elsewhere = ledger.home.parent / "elsewhere"
    elsewhere.mkdir()
    left_over(f"../elsewhere/.x.{ASIDE}")(ledger.home)
    (ledger.home / run("bad")).symlink_to(elsewhere)
    (ledger.home / "runs" / "my notes").mkdir()
    before = everything(ledger.home)
    assert told(ledger.home) == []
    assert everything(ledger.home) == before and list(elsewhere.iterdir())


NEWER = {"schema_version": 2, "status": "finished"}


@pytest.mark.parametrize("result", [{"schema_version": 2, "top1": 1.0}, "{"])
@pytest.mark.parametrize("status", [NEWER, "{"])
def test_what_may_have_finished_is_never_forgotten(
    status: object, result: object, ledger: Ledger
) -> None:
    """A run of a later version, or one whose result cannot be read, is not made again unasked."""
    for name, value in (("status", status), ("result", result)):
        text = value if isinstance(value, str) else json.dumps(value)
        (ledger.home / run("done", f"{name}.json")).write_text(text)
    before = everything(ledger.home)
    assert told(ledger.home) == [(run("done", "status.json"), "left")]
    assert everything(ledger.home) == before


def test_weights_without_a_status_are_kept(ledger: Ledger) -> None:
    folder = ledger.home / run("done")
    (folder / "weights.pt").write_bytes(b"weeks of work")
    for name in ("status.json", "result.json", "predictions.npz"):
        (folder / name).unlink()
    assert told(ledger.home) == [(run("done", "status.json"), "mended")]
    assert ledger.status(RUNS["done"]) == "interrupted"
    assert (folder / "weights.pt").exists()


def test_a_run_that_is_made_again_has_no_record_of_the_attempt_before(ledger: Ledger) -> None:
    changed = edit(TINY, {"optim.lr": 0.5})
    folder = record(ledger, "bad", changed)
    assert "files" in json.loads((folder / "status.json").read_text())
    ledger.begin(RUNS["bad"], changed, 3, "digits")
    assert "files" not in json.loads((folder / "status.json").read_text())
