"""What the runs of a plan take, from the first steps of its first and its last arm: remembered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.errors import RequestError
from ablations.ledger import Ledger, recall
from ablations.plans import Plan, Run
from ablations.study import Options, Prepared, make_jobs
from lightning_modules.files import write_json
from lightning_modules.footprint import Footprint
from recipes import trajectory
from recipes.identity import digest

if TYPE_CHECKING:
    from ablations.launch.local import LocalPool
    from ablations.packing import Slots


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run of an arm was measured to take."""

    seconds: float
    used: Footprint  # by its first steps, in a process of its own


def measure(
    pool: LocalPool, prepared: Prepared, ledger: Ledger, options: Options, slots: Slots
) -> dict[str, Measured]:
    """Time the first steps of the first and the last arm, with their memory, and remember them.

    Returns:
        By arm: of the first and the last, or none where the plan has no run to measure.

    Raises:
        RequestError: the first steps of an arm fail.
    """
    from ablations.launch.job import Measure

    plan = prepared.plan
    memory = ledger.cache / "speed.json"
    known: dict[str, dict[str, Any]] = recall(memory)
    keys = {
        name: digest(
            [
                "with memory",
                trajectory(plan.layout.arm(name).recipe),
                plan.data_fingerprint,
                slots.devices[0],
                slots.threads,
                *([slots.each] if slots.each > 1 else []),
            ]
        )
        for name in plan.ends
    }
    measures = [
        Measure(key=keys[job.arm], recipe=job.recipe, execution=job.execution)
        for job in make_jobs(
            prepared, [Run(id="", arm=name, seed=0) for name in plan.ends], ledger, options
        )
        if keys[job.arm] not in known
    ]
    faults: dict[str, str] = {}
    for event in pool.run(measures):
        if event.what == "measured":
            assert isinstance(event.job, Measure)
            if event.value is not None and event.used is not None:
                used = dataclasses.asdict(event.used)
                known[event.job.key] = {"seconds": event.value, "used": used}
            else:
                faults[event.job.key] = event.message
    for name in plan.ends:
        if keys[name] in faults:
            raise RequestError(
                f"the first steps of the arm {name!r} failed, and nothing was trained:"
                f" {faults[keys[name]]}"
            )
    if measures:
        write_json(memory, known)
    return {
        name: Measured(seconds=known[key]["seconds"], used=Footprint(**known[key]["used"]))
        for name, key in keys.items()
    }


def expect(plan: Plan, measured: Mapping[str, Measured]) -> dict[str, float]:
    """Return the seconds of a run by arm: by its components between the ends, by its epochs."""
    first, last = (plan.layout.arm(name) for name in (plan.ends[0], plan.ends[-1]))
    low, high = (measured[end.name].seconds / end.recipe.optim.epochs for end in (first, last))
    found = {}
    for arm in plan.layout.arms:
        # A dummy costs nothing.
        share = min(len(arm.components) / max(len(last.components), 1), 1.0)
        found[arm.name] = (low + (high - low) * share) * arm.recipe.optim.epochs
    return found
