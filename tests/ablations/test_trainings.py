"""Runs of one trajectory come from one training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablations.designs import lay_out
from ablations.ledger import Ledger, run_id
from ablations.plans import Run
from ablations.request import Request
from ablations.study import Options, make_jobs, plan_study
from ablations.trainings import counted, shared_jobs, training_id, trainings
from recipes import load, parse_levels

SPEC = "ls,ema,ra,se,resnetd"


def _runs(layout, seeds):
    return [
        Run(id=run_id(arm.recipe, "data", seed), arm=arm.name, seed=seed)
        for seed in range(seeds)
        for arm in layout.arms
    ]


def test_eighteen_arms_of_three_designs_need_eleven_trainings():
    """Six each of ladder, one at a time and leave one out over five components, as if separate."""
    base, levels = load("tiny"), parse_levels(SPEC)
    arms = {}
    count = 0
    for design in ("ladder", "one-at-a-time", "leave-one-out"):
        layout = lay_out(design, base, levels)
        aside = {"ladder": "se,resnetd", "leave-one-out": "base"}.get(design)  # for the split
        own = [arm for arm in layout.arms if arm.name != aside]
        count += len(own)
        arms |= {arm.name: arm for arm in own}
    assert count == 18
    layout = replace(layout, arms=tuple(arms.values()))
    runs = _runs(layout, 2)
    groups = trainings(layout, runs)
    assert len(groups) == 2 * 11
    assert sorted(run.id for group in groups for run in group) == sorted(run.id for run in runs)
    assert counted(len(runs), len(groups)) == f"{len(runs)} runs from 22 trainings"


def test_a_training_is_named_by_what_it_trains_on_what_with_which_seed():
    layout = lay_out("one-at-a-time", load("tiny"), parse_levels("ema,ls"))
    base, ema, ls = _runs(layout, 1)
    names = {
        training_id(layout, group, data)
        for group, data in (((base,), "a"), ((ema,), "a"), ((ls,), "a"), ((base,), "b"))
    }
    assert len(names) == 3
    assert training_id(layout, (replace(base, seed=1),), "a") not in names


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    settings = ("optim.epochs=2", "optim.warmup_epochs=0", "data.train_fraction=0.1")
    request = Request(base="tiny", add="ls,ema", seeds=1, settings=settings)
    return plan_study(request, home), home


def _jobs(prepared, home):
    ledger = Ledger(home)
    plan = prepared.plan
    jobs = make_jobs(prepared, plan.runs, ledger, Options(track="none"))
    return shared_jobs(plan, plan.runs, jobs)


def test_a_job_holds_the_runs_of_its_training(prepared):
    jobs = _jobs(*prepared)
    assert [[one.arm for one in job.all] for job in jobs] == [["base"], ["ls", "ls,ema"]]
    assert [bool(job.training) for job in jobs] == [False, True]


def test_shared_runs_equal_unshared_ones_and_each_is_in_the_ledger(prepared, tmp_path):
    from ablations.launch.job import perform

    plan, home = prepared
    for job in _jobs(plan, home):
        on_cpu = replace(job.execution, device="cpu", threads=1)
        ended = perform(replace(job, execution=on_cpu), lambda _: None)
        assert [status for status, *_ in ended] == ["finished"] * len(job.all)
    shared = Ledger(home)
    alone = Ledger(tmp_path)
    for job in make_jobs(plan, plan.plan.runs, alone, Options(track="none")):
        on_cpu = replace(job.execution, device="cpu", threads=1)
        ((status, value, _),) = perform(replace(job, execution=on_cpu), lambda _: None)
        run = Run(id=job.run, arm=job.arm, seed=job.seed)
        assert (status, value) == ("finished", shared.outcome(run).value)
        folders = [ledger.run_folder(job.run) for ledger in (shared, alone)]
        for name in ("correct.npy", "minival_correct.npy"):
            first, second = (np.load(folder / name) for folder in folders)
            assert np.array_equal(first, second)
        curves = [(folder / "metrics.jsonl").read_text() for folder in folders]
        assert curves[0] == curves[1]
        assert (folders[0] / "certificate.json").exists()
        assert (folders[0] / "environment.json").exists()
    results = [shared.result(run.id) for run in plan.plan.runs]
    assert len({result["training"] for result in results}) == 2  # one, and none of the base
    trained = results[1]["training"]
    assert (shared.training_folder(trained) / "log.txt").exists()
    assert results[2]["seconds"] < results[1]["seconds"]
