"""The stages of a study that adds its own runs: `studies/<name>/stages.json`.

Each decision is written before its runs start. So a study that is killed anywhere goes on with the
same command to the same decisions, and the frozen plan stays as it was. Longer than most: reading,
writing and dropping a decision go by one format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ablations.confirmation import Choice, chosen
from ablations.errors import RequestError
from ablations.ledger import TERMINAL, Ledger, run_id
from ablations.minival import MinivalImages, check_kept, failed_arms
from ablations.plans import Outcome, Plan, Run, minival_by_arm
from ablations.reach import floor
from ablations.sequential import (
    REFUSED,
    VERDICTS,
    first_error,
    looked_at,
    next_runs,
    undecided,
)
from lightning_modules.files import read_json, write_json

SCHEMA = 1
_FILE = "stages.json"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was decided after a stage: which contrasts are closed, and which runs come next."""

    share: float  # of alpha
    closed: Mapping[str, str]  # contrast, as `0 +ls` or `by_blocks training`, and its end
    runs: tuple[Run, ...]  # none: the study ends here
    failed: tuple[str, ...] = ()  # arms whose contrasts get no more runs
    reason: str = ""  # of a refusal, in words


@dataclass(frozen=True, kw_only=True)
class Stages:
    """All that a study has decided by itself so far."""

    looks: tuple[Look, ...] = ()
    choice: Choice | None = None

    def ended(self, plan: Plan) -> bool:
        """Return whether no more seeds will be added."""
        return plan.stopping is None or bool(self.looks and not self.looks[-1].runs)

    @property
    def closed(self) -> Mapping[str, str]:
        """Return the contrasts that are closed, and how each was."""
        return self.looks[-1].closed if self.looks else {}


def stages_of(plan: Plan, ledger: Ledger) -> Stages:
    """Return what a study has decided by itself so far.

    Raises:
        RequestError: the file is damaged or of another version.
    """
    if plan.published is not None or (plan.stopping is None and plan.confirm == 0):
        return Stages()
    path = ledger.study_folder(plan.study) / _FILE
    if not (path.parent / "plan.yaml").exists():
        return Stages()
    try:
        found = read_json(path)
        if found is None:
            return Stages()
        if found["schema_version"] != SCHEMA:
            raise ValueError(f"schema version {found['schema_version']}, this program reads 1")
        looks = tuple(
            Look(
                share=float(row["share"]),
                closed=dict(row["closed"]),
                runs=tuple(Run(**run) for run in row["runs"]),
                failed=tuple(row["failed"]),
                reason=str(row["reason"]),
            )
            for row in found["looks"]
        )
        row = found["choice"]
        choice = row and Choice(
            arm=row["arm"],
            base=row["base"],
            minival=dict(row["minival"]),
            seeds=tuple(row["seeds"]),
            runs=tuple(Run(**run) for run in row["runs"]),
        )
        arms = {run.arm for look in looks for run in look.runs} | (
            {choice.arm} if choice else set()
        )
        if unknown := arms - {arm.name for arm in plan.layout.arms}:
            raise ValueError(f"the plan has no arm {', '.join(sorted(unknown))}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"{path} is damaged: {error}; without it, the same command decides again by the same"
            " runs"
        ) from None
    return Stages(looks=looks, choice=choice)


def with_stages(plan: Plan, ledger: Ledger) -> Plan:
    """Return a frozen plan with the runs that its stages added, for all that reads results."""
    added = [run for look in stages_of(plan, ledger).looks for run in look.runs]
    if not added:
        return plan
    order = {arm.name: place for place, arm in enumerate(plan.layout.arms)}
    runs = sorted({*plan.runs, *added}, key=lambda run: (run.seed, order[run.arm]))
    seeds = sorted({run.seed for run in runs})
    return dataclasses.replace(plan, runs=tuple(runs), seeds=tuple(seeds))


def runs_so_far(plan: Plan, ledger: Ledger) -> Plan:
    """Return a frozen plan with every run that is to be made so far, those that confirm last."""
    choice = stages_of(plan, ledger).choice
    now = with_stages(plan, ledger)
    return now if choice is None else dataclasses.replace(now, runs=(*now.runs, *choice.runs))


def runs_ahead(plan: Plan, ledger: Ledger) -> int:
    """Return how many runs, at most, the decisions to come may add."""
    stages, found = stages_of(plan, ledger), 0
    if plan.stopping is not None and plan.stopping.max_runs and not stages.ended(plan):
        found += max(plan.stopping.max_runs - len(with_stages(plan, ledger).runs), 0)
    return found + (2 * plan.confirm if stages.choice is None else 0)


def decide(plan: Plan, ledger: Ledger, *, retry: bool = False) -> bool:
    """Write the next decision of a frozen plan; return whether there was one to make.

    None is made while a run that it reads has not ended. With `retry`, a study goes on that ended
    without an arm whose failed runs have been made again (`_revived`).

    Raises:
        RequestError: a run finished before its accuracy on minival was kept.
    """
    if plan.stopping is None and plan.confirm == 0:
        return False
    with ledger.hold_study(plan.study):  # two processes may carry it out at once
        stages, now = stages_of(plan, ledger), with_stages(plan, ledger)
        if _complete(plan, stages) and not retry:
            return False
        outcomes = [ledger.outcome(run) for run in now.runs]
        if any(outcome.status not in TERMINAL for outcome in outcomes):
            return False
        closed = stages.closed  # stays so
        if retry:
            stages = _revived(now, stages, failed_arms(outcomes))
        if _complete(plan, stages):
            return False
        check_kept(outcomes, ledger)
        if stages.ended(plan):
            stages = dataclasses.replace(stages, choice=chosen(now, outcomes))
        else:
            look = _look(plan, now, stages, closed, outcomes, ledger)
            stages = dataclasses.replace(stages, looks=(*stages.looks, look))
        _write(plan, ledger, stages)
    return True


def _complete(plan: Plan, stages: Stages) -> bool:
    return stages.ended(plan) and (plan.confirm == 0 or stages.choice is not None)


def _revived(plan: Plan, stages: Stages, failed: Collection[str]) -> Stages:
    """Return the decisions less those that an arm was missing from which is whole by now.

    Of the looks only the last can be one: after the others the study went on, and the arm is read
    by the next. What it closed stays closed, so nothing is tested a second time.
    """
    looks, choice = stages.looks, stages.choice
    if plan.stopping is not None and stages.ended(plan) and {*looks[-1].failed} - {*failed}:
        return Stages(looks=looks[:-1])
    arms = {arm.name for arm in plan.layout.arms} - plan.layout.dummies
    if choice is not None and arms - choice.minival.keys() - {*failed}:
        choice = None
    return Stages(looks=looks, choice=choice)


def refuse_beyond_images(plan: Plan, ledger: Ledger) -> None:
    """Refuse a width that the runs in the ledger show to be out of reach of any seeds.

    A width that is out of reach of some contrasts only is worth the runs for the others.

    Raises:
        RequestError: the reason, and how many evaluated images it would take.
    """
    rule = plan.stopping
    if rule is None or rule.until == VERDICTS:
        return
    outcomes = [ledger.outcome(run) for run in plan.runs]
    reason, names = beyond_images(plan, plan, outcomes, ledger)
    if reason and len(names) == len(undecided(plan, {})):
        raise RequestError(f"--until {rule.until}: {reason}")


def beyond_images(
    plan: Plan, now: Plan, outcomes: Sequence[Outcome], ledger: Ledger
) -> tuple[str, list[str]]:
    """Return why a width cannot be reached by which contrasts; nothing where more seeds may do.

    `now` is the plan with the runs that its stages added, and `outcomes` are of these.
    """
    assert plan.stopping is not None
    width, images = float(plan.stopping.until), MinivalImages(ledger, outcomes)
    values = minival_by_arm(outcomes)
    error = first_error(plan, plan.runs, values)
    estimates = looked_at(now, 0, values, failed_arms(outcomes), images, error)
    floors = {
        name: floor(estimates[name])
        for name in undecided(plan, {})
        if estimates[name].standard_error is not None
    }
    beyond = [name for name in floors if floors[name] >= width]
    if not beyond:
        return "", []
    widest = max(beyond, key=lambda name: floors[name])
    others = ", ".join(label(plan, name) for name in beyond if name != widest)
    counts = [one.evaluated_images for one in outcomes if one.evaluated_images]
    needed = counts[0] * (floors[widest] / width) ** 2
    return (
        f"the {counts[0]:,} evaluated images alone leave +-{floors[widest]:.2f} points of"
        f" {label(plan, widest)}{others and f', and more than +-{width:g} of {others}'}, which no"
        f" seeds lower; it would take about {needed:,.0f} images, or a width above"
        f" {floors[widest]:.2f}"
    ), beyond


def label(plan: Plan, name: str) -> str:
    """Return a contrast as a reader knows it: `+ls`, or `training by blocks`."""
    place, _, rest = name.partition(" ")
    if not place.isdecimal():
        return f"{rest} by {place.removeprefix('by_')}"
    labels = [contrast.label for contrast in plan.layout.contrasts]
    estimand = plan.layout.contrasts[int(place)].estimand
    return f"{rest} ({estimand})" if labels.count(rest) > 1 else rest


def _look(
    plan: Plan,
    now: Plan,
    stages: Stages,
    before: Mapping[str, str],
    outcomes: Sequence[Outcome],
    ledger: Ledger,
) -> Look:
    assert plan.stopping is not None
    stage, values = len(stages.looks), minival_by_arm(outcomes)
    failed = failed_arms(outcomes)
    closed, runs = next_runs(
        now,
        stage,
        values,
        failed,
        MinivalImages(ledger, outcomes),
        closed=before,
        error=first_error(plan, plan.runs, values),
    )
    made = [
        Run(id=run_id(plan.layout.arm(arm).recipe, plan.data_fingerprint, seed), arm=arm, seed=seed)
        for arm, seed in runs
    ]
    reason = stages.looks[-1].reason if stages.looks else ""
    if any(end == REFUSED and name not in stages.closed for name, end in closed.items()):
        reason, _ = beyond_images(plan, now, outcomes, ledger)
    return Look(
        share=plan.stopping.shares[stage],
        closed=closed,
        runs=tuple(made),
        failed=tuple(arm.name for arm in plan.layout.arms if arm.name in failed),
        reason=reason,
    )


def _write(plan: Plan, ledger: Ledger, stages: Stages) -> None:
    looks = [
        {"stage": place, **dataclasses.asdict(look)}
        for place, look in enumerate(stages.looks, start=1)
    ]
    choice = None if stages.choice is None else dataclasses.asdict(stages.choice)
    tree = {"schema_version": SCHEMA, "looks": looks, "choice": choice}
    write_json(ledger.study_folder(plan.study) / _FILE, tree)
