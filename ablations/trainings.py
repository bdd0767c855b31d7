"""Which runs of a plan are made by one training: design 6, "Trajectory"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ablations.plans import Layout, Plan, Run
from recipes.identity import digest
from recipes.sharing import together

if TYPE_CHECKING:
    from ablations.launch.job import Job


def trainings(layout: Layout, runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Return runs in groups that a training each serves, in the order of their first ones.

    Only runs that are given share: one that is asked for after its training has ended is trained
    anew, since what it would be read off was not kept.
    """
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    groups = []
    known: dict[tuple[str, ...], list[tuple[int, ...]]] = {}  # most seeds have the same arms
    for several in by_seed.values():
        arms = tuple(run.arm for run in several)
        if arms not in known:
            known[arms] = together([layout.arm(arm).recipe for arm in arms])
        groups += [tuple(several[place] for place in places) for places in known[arms]]
    place = {run: number for number, run in enumerate(runs)}
    return sorted(groups, key=lambda group: place[group[0]])


def shared_jobs(plan: Plan, runs: Sequence[Run], jobs: Sequence[Job]) -> list[Job]:
    """Return one job per training, in the order of their first runs.

    Args:
        plan: of the runs.
        runs: that are to be made.
        jobs: one per run, in the same order.
    """
    by_run = {job.run: job for job in jobs}
    found = []
    for group in trainings(plan.layout, runs):
        first, *also = (by_run[run.id] for run in group)
        name = training_id(plan.layout, group, plan.data_fingerprint) if also else ""
        found.append(replace(first, training=name, also=tuple(also)))
    return found


def paid(layout: Layout, expected: Mapping[str, float]) -> dict[str, float]:
    """Return the expected seconds of a run by arm, where arms read off one training pay once."""
    payers: dict[str, str] = {}
    for arm, training in layout.trainings.items():
        payers.setdefault(training, arm)  # the first one, as in `fit_together`
    pay = set(payers.values())
    return {arm: seconds if arm in pay else 0.0 for arm, seconds in expected.items()}


def training_id(layout: Layout, group: Sequence[Run], data_fingerprint: str) -> str:
    """Return the identity of the training behind a group of runs."""
    from lightning_modules.execution import RESULTS_VERSION

    first = group[0]
    return digest([layout.trainings[first.arm], data_fingerprint, first.seed, RESULTS_VERSION])


def counted(runs: int, groups: int) -> str:
    """Return the number of runs in words, and of trainings where these are fewer."""
    words = f"{runs} run{'s' if runs != 1 else ''}"
    return (
        words if groups == runs else f"{words} from {groups} training{'s' if groups != 1 else ''}"
    )
