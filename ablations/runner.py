"""Carry out a plan on this machine: estimate, ask, train what is missing, show how far it is.

Longer than most, so that the course of a study, stage by stage, is read in one place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablations.errors import RequestError
from ablations.launch import on_ray, ray_options, slurm_options
from ablations.launch.job import Job
from ablations.leases import hold_if_free
from ablations.ledger import TERMINAL, Ledger
from ablations.measuring import Measured, expect, measure
from ablations.minival import check_kept
from ablations.packing import (
    Slots,
    bounded,
    candidates,
    fastest,
    free_memory,
    is_begun,
    longest_first,
    pays,
    remember,
    slots_of,
    told,
    try_out,
)
from ablations.plans import FAILED, Plan, Run
from ablations.progress import Board, duration
from ablations.report.staged import decided
from ablations.revisions import open_or_freeze
from ablations.stages import decide, runs_ahead, runs_so_far, stages_of
from ablations.study import (
    Options,
    Prepared,
    make_jobs,
    missing_runs,
    prepare_images,
)
from ablations.trainings import counted, paid, shared_jobs, trainings
from lightning_modules.data import available_cores
from recipes.leaf import nearest

if TYPE_CHECKING:
    from ablations.certificate import Certificate
    from ablations.launch.local import LocalPool
    from ablations.launch.pool import Launcher

ASK_ABOVE_SECONDS = 3600.0
LAUNCHERS = ("local", "ray", "slurm")


def carry_out(
    prepared: Prepared,
    ledger: Ledger,
    options: Options,
    *,
    say: Callable[[str], None],
    agree: Callable[[str], bool],
    begun: Callable[[], None] = lambda: None,
) -> int:
    """Freeze the plan, train what the ledger lacks and return how many runs were made.

    A plan that decides by itself is carried out stage by stage, by the same workers; every decision
    is written before its runs start. What can be known to be wrong is told before the plan is
    frozen, so that nothing is left of it. `begun` is called once the first workers are there and
    the plan is frozen.

    Raises:
        KeyboardInterrupt: the user stopped; what had finished is kept.
        RequestError: the user did not agree to a long plan, its first steps fail, or runs of an
            earlier version lack what a choice reads.
        DataError: the data cannot be split or decoded as the plan needs it.
    """
    plan = prepared.plan
    made: set[str] = set()
    if plan.stopping is not None or plan.confirm:
        check_kept([ledger.outcome(run) for run in runs_so_far(plan, ledger).runs], ledger)
    with contextlib.ExitStack() as stack:
        crew: Crew | None = None
        while True:
            now = runs_so_far(plan, ledger)
            wanted = missing_runs(now, ledger, retry=options.retry)
            runs = [run for run in wanted if run.id not in made]  # what failed here stays so
            if runs:
                crew = crew or stack.enter_context(
                    _crew(prepared, now, runs, ledger, options, say, agree)
                )
                begun()
                broken = _train(crew, prepared, now, runs, ledger, options)
                made |= {run.id for run in runs}
                if broken is not None:
                    say(f"--fail-fast: stopped as {broken}; what was being trained can go on")
                    return len(made)
            elif crew is None:
                open_or_freeze(prepared, ledger)
            if not decide(plan, ledger, retry=bool(options.retry)):
                return len(made)
            say(decided(plan, stages_of(plan, ledger)))


@dataclass(frozen=True, kw_only=True)
class Crew:
    """What makes the runs of proven arms, and what a run of each arm is expected to take."""

    launcher: Launcher
    at_once: int | None  # runs; None: as many as the launcher has room for
    certificates: list[Certificate]
    expected: dict[str, float]  # seconds by arm


@contextlib.contextmanager
def _crew(
    prepared: Prepared,
    now: Plan,
    runs: Sequence[Run],
    ledger: Ledger,
    options: Options,
    say: Callable[[str], None],
    agree: Callable[[str], bool],
) -> Iterator[Crew]:
    """Start the workers, prove the arms, ask before a long plan and freeze it."""
    from ablations.launch.local import LocalPool

    plan = prepared.plan
    local = options.launch == "local"
    here = options if local else dataclasses.replace(options, slots=None)
    slots = slots_of(plan.study, len(plan.runs), here, ledger)
    where = f"{slots.count} at once on {slots.places}" if local else options.launch
    say(
        f"study {plan.study}: {plan.size},"
        f" {len(now.runs) - len(runs)} runs done, {len(runs)} to train with {where}"
    )
    prepare_images(prepared, ledger, _decoding(say), check=True)
    say("starting the workers (they import torch once); proving each arm, timing a few steps ...")
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(
            LocalPool(slots.count, slots.devices, slots.threads, each=slots.each)
        )
        certificates = _prove(pool, prepared, ledger, options, slots, say)
        say(f"certified: {len(plan.layout.arms)} arms have what they declare and nothing else")
        expected: dict[str, float] = {}  # not known of another machine
        paces: dict[Slots, float] = {}
        if local:
            measured = measure(pool, prepared, ledger, options, slots)
            expected = expect(plan, measured)
            slots, paces = _pack(pool, prepared, runs, measured, ledger, options, slots, say)
            further = runs_ahead(plan, ledger)
            price = _price(now, runs, further, expected, slots)
            say(price.words)
            if price.most > ASK_ABOVE_SECONDS and not agree(price.words):
                raise RequestError("nothing was trained: the plan was not agreed to")
        launcher: Launcher = pool
        if not local:
            stack.close()  # the workers of here have nothing more to do
            say(f"joining where the runs are made: {options.launch} ...")
            launcher = stack.enter_context(_elsewhere(options, ledger, slots, say))
        open_or_freeze(prepared, ledger, [one.plain() for one in certificates])
        remember(plan.study, slots, paces, ledger, paid(plan.layout, expected))
        yield Crew(
            launcher=launcher,
            at_once=slots.count if local else options.slots,
            certificates=certificates,
            expected=expected,
        )


def _elsewhere(
    options: Options, ledger: Ledger, slots: Slots, say: Callable[[str], None]
) -> Launcher:
    """Return what makes the runs on other machines than this one, or beside it."""
    if options.launch == "slurm":
        from ablations.launch.slurm import SlurmCluster

        return SlurmCluster(options.slurm, ledger.home, slots.threads, say)
    return on_ray.RayCluster(
        options.ray, ledger.home, slots.threads, options.device, options.devices
    )


def _train(
    crew: Crew,
    prepared: Prepared,
    now: Plan,
    runs: Sequence[Run],
    ledger: Ledger,
    options: Options,
) -> str | None:
    """Make the runs; return, in words, the failure that ended it, where one is to."""
    jobs = shared_jobs(
        now,
        runs,
        make_jobs(prepared, runs, ledger, options, crew.certificates),
    )
    again = [run.id for run in runs if ledger.status(run.id) in TERMINAL - {"finished"}]
    for run_id in again:  # only now, so that nothing is lost by a refusal above
        with hold_if_free(ledger.run_folder(run_id)) as held:  # else it is being made already
            if held and ledger.status(run_id) in TERMINAL - {"finished"}:
                ledger.forget(run_id)
    done = len(now.runs) - len(runs)
    with Board(len(now.runs), done, crew.at_once or 0, crew.expected) as board:
        board.expect(jobs)
        for event in crew.launcher.run(longest_first(jobs, crew.expected), crew.at_once):
            board.see(event)
            if options.fail_fast and event.what == "ended" and event.status in FAILED:
                assert isinstance(event.job, Job)
                return f"{event.job.arm} seed {event.job.seed} ended {event.status}"
    return None


@dataclass(frozen=True, kw_only=True)
class _Price:
    """What a plan costs: in words, and the seconds that it may take at most."""

    words: str
    most: float


def _price(
    plan: Plan, runs: Sequence[Run], further: int, expected: Mapping[str, float], slots: Slots
) -> _Price:
    groups = trainings(plan.layout, runs)
    seconds = sum(expected[group[0].arm] for group in groups) / min(slots.count, len(groups))
    counts = counted(len(runs), len(groups))
    words = f"about {duration(seconds)} for {counts} ({_per_run(expected)})"
    if not further:
        return _Price(words=words, most=seconds)
    most = seconds + further * max(expected.values()) / slots.count
    return _Price(
        words=f"{words} now; at most {duration(most)} for {len(runs) + further}", most=most
    )


def appraise(
    prepared: Prepared, ledger: Ledger, options: Options
) -> tuple[dict[str, float], list[Certificate]]:
    """Return the estimated seconds of a run by arm, and the certificates; trains nothing.

    Raises:
        RequestError: an arm did not get its treatment, or its first steps fail.
    """
    from ablations.launch.local import LocalPool

    prepare_images(prepared, ledger, _decoding(lambda _: None), check=False)
    slots = slots_of(prepared.plan.study, len(prepared.plan.runs), options, ledger)
    count = min(slots.count, len(prepared.plan.ends))
    with LocalPool(count, slots.devices, slots.threads) as pool:
        certificates = _prove(pool, prepared, ledger, options, slots, lambda _: None)
        measured = measure(pool, prepared, ledger, options, slots)
        return expect(prepared.plan, measured), certificates


def _prove(
    pool: LocalPool,
    prepared: Prepared,
    ledger: Ledger,
    options: Options,
    slots: Slots,
    say: Callable[[str], None],
) -> list[Certificate]:
    from ablations.proving import prove

    runs = [Run(id="", arm=arm.name, seed=0) for arm in prepared.plan.layout.arms]
    executions = {job.arm: job.execution for job in make_jobs(prepared, runs, ledger, options)}
    return prove(pool, prepared.plan, executions, ledger, slots.threads, say, free_memory())


def _pack(
    pool: LocalPool,
    prepared: Prepared,
    runs: Sequence[Run],
    measured: Mapping[str, Measured],
    ledger: Ledger,
    options: Options,
    slots: Slots,
    say: Callable[[str], None],
) -> tuple[Slots, dict[Slots, float]]:
    """Return how many runs go at once, and the throughput of every packing that was tried.

    What fits into memory bounds every packing but the user's own. Others than the rule's are tried
    where the study is long enough, and was not begun with any.
    """
    if options.slots is not None:
        return slots, {}
    largest = max(measured.values(), key=lambda one: (one.used.device, one.used.host)).used
    free = free_memory()

    def fitting(one: Slots) -> Slots:
        return bounded(one, largest, largest.device_free, free)

    fits = fitting(slots)
    if fits.count < slots.count:
        need = max(largest.host, largest.device) / 1e9
        say(f"packing: {fits.words}: a run takes about {need:.1f} GB, and no more are free")
    tries = [one for one in candidates(fits, len(runs), available_cores()) if fitting(one) == one]
    expected = expect(prepared.plan, measured)
    groups = trainings(prepared.plan.layout, runs)
    seconds = sum(expected[group[0].arm] for group in groups) / fits.count
    if is_begun(prepared.plan.study, ledger) or not pays(seconds, len(tries)):
        return fits, {}
    say(f"trying {len(tries)} ways to share {', '.join(slots.devices)} ...")
    slowest = max(measured, key=lambda name: measured[name].seconds)
    (job,) = make_jobs(prepared, [Run(id="", arm=slowest, seed=0)], ledger, options)
    paces = try_out(pool, job.recipe, job.execution, tries)
    chosen = fastest(paces) if paces else fits
    pool.resize(chosen.count, chosen.threads)
    say(told(paces, chosen))
    return chosen, paces


def _per_run(expected: Mapping[str, float]) -> str:
    low, high = min(expected.values()), max(expected.values())
    return f"{duration(low)} to {duration(high)} each"


def _decoding(say: Callable[[str], None]) -> Callable[[int, int], None]:
    last = [time.monotonic()]

    def progress(done: int, total: int) -> None:
        if time.monotonic() - last[0] > 5.0:
            last[0] = time.monotonic()
            say(f"decoding images once: {done} of {total}")

    return progress


def check_options(launch: str, devices: int, slots: int | None, device: str) -> None:
    """Check what can be known before a plan is made.

    Raises:
        RequestError: a launcher, number of devices or of slots, or a device that is not there.
    """
    if launch not in LAUNCHERS:
        hint = nearest(launch, LAUNCHERS)
        raise RequestError(f"--launch {launch!r}: choose from {', '.join(LAUNCHERS)}{hint}")
    if launch == "ray":
        ray_options.check_installed()
    if launch == "slurm":
        slurm_options.check_installed()
    if devices < 1:
        raise RequestError(f"--devices {devices}: give 1 or more")
    if slots is not None and slots < 1:
        raise RequestError(f"--slots {slots}: give 1 or more")
    kind, colon, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (
        colon and (kind != "cuda" or not number.isdecimal())
    ):
        raise RequestError(f"--device {device!r}: choose auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not os.path.exists("/dev/nvidiactl"):
        raise RequestError(f"--device {device!r}: there is no NVIDIA GPU here; use auto or cpu")
    if kind == "mps" and sys.platform != "darwin":
        raise RequestError(f"--device {device!r}: this is not a Mac; use auto or cpu")
    gpus = os.path.exists("/dev/nvidiactl") and kind != "cpu"
    if devices > 1 and not gpus and launch == "local":
        if kind == "mps" or (kind == "auto" and sys.platform == "darwin"):
            raise RequestError(f"--devices {devices}: several are NVIDIA GPUs, or --device cpu")
        cores = available_cores()
        if devices > cores:
            raise RequestError(
                f"--devices {devices}: on a CPU each is a process with a core of its own, and"
                f" there are {cores}"
            )
