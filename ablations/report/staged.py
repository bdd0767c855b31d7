"""What a study decided by itself, in words: stages, how it ended, the choice and its confirmation.

The decisions come from minival (`ablations.stages`); here they are only told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ablations.attribution import MIN_ERROR_DF
from ablations.confirmation import Confirmation
from ablations.plans import Plan
from ablations.report.words import interval, signed
from ablations.sequential import OUT_OF_REACH, REACHED, VERDICTS, spent, undecided
from ablations.stages import Stages, label


def announced(plan: Plan) -> str:
    """Return what a plan may come to: the runs of its first stage, and of all stages at most."""
    rule = plan.stopping
    words = []
    if rule is not None:
        aim = "all is resolved" if rule.until == VERDICTS else f"intervals are +-{rule.until}"
        words.append(
            f"{len(plan.runs)} runs now, at most {rule.max_runs}: seeds are added until {aim} on"
            f" minival, in at most {len(rule.stages)} stages"
        )
    if plan.confirm:
        words.append(
            f"then {2 * plan.confirm} runs to confirm the arm that is best on minival, unless that"
            " is the base"
        )
    return "; ".join(words)


def decided(plan: Plan, stages: Stages) -> str:
    """Return the latest decision in one line, for whoever watches; empty where there is none."""
    return said[-1] if (said := so_far(plan, stages)) else ""


def so_far(plan: Plan, stages: Stages) -> list[str]:
    """Return what a study has decided by itself, one line each for its stages and its choice."""
    found, choice = [], stages.choice
    if plan.stopping is not None and not stages.looks:
        found.append(_stage(plan, 1))
    elif plan.stopping is not None:
        found.append(f"{_stage(plan, len(stages.looks))}: {_progress(plan, stages)}")
    if choice is not None:
        best = f"best on minival: {choice.arm} ({choice.minival.get(choice.arm, 0):.2f} %)"
        fresh = f"it and {choice.base} are trained on fresh seeds {_seeds(choice.seeds)}"
        found.append(f"{best}; {fresh if choice.runs else 'nothing to confirm'}")
    return found


def told(
    plan: Plan, stages: Stages, confirmation: Confirmation | None, readers: Sequence[str] = ()
) -> list[str]:
    """Return the notes of a report.

    Args:
        plan: as it was frozen.
        stages: decided so far.
        confirmation: of the choice, once it is made.
        readers: other studies that have reported on the same evaluated images.
    """
    found = [*_stages(plan, stages)]
    if confirmation is not None:
        found.append(confirmed(confirmation))
    elif plan.confirm:
        found.append("the choice that fresh seeds are to confirm is not made yet")
    if readers:
        found.append(
            f"{len(readers) + 1} studies of this home have read the {plan.protocol['split']} images"
            " of these data, this one included: the more there are, the less a single good number"
            " says"
        )
    return found


def confirmed(confirmation: Confirmation) -> str:
    """Return what the fresh seeds say of the chosen arm."""
    choice, fresh, before = confirmation.choice, confirmation.fresh, confirmation.in_study
    if choice.base not in choice.minival:
        return f"nothing is confirmed: runs of {choice.base} failed"
    if fresh is None or before is None:
        return f"nothing to confirm: {choice.base} itself is the best on minival"
    over = f"{choice.arm} over {choice.base}"
    seeds = f"fresh seeds {_seeds(choice.seeds)}"
    if fresh.delta is None:
        return f"not confirmed: {over} has no result on {seeds}; {_without(confirmation)}"
    how = f"n {fresh.n}"
    if fresh.interval is not None:
        own = "of these arms alone" if fresh.method == "welch" else "pooled with the study"
        how += f"; error {own}, {_freedom(fresh.error_df)}"
    found = f"{over} {signed(fresh.delta)}"
    found += f" {interval(fresh.interval)}" if fresh.interval is not None else ""
    luck = f"in the study it had {signed(before.delta)}, which has the luck of having been chosen"
    reasons = [] if not confirmation.without else [_without(confirmation)]
    if not confirmation.measured:
        reasons.append(
            f"{_freedom(fresh.error_df)} of the error, and a verdict needs {MIN_ERROR_DF}"
        )
    if reasons:
        return f"not confirmed: {'; '.join(reasons)}; on {seeds}, {found} ({how}); {luck} in it"
    verb = "confirmed on" if confirmation.holds else "not confirmed on"
    return f"{verb} {seeds}: {found} ({how}); {luck} in it"


def _freedom(df: float | None) -> str:
    return "1 degree of freedom" if df == 1 else f"{df or 0:.3g} degrees of freedom"


def _without(confirmation: Confirmation) -> str:
    """Return which fresh runs have no result, with their status."""
    by_status: dict[str, list[str]] = {}
    for one in confirmation.without:
        words = f"{one.run.arm} seed {one.run.seed}"
        by_status.setdefault(one.status.replace("_", " "), []).append(words)
    return "; ".join(f"{status}: {', '.join(runs)}" for status, runs in by_status.items())


def _stages(plan: Plan, stages: Stages) -> Iterable[str]:
    rule, done = plan.stopping, len(stages.looks)
    if rule is None:
        return
    if not stages.ended(plan):
        yield (
            f"{_stage(plan, min(done + 1, len(rule.stages)))} is not finished and more seeds may"
            " follow: the same command goes on; verdicts are withheld until the study has ended"
        )
        return
    share = spent(plan, done - 1)
    alpha = f"1/{round(1 / share)} of alpha" if share < 1 else "all of alpha"
    added = Counter(run.arm for look in stages.looks for run in look.runs)
    by_arm = [f"{arm.name} +{added[arm.name]}" for arm in plan.layout.arms if added[arm.name]]
    more = f"{added.total()} runs were added: {', '.join(by_arm)}" if by_arm else "no run was added"
    yield (
        f"stopped at {_stage(plan, done)}: {_progress(plan, stages)}; {more}; tests have {alpha};"
        f" all this was decided on minival, and {plan.protocol['split']} was tested once, at the"
        f" end{_whose_error(plan)}"
    )
    closed: dict[str, list[str]] = {}
    for name in undecided(plan, {}):
        if stages.closed.get(name) not in (None, OUT_OF_REACH):
            closed.setdefault(stages.closed[name], []).append(label(plan, name))
    if closed and rule.until == VERDICTS:
        words = "; ".join(f"{end}: {', '.join(names)}" for end, names in closed.items())
        yield f"resolved on minival as {words}"


def _whose_error(plan: Plan) -> str:
    rule = plan.stopping
    if rule is None or rule.until == VERDICTS:
        return ""
    return (
        "; the error of the seeds is that of the first stage's runs, by which the number of runs"
        " was chosen (Stein)"
    )


def _progress(plan: Plan, stages: Stages) -> str:
    """Return what the latest look found: what is open, and why it ended or how it goes on."""
    rule, look = plan.stopping, stages.looks[-1]
    assert rule is not None
    waiting = [label(plan, name) for name in undecided(plan, look.closed, look.failed)]
    broken = [
        label(plan, name)
        for name in undecided(plan, look.closed)
        if label(plan, name) not in waiting
    ]
    far = [
        label(plan, name) for name in undecided(plan, {}) if look.closed.get(name) == OUT_OF_REACH
    ]
    parts = [look.reason] if look.reason else []
    if waiting and look.runs:
        parts.append(f"{len(look.runs)} more runs, for {', '.join(waiting)}")
    elif waiting:
        last = len(stages.looks) == len(rule.stages)
        why = "the last stage" if last else f"--max-runs {rule.max_runs} reached"
        parts.append(f"{why} with {', '.join(waiting)} open")
    if far:
        parts.append(f"{', '.join(far)} out of reach of the last stage")
    if broken:
        parts.append(f"{', '.join(broken)} without a decision, since runs failed")
    if not parts:
        resolved = rule.until == VERDICTS
        parts.append("everything resolved" if resolved else f"intervals within +-{rule.until}")
    elif REACHED in look.closed.values() and not look.runs:
        parts.append(f"intervals of the others within +-{rule.until}")
    return "; ".join(parts)


def _stage(plan: Plan, number: int) -> str:
    assert plan.stopping is not None
    return f"stage {number} of {len(plan.stopping.stages)}"


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 5 else f"{seeds[0]} to {seeds[-1]}"
