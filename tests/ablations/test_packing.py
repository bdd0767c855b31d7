import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations import packing
from ablations.launch.job import Job
from ablations.launch.local import LocalPool
from ablations.ledger import Ledger
from ablations.packing import (
    Slots,
    at_once,
    bounded,
    candidates,
    choose_slots,
    fastest,
    free_memory,
    longest_first,
    pays,
    remember,
    slots_of,
    try_out,
)
from ablations.proving import prove
from ablations.request import Request
from ablations.study import Options, make_jobs, plan_study
from lightning_modules import Execution
from lightning_modules.footprint import Footprint
from recipes import edit, load

GB = 10**9
FOUR = Slots(count=4, devices=("cpu",), threads=1)
QUICK = edit(load("tiny"), {"optim.epochs": 1, "optim.warmup_epochs": 0})


def job(arm: str, home: Path) -> Job:
    execution = Execution(cache=home / "cache", device="cpu")
    return Job(
        run=arm, arm=arm, seed=0, recipe=QUICK, data="digits", home=home, execution=execution
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalPool]:
    with LocalPool(2, ("cpu",), 1) as made:
        yield made


def test_the_longest_runs_start_first_and_no_more_than_fit(pool: LocalPool, tmp_path: Path) -> None:
    jobs = [job(arm, tmp_path) for arm in ("short", "long", "again", "longest", "near")]
    expected = {"short": 1.0, "long": 20.0, "again": 1.0, "longest": 90.0, "near": 1.01}
    started, running = [], 0
    for event in pool.run(longest_first(jobs, expected), 1):
        if event.what == "started":
            assert isinstance(event.job, Job)
            started.append(event.job.arm)
        running += (event.what == "started") - (event.what == "ended")
        assert running <= 1
    assert started == ["longest", "long", "short", "again", "near"]


def test_every_packing_is_tried_on_as_many_workers(pool: LocalPool, tmp_path: Path) -> None:
    tries = [dataclasses.replace(FOUR, count=count, threads=3 - count) for count in (2, 1)]
    execution = Execution(cache=tmp_path, device="cpu")
    paces = try_out(pool, QUICK, execution, tries, lead=0.5, window=0.3)
    assert list(paces) == tries
    assert all(pace > 0 for pace in paces.values())
    assert pool.slots == 1
    pool.resize(2, 1)
    assert pool.slots == 2
    # What cannot be built is no packing.
    broken = edit(QUICK, {"data.dataset": "cifar10"})
    assert try_out(pool, broken, execution, tries[:1], lead=0.0, window=0.1) == {}


def test_scarce_memory_changes_the_order_of_looks_and_no_certificate(
    pool: LocalPool, tmp_path: Path
) -> None:
    request = Request(base="tiny", add="ls,wd(1e-3)", design="one-at-a-time", seeds=1)
    prepared = plan_study(request, tmp_path / "home", device="cpu")
    certificates = []
    for name, free in (("plenty", None), ("scarce", 1)):
        ledger = Ledger(tmp_path / name)
        jobs = make_jobs(prepared, prepared.plan.runs, ledger, Options(device="cpu"))
        executions = {one.arm: one.execution for one in jobs}
        found = prove(pool, prepared.plan, executions, ledger, 1, print, free)
        certificates.append([one.plain() for one in found])
    assert certificates[0] == certificates[1]


def test_runs_at_once_fit_into_memory() -> None:
    used = Footprint(host=2 * GB)
    for free in range(1, 40):
        fits = bounded(FOUR, used, None, free * GB)
        assert fits.count * used.host * packing.MARGIN <= free * GB or fits.count == 1
        assert fits.count == 4 or (fits.count + 1) * used.host * packing.MARGIN > free * GB
    assert bounded(FOUR, None, None, 1) == bounded(FOUR, used, None, None) == FOUR
    gpus = Slots(count=8, devices=("cuda:0", "cuda:1"), threads=1)
    used = Footprint(host=GB, device=10 * GB)
    assert bounded(gpus, used, 40 * GB, 100 * GB).count == 6
    assert bounded(gpus, used, 40 * GB, 3 * GB).count == 2
    assert at_once(4, 0, 1) == 4


def test_packings_tried_share_cores_and_need_runs() -> None:
    rule = Slots(count=8, devices=("cpu",), threads=1)
    shapes = [(one.count, one.threads) for one in candidates(rule, 100, 8)]
    assert shapes == [(8, 1), (4, 2), (2, 4)]
    assert candidates(rule, 1, 8) == [rule]
    gpus = Slots(count=2, devices=("cuda:0", "cuda:1"), threads=8)
    assert [one.count for one in candidates(gpus, 100, 16)] == [2, 4, 8]
    assert [one.count for one in candidates(gpus, 4, 16)] == [2, 4]
    assert all(one.count * one.threads <= 16 for one in candidates(gpus, 100, 16))


def test_another_packing_is_taken_only_where_it_is_clearly_faster() -> None:
    rule, other = FOUR, dataclasses.replace(FOUR, count=2, threads=2)
    assert fastest({rule: 100.0, other: 105.0}) == rule
    assert fastest({rule: 100.0, other: 150.0}) == other
    assert not pays(60.0, 2)
    assert pays(3600.0, 2)
    assert not pays(3600.0, 1)


def test_a_study_goes_on_with_the_threads_that_it_was_begun_with(tmp_path: Path) -> None:
    ledger, options = Ledger(tmp_path), Options(device="cpu")
    rule = choose_slots(8, options)
    assert slots_of("mine", 8, options, ledger) == rule
    chosen = Slots(count=1, devices=("cpu",), threads=rule.threads + 1)
    remember("mine", chosen, {rule: 1.0, chosen: 2.0}, ledger)
    assert slots_of("mine", 8, options, ledger) == chosen
    remember("mine", rule, {}, ledger)  # of a later command: what was begun stays
    assert slots_of("mine", 8, options, ledger) == chosen
    own = slots_of("mine", 8, dataclasses.replace(options, slots=3), ledger)
    assert (own.count, own.threads) == (3, chosen.threads)  # the user's number wins
    assert slots_of("other", 8, options, ledger) == rule


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 5 kB\n"}, 5 * 1024),
        (  # version 2, where a group above has the limit
            {
                "proc/meminfo": "MemAvailable: 5000 kB\n",
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "100\n",
                "sys/fs/cgroup/a/memory.max": "3000\n",
                "sys/fs/cgroup/a/memory.current": "1000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 900\ninactive_file 50\n",
            },
            2050,
        ),
        (  # version 1, in a container that sees its own group as the root
            {
                "proc/meminfo": "MemAvailable: 5000 kB\n",
                "proc/self/cgroup": "4:memory:/docker/1\n3:cpu:/\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "500\n",
                "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 10\n",
            },
            1510,
        ),
    ],
    ids=["unknown", "machine", "version 2", "version 1"],
)
def test_free_memory_is_that_of_the_machine_and_of_the_container(
    files: dict[str, str], free: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path) == free
