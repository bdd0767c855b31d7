"""What is wrong with one run, or with who publishes it, and what becomes of the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ablations.publishing.journal import OFFLINE, ONLINE, Journal
from ablations.publishing.shown import identity_of, tracked_run
from lightning_modules.tracking import Patience, WandbPlace, open_wandb
from tests.ablations.publishing.conftest import EPOCHS, Study, targets
from tests.ablations.publishing.seen import assert_whole, on_server
from tests.stub_wandb import StubServer


def test_a_run_that_cannot_be_read_stops_no_other(study: Study) -> None:
    study.make()
    bad = study.runs[1]
    path = study.ledger.run_folder(bad.id) / "metrics.jsonl"
    text = path.read_text()
    path.unlink()
    path.mkdir()
    made = study.publish("wandb,csv")
    for tracker, how in (("wandb", "offline"), ("csv", "written")):
        assert made.made[tracker, how] == len(study.runs) - 1
        assert made.trouble[tracker].startswith(f"{bad.arm} seed {bad.seed}: IsADirectoryError")
    assert made.left() == len(study.runs)
    # Its failure is known: no command begins for it again, until it ends otherwise or is asked for.
    journal = Journal(study.ledger.home / "tracking/studies/mine")
    record = study.ledger.record(bad.id)
    for target in targets("wandb,csv"):
        assert journal.lacks(target, bad.id, record) and not journal.waits(target, bad.id, record)
        assert journal.waits(target, bad.id, {**record, "ended": record["ended"] + 1})
    path.rmdir()
    path.write_text(text)
    again = study.publish("wandb,csv")
    assert not again.made and not again.trouble
    study.ledger.begin(bad.id, study.plan.layout.arm(bad.arm).recipe, bad.seed, study.plan.data)
    study.end(bad)
    again = study.publish("wandb,csv")
    assert again.made["wandb", "offline"] == again.made["csv", "written"] == 1


def test_a_run_that_the_server_refuses_stops_no_other(study: Study, server: StubServer) -> None:
    study.make()
    bad = study.runs[1]
    server.refused = {identity_of("mine", bad.id)}
    made = study.publish(online=True)
    assert made.online and made.made["wandb", ONLINE] == len(study.runs) - 1
    assert made.made["wandb", OFFLINE] == made.left() == len(study.folders()) == 1
    server.refused = set()
    study.publish(online=True, uploads=True)
    assert_whole(server, study)


def test_a_run_made_again_after_its_end_is_another_one_online(
    study: Study, server: StubServer
) -> None:
    run = study.runs[0]
    study.begin(run, 2)
    study.end(run, "failed", "RuntimeError: boom")
    study.publish(online=True)
    study.ledger.forget(run.id)
    study.begin(run, 1)
    study.publish(online=True)  # and is interrupted: that is no end
    study.make(run)
    study.publish(online=True)
    assert not study.publish(online=True).made
    first, second = (server.runs[identity_of("mine", run.id, number)] for number in (1, 2))
    assert len(server.runs) == 2
    assert (len(first.history), first.summary["outcome/status"]) == (2, "failed")
    assert (second.lines_received, second.exit_code) == (EPOCHS, 0)
    assert second.bucket["displayName"].endswith(" attempt 2")
    assert second.config["attempt"]["value"] == 2


def test_who_lost_the_folder_ends_no_run_of_another(study: Study, server: StubServer) -> None:
    run = study.runs[0]
    study.begin(run, 2)
    publisher = study.publisher(online=True)
    publisher.look()
    work = study.ledger.home / "tracking/studies/mine/work"
    [tracker] = publisher._open.values()
    publisher.close(lost=True)
    found = on_server(server, study, run)
    assert found.exit_code is None and "outcome/status" not in found.summary
    assert work.exists()  # of the other one by now
    tracker.finalize(False)  # for the client's threads


@pytest.mark.slow
def test_names_that_are_too_long_for_the_service_arrive_cut(
    tmp_path: Path, server: StubServer
) -> None:
    from tests.ablations.made_up import frozen

    study = Study(*frozen(tmp_path / "long", study="s" * 140, until=None, design="ladder", seeds=1))
    run = study.runs[0]
    name = ",".join(f"wd(value={number}e-4)" for number in range(20))
    arm = dataclasses.replace(study.plan.layout.arms[0], name=name)
    layout = dataclasses.replace(study.plan.layout, arms=(arm,))
    about = tracked_run(
        dataclasses.replace(study.plan, layout=layout), dataclasses.replace(run, arm=name)
    )
    place = WandbPlace(project="ablate")
    made = open_wandb(about, tmp_path / "w", place, online=True, patience=Patience())
    made.finalize(True)
    [found] = server.runs.values()
    assert len(found.bucket["jobType"]) == 64
