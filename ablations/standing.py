"""How far a study is, as one JSON object made from the ledger alone: who runs where, and the end.

Separate from its text, so that programs read what people do. Every run's files are read once, so
that a study of 10,000 runs answers in a second or two.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ablations.frozen import thaw
from ablations.ledger import Ledger, recall
from ablations.plans import Outcome, Plan, values_by_arm

_AHEAD = ("missing", "running", "interrupted")  # statuses of runs that are not done


def standing_of(ledger: Ledger, study: str) -> dict[str, Any]:
    """Return a study's counts, its running runs, what is left and each arm's accuracies.

    Raises:
        RequestError: there is no such study, or a file of it is damaged.
    """
    frozen, request, revision = thaw(ledger.study_folder(study))
    plan, decided, concluded = _decided(frozen, ledger)
    outcomes = [_seen(ledger, ledger.outcome(run)) for run in plan.runs]
    known = recall(ledger.study_folder(study) / "packing.json").get("expected", {})
    foreseen = _Foreseen(outcomes, known)
    running = [_running(ledger, one, foreseen) for one in outcomes if one.status == "running"]
    values, bad = values_by_arm(outcomes), defaultdict(list)
    for one in outcomes:
        if one.status not in ("finished", "missing", "running"):
            told = {"seed": one.run.seed, "status": one.status, "message": one.error}
            bad[one.run.arm].append(told)
    return {
        "study": study,
        "revision": revision,
        "base": request.base,
        "add": request.add,
        "data": plan.data,
        "runs": len(plan.runs),
        "counts": dict(sorted(Counter(one.status for one in outcomes).items())),
        "decided": decided,
        "concluded": concluded,
        "running": running,
        "left": _left(outcomes, running, foreseen),
        "arms": [
            {
                "name": arm.name,
                "values": {str(seed): value for seed, value in sorted(values[arm.name].items())},
                "not_finished": bad[arm.name],
            }
            for arm in plan.layout.arms
        ],
    }


def _decided(frozen: Plan, ledger: Ledger) -> tuple[Plan, list[str], bool]:
    """Return a plan with the runs that its study added, its decisions, and if they are all made."""
    if frozen.stopping is None and not frozen.confirm:
        return frozen, [], True
    from ablations.report.staged import so_far  # loads NumPy, for which others need not wait
    from ablations.stages import runs_so_far, stages_of

    stages = stages_of(frozen, ledger)
    concluded = stages.ended(frozen) and bool(stages.choice or not frozen.confirm)
    return runs_so_far(frozen, ledger), so_far(frozen, stages), concluded


class _Foreseen:
    """What a run of an arm is expected to take: as its finished ones did, or as was measured."""

    def __init__(self, outcomes: Sequence[Outcome], expected: Mapping[str, float]) -> None:
        taken = defaultdict(list)
        for one in outcomes:
            if one.seconds:
                taken[one.run.arm].append(one.seconds)
        self._means = {arm: sum(several) / len(several) for arm, several in taken.items()}
        every = [seconds for several in taken.values() for seconds in several]
        self._usual = sum(every) / len(every) if every else None
        self._expected = expected

    def seconds(self, arm: str) -> float | None:
        """Return the seconds of a run; None where nothing is known of any."""
        return self._means.get(arm, self._expected.get(arm, self._usual))


def _seen(ledger: Ledger, outcome: Outcome) -> Outcome:
    """Return a run that says it is running, while nobody makes it, as interrupted."""
    if outcome.status != "running" or ledger.is_held(outcome.run.id):
        return outcome
    return dataclasses.replace(outcome, status="interrupted", error="its process is gone")


def _running(ledger: Ledger, outcome: Outcome, foreseen: _Foreseen) -> dict[str, Any]:
    """Return where a run is made, since when, how far it is and about how long it will take."""
    run, now = outcome.run, time.time()
    record, progress = ledger.record(run.id), ledger.progress(run.id)
    if (progress.get("host"), progress.get("pid")) != (record.get("host"), record.get("pid")):
        progress = {}  # of a process before, which is gone
    began = record.get("started")
    so_far = None if began is None else max(now - began, 0.0)
    usual = foreseen.seconds(run.arm)
    rest = None if usual is None or so_far is None else max(usual - so_far, 0.0)
    if progress.get("steps_timed"):
        pace = progress["seconds_timed"] / progress["steps_timed"]
        ahead = (progress["steps"] - progress["step"]) * pace
        rest = max(ahead - max(now - progress["time"], 0.0), 0.0)
    return {
        "id": run.id,
        "arm": run.arm,
        "seed": run.seed,
        "host": record.get("host"),
        "pid": record.get("pid"),
        "started": None if began is None else _moment(began),
        "seconds": so_far,
        **{name: progress.get(name) for name in ("epoch", "epochs", "step", "steps")},
        "seconds_left": rest,
    }


def _left(
    outcomes: Sequence[Outcome], running: Sequence[Mapping[str, Any]], foreseen: _Foreseen
) -> dict[str, Any]:
    """Return what is not done, what it takes, and when its last run ends if all go on so.

    A worker is a process: the runs that are read off one training are made by one.
    """
    ahead = [one for one in outcomes if one.status in _AHEAD]
    waiting = [foreseen.seconds(one.run.arm) for one in ahead if one.status != "running"]
    rests: dict[tuple[Any, Any], list[float | None]] = defaultdict(list)
    for one in running:
        rests[one["host"], one["pid"]].append(one["seconds_left"])
    known = [seconds for seconds in waiting if seconds is not None]
    busy = [max((rest for rest in several if rest is not None), default=None)
            for several in rests.values()]  # fmt: skip
    now = [rest for rest in busy if rest is not None]
    total = seconds = None
    if len(known) == len(waiting) and len(now) == len(busy) and ahead:
        total = sum(known) + sum(now)
        if busy:
            seconds = max(total / len(busy), *now)
    return {
        "runs": len(ahead),
        "workers": len(rests),
        "worker_seconds": total,
        "seconds": seconds,
        "ends": None if seconds is None else _moment(time.time() + seconds),
    }


def _moment(seconds: float) -> str:
    """Return a time as ISO 8601 has it, in the zone of this machine."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
