"""What is handed to SLURM and what is asked of it, without a cluster; with one: `test_slurm.py`."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.errors import RequestError
from ablations.launch import slurm_node, slurm_options, submissions
from ablations.launch import slurm_queue as queue
from ablations.launch.job import Job
from ablations.launch.pool import Event
from ablations.launch.slurm import SlurmCluster
from ablations.launch.slurm_options import Slurm, check_home, check_installed
from ablations.leases import Claim
from ablations.ledger import Ledger
from lightning_modules import Execution
from recipes import edit, hook, load
from tests.ablations.conftest import Said

TINY = load("tiny")
NAMES = ("a b", "a;b", "$(id)", "`id`", "a\nb", "a'b", 'a"b', "-a", "", "a%j", "a\\b", "ä", "a\n")


def job(home: Path, run: str = "r", **more: Any) -> Job:
    about: dict[str, Any] = {"recipe": TINY, "execution": Execution(device="cpu")} | more
    return Job(run=run, arm="base", seed=0, data="digits", home=home, **about)


# What is asked of SLURM --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["partition", "account", "qos"])
@pytest.mark.parametrize("text", NAMES)
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"--slurm-{name} .*give"):
        Slurm(**{name: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partition", "a,"),
        ("account", "a,b"),
        *(("gpus", text) for text in ("0", "-1", "x", "a100", "a:b:1", "1 2", "1\n")),
        *(("mem", text) for text in ("0", "16 G", "16X", "G", "-1", "16G\n")),
        *(("cpus", number) for number in (0, -1, 10**6)),
        *(("time", seconds) for seconds in (0.0, 59.0, -1.0, math.inf, math.nan)),
    ],
)
def test_what_slurm_does_not_allow_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"--slurm-{name} .*give"):
        Slurm(**{name: value})


def test_what_slurm_allows_is_taken() -> None:
    Slurm(partition="gpu,gpu-long", account="lab_1", qos="high+", gpus="a100:2", mem="16G", cpus=8)
    assert Slurm(gpus="4", time=90.0).minutes == 2
    assert Slurm().minutes is None


@pytest.mark.parametrize("part", ["100%", "a\nb", "it's", 'a"b', "a\\b", "a\tb"])
def test_a_home_that_cannot_stand_in_a_batch_script_is_refused(part: str) -> None:
    with pytest.raises(RequestError, match="cannot stand in a batch script; choose another"):
        check_home(Path("/homes") / part)


def test_a_home_with_spaces_and_letters_of_any_language_is_taken() -> None:
    check_home(Path("/homes/a home, più $HOME"))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm_options, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match=r"pip install 'ablate-recipes\[slurm\]'"):
        check_installed()
    monkeypatch.setattr(slurm_options, "find_spec", lambda _: object())
    with pytest.raises(RequestError, match="there is no sbatch here"):
        check_installed()


def test_options_of_slurm_without_it_are_refused(call: Callable[..., Said]) -> None:
    said = call("--base", "tiny", "--add", "ls", "--slurm-mem", "4G")
    assert (said.code, said.out) == (2, "")
    assert "--slurm-mem goes with --launch slurm" in said.err


# What a node gets --------------------------------------------------------------------------------


def twice(images: Any, targets: Any, factor: float) -> Any:
    return images * factor, targets


def test_a_job_comes_out_as_it_went_in(tmp_path: Path) -> None:
    recipe = edit(TINY, {"custom.twice": hook("batch", twice, factor=2.0)})
    execution = Execution(data_folder=tmp_path / "dätä", cache=tmp_path, time_limit=3.5)
    first = job(tmp_path, recipe=recipe, execution=execution, training="t")
    second = job(tmp_path, "r2", execution=Execution(data_folder="org/set:part"))
    whole = dataclasses.replace(first, also=(second,), certificates=({"arm": "base", "n": 1},))
    made = submissions.create(tmp_path, "c", [second, whole])
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert made.runs == (("r2",), ("r", "r2"))
    found, places = submissions.read_job(made.folder, 1)
    assert found == whole
    assert places == sys.path
    assert submissions.read_job(made.folder, 0)[0] == second


def test_a_recipe_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])
    path = made.folder / "job-0.json"
    tree = json.loads(path.read_text())
    tree["job"]["recipe"] = tree["job"]["recipe"].replace("label_smoothing: 0", "") + "\n"
    tree["job"]["fingerprint"] = "0" * 20
    path.write_text(json.dumps(tree))
    with pytest.raises(RequestError, match="not the one that was submitted"):
        submissions.read_job(made.folder, 0)


def test_a_job_of_when_runs_logged_themselves_is_read(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])
    path = made.folder / "job-0.json"
    tree = json.loads(path.read_text())
    tracking = {"group": "s", "folder": {"path": "/x"}, "tags": ["a"], "config": {}}
    tree["job"]["execution"]["tracking"] = tracking
    path.write_text(json.dumps(tree))
    assert submissions.read_job(made.folder, 0)[0] == job(tmp_path)


def test_what_others_could_have_written_is_not_read(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])
    link = made.folder.with_name("link")
    link.symlink_to(made.folder)
    with pytest.raises(submissions.NotPrivate, match="is a link"):
        submissions.read_job(link, 0)
    (tmp_path / "elsewhere").write_text((made.folder / "job-0.json").read_text())
    (made.folder / "job-1.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        submissions.read_job(made.folder, 1)
    assert [one.folder for one in submissions.known(tmp_path)] == [made.folder]
    for mode in (0o750, 0o707):
        made.folder.chmod(mode)
        with pytest.raises(submissions.NotPrivate, match=f"the rights {mode:o}"):
            submissions.read_job(made.folder, 0)
        assert slurm_node.main(["-u", str(made.folder)]) == 2
    assert submissions.known(tmp_path) == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_not_read(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])
    os.chown(made.folder, 65534, -1)
    with pytest.raises(submissions.NotPrivate, match="belongs to user 65534"):
        submissions.read_job(made.folder, 0)


def test_jobs_that_stop_again_and_again_before_a_checkpoint_fail(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])
    ledger = Ledger(tmp_path)
    one, _ = submissions.read_job(made.folder, 0)
    for _ in range(slurm_node._MOST_IDLE - 1):
        assert not slurm_node._too_short(made.folder, 0, one, before=-1)
    assert not slurm_node._too_short(made.folder, 0, one, before=-2)  # one came further: anew
    for _ in range(slurm_node._MOST_IDLE - 1):
        assert not slurm_node._too_short(made.folder, 0, one, before=-1)
    assert ledger.status("r") == "missing"
    assert slurm_node._too_short(made.folder, 0, one, before=-1)
    assert ledger.status("r") == "failed"


# What SLURM is asked -----------------------------------------------------------------------------


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs in place of SLURM's: they note their words, and print what a test lays down."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for name in ("squeue", "scontrol", "sbatch", "scancel"):
        path = folder / name
        path.write_text(
            "#!/bin/sh\n"
            f'echo {name} "$@" "${{SQUEUE_STATES-}}" >>{folder}/said\n'
            f"if [ -e {folder}/{name}.fails ]; then cat {folder}/{name}.fails >&2; exit 1; fi\n"
            f"cat {folder}/{name}.answer 2>/dev/null || true\n"
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (folder / "scontrol.answer").write_text("ClusterName = c\nMaxArraySize = 7\n")
    return folder


def test_only_jobs_of_the_names_are_seen(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "FAILED")  # a person's habit
    (commands / "squeue.answer").write_text(
        "3_0|RUNNING|None|2026-11-28T08:00:00|ablate-a\n3_1|PENDING|Resources|N/A|ablate-a\n"
        "4|RUNNING|None|N/A|ablate-b|c\n"
    )
    assert queue.look(["ablate-a"]) == {
        "3_0": queue.Seen(state="RUNNING", reason="None", start="2026-11-28T08:00:00"),
        "3_1": queue.Seen(state="PENDING", reason="Resources", start="N/A"),
    }
    assert "FAILED" not in (commands / "said").read_text()
    assert queue.array_of("ablate-a") == 3
    assert queue.cluster() == queue.Cluster(name="c", longest_array=7)
    (commands / "squeue.fails").write_text("slurm_load_jobs error: no\n  answer\n")
    with pytest.raises(queue.QueueError, match="^squeue: slurm_load_jobs error: no answer$"):
        queue.look(["ablate-a"])


def followed(home: Path, *runs: str) -> tuple[list[Event], list[str]]:
    said: list[str] = []
    with SlurmCluster(Slurm(), home, 1, said.append) as launcher:
        return list(launcher.run([job(home, run) for run in runs])), said


def test_jobs_in_the_queue_are_followed_and_not_submitted_again(
    commands: Path, tmp_path: Path
) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path, "r1"), job(tmp_path, "r2")])
    (commands / "squeue.answer").write_text(
        f"5_0|RUNNING|None|N/A|{made.name}\n5_1|PENDING|Priority|N/A|{made.name}\n"
    )
    submissions.with_array(made, 5)
    ledger = Ledger(tmp_path)
    result = {"status": "finished", "top1": 50.0, "message": ""}
    for run in ("r1", "r2"):
        ledger.begin(run, TINY, 0, "digits")
        ledger.finish(run, "finished", result, "")
    # The second is seen as soon as it is not pending any more.
    said: list[str] = []
    events = []
    with SlurmCluster(Slurm(), tmp_path, 1, said.append) as launcher:
        for event in launcher.run([job(tmp_path, "r1"), job(tmp_path, "r2")]):
            events.append(event)
            (commands / "squeue.answer").write_text(f"5_0|COMPLETED|None|N/A|{made.name}\n")
    assert [event.slot for event in events if event.what == "ended"] == [0, 1]
    assert {event.value for event in events if event.what == "ended"} == {50.0}
    assert said == [f"2 jobs of {made.name} are in SLURM: following them"]
    assert not made.folder.exists()  # all of its runs are finished
    words = (commands / "said").read_text()
    assert "sbatch --test-only" in words
    assert "scancel" not in words


def test_who_is_killed_as_they_submit_finds_the_jobs_by_name(
    commands: Path, tmp_path: Path
) -> None:
    made = submissions.create(tmp_path, "c", [job(tmp_path)])  # and no number recorded
    (commands / "squeue.answer").write_text(f"9|RUNNING|None|N/A|{made.name}\n")
    Ledger(tmp_path).begin("r", TINY, 0, "digits")
    Ledger(tmp_path).finish("r", "failed", None, "boom")
    events, _ = followed(tmp_path, "r")
    assert [event.status for event in events if event.what == "ended"] == ["failed"]
    (known,) = submissions.known(tmp_path)  # kept, with its log
    assert known.array == 9


def test_leaving_cancels_only_what_no_other_process_follows(commands: Path, tmp_path: Path) -> None:
    made = [submissions.create(tmp_path, "c", [job(tmp_path, run)]) for run in ("r1", "r2")]
    for number, one in enumerate(made, 5):
        submissions.with_array(one, number)
    (commands / "squeue.answer").write_text(
        "".join(f"{number}|RUNNING|None|N/A|{one.name}\n" for number, one in enumerate(made, 5))
    )
    others = Claim(made[1].folder).attempt()
    assert others is not None
    said: list[str] = []
    with SlurmCluster(Slurm(), tmp_path, 1, said.append) as launcher:
        next(launcher.run([job(tmp_path, "r1"), job(tmp_path, "r2")]))
    others.release()
    lines = (commands / "said").read_text().splitlines()
    assert [line.strip() for line in lines if "scancel" in line] == [
        f"scancel --name={made[0].name} 5"
    ]


def test_jobs_outlive_a_process_that_is_only_told_to_end(commands: Path, tmp_path: Path) -> None:
    made = submissions.with_array(submissions.create(tmp_path, "c", [job(tmp_path)]), 5)
    (commands / "squeue.answer").write_text(f"5|RUNNING|None|N/A|{made.name}\n")
    said: list[str] = []
    with (
        pytest.raises(KeyboardInterrupt),
        SlurmCluster(Slurm(), tmp_path, 1, said.append) as launcher,
    ):
        next(launcher.run([job(tmp_path)]))
        raise KeyboardInterrupt("SIGTERM")
    assert "1 jobs go on in SLURM" in said[-1]
    assert "scancel 5" in said[-1]
    assert "scancel" not in (commands / "said").read_text()
