"""Finished runs that nobody trained, in a real ledger: what decisions read, in no time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations import plan as plan_of
from ablations.ledger import Ledger
from ablations.plans import Plan, Run
from ablations.revisions import open_or_freeze
from ablations.stages import decide, runs_so_far
from ablations.study import Prepared
from lightning_modules.files import write_aside

IMAGES = 400  # of minival, and twice as many are evaluated

CLEAR = {"base": 70.0, "ls": 85.0, "se": 71.5, "do": 55.0}  # two are decided at once, one is not


def frozen(home: Path, study: str = "mine", **more: Any) -> tuple[Plan, Ledger]:
    ledger = Ledger(home)
    made = prepared(home, study, **more)
    open_or_freeze(made, ledger)
    return made.plan, ledger


def prepared(home: Path, study: str = "mine", **more: Any) -> Prepared:
    given = {"until": "verdicts", "design": "one-at-a-time", "home": home, "study": study}
    return plan_of("tiny", "ls,se,do", **(given | more))


def finish(
    ledger: Ledger, plan: Plan, runs: Iterable[Run], truth: Mapping[str, float], flips: float = 0.03
) -> None:
    """Record runs as finished: an arm has `truth` percent right, and seeds flip some of it."""
    for run in runs:
        if ledger.status(run.id) == "finished":
            continue
        right = correct(run, truth[run.arm], flips)
        folder = ledger.begin(run.id, plan.layout.arm(run.arm).recipe, run.seed, plan.data)
        with write_aside(folder / "minival_correct.npy") as file:
            np.save(file, right)
        value = 100 * float(right.mean())
        result = {"top1": value, "minival_top1": value, "evaluated_images": 2 * IMAGES}
        ledger.finish(run.id, "finished", result, "")


def correct(run: Run, truth: float, flips: float) -> NDArray[np.bool_]:
    """Return which images a run got right: the same whenever it is asked."""
    common = np.random.default_rng(0).permutation(IMAGES) < truth / 100 * IMAGES
    own = np.random.default_rng([zlib.crc32(run.arm.encode()), run.seed])
    return common ^ (own.random(IMAGES) < flips)


def carry_out(ledger: Ledger, plan: Plan, truth: Mapping[str, float]) -> None:
    """Do what a runner does, with runs that are made up."""
    while True:
        finish(ledger, plan, runs_so_far(plan, ledger).runs, truth)
        if not decide(plan, ledger):
            return
