"""How far a study is, from the ledger alone."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Outcome, values_by_arm
from ablations.progress import duration
from ablations.report.staged import so_far
from ablations.stages import runs_so_far, stages_of


def standing(ledger: Ledger, study: str) -> str:
    """Return a study's counts, and one line per arm with its accuracies so far."""
    frozen, request, revision = thaw(ledger.study_folder(study))
    plan, stages = runs_so_far(frozen, ledger), stages_of(frozen, ledger)
    outcomes = [_seen(ledger, ledger.outcome(run)) for run in plan.runs]
    counts = Counter(outcome.status for outcome in outcomes)
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    taken = [outcome.seconds for outcome in outcomes if outcome.seconds]
    left = sum(outcome.status in ("missing", "running", "interrupted") for outcome in outcomes)
    hint = ""
    if left and taken:
        hint = f"; about {duration(left * sum(taken) / len(taken))} of one worker left"
    lines = [
        f"{study} (revision {revision}): {request.base} + {request.add} on {plan.data},"
        f" {len(plan.runs)} runs: {words}{hint}"
    ]
    lines += [f"  {words}" for words in so_far(frozen, stages)]
    values = values_by_arm(outcomes)
    width = max(len(arm.name) for arm in plan.layout.arms)
    for arm in plan.layout.arms:
        numbers = " ".join(f"{value:.2f}" for _, value in sorted(values.get(arm.name, {}).items()))
        bad = [
            f"seed {outcome.run.seed} {outcome.status}: {outcome.error}"
            for outcome in outcomes
            if outcome.run.arm == arm.name
            and outcome.status not in ("finished", "missing", "running")
        ]
        lines.append(
            f"  {arm.name:<{width}}  {numbers}{'  ' if bad else ''}{'; '.join(bad)}".rstrip()
        )
    return "\n".join(lines)


def _seen(ledger: Ledger, outcome: Outcome) -> Outcome:
    """Return a run that says it is running, while nobody makes it, as interrupted."""
    if outcome.status != "running" or ledger.is_held(outcome.run.id):
        return outcome
    return dataclasses.replace(outcome, status="interrupted", error="its process is gone")
