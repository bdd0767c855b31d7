"""A study's plan over time: frozen once, checked when asked for again, extended by revisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ablations.errors import RequestError
from ablations.frozen import freeze, thaw
from ablations.ledger import Ledger
from ablations.plans import LATE_SPLIT, Contrast, Layout
from ablations.request import Request
from ablations.study import Prepared


def open_or_freeze(
    prepared: Prepared, ledger: Ledger, certificates: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Freeze the plan where it is new, its certificates first: no plan is without them.

    Called once nothing but the training can go wrong.

    Raises:
        RequestError: as `check_same`.
    """
    plan, folder = prepared.plan, ledger.study_folder(prepared.plan.study)
    with ledger.hold_study(plan.study):  # two processes may have planned it at once
        now = thaw(folder)[2] if (folder / "plan.yaml").exists() else 0
        if now >= prepared.revision:
            check_same(prepared, ledger)
        if certificates:
            ledger.keep_certificates(plan.study, certificates)
        if now < prepared.revision:
            freeze(plan, prepared.request, folder, prepared.revision)


def check_same(prepared: Prepared, ledger: Ledger) -> Prepared:
    """Check that a study of this name, if there is one, was frozen from the same request.

    Returns it with what is known of its plan: which contrasts were added late, and the rule by
    which it stops, as it was declared.

    Raises:
        RequestError: it was another request, or the data have changed since.
    """
    folder = ledger.study_folder(prepared.plan.study)
    if not (folder / "plan.yaml").exists():
        return prepared
    frozen, request, revision = thaw(folder)
    for number in range(revision - 1, 0, -1):  # the command from before an extension goes on
        if request != prepared.request:
            earlier = thaw(folder, number)
            if earlier[1] == prepared.request:
                frozen, request, _ = earlier
    if request != prepared.request:
        changed = [
            f"{key}: {getattr(request, key)!r} there, {getattr(prepared.request, key)!r} here"
            for key in vars(request)
            if getattr(request, key) != getattr(prepared.request, key)
        ]
        raise RequestError(
            f"the study {prepared.plan.study!r} was made by another request"
            f" ({'; '.join(changed)}): use `ablate extend`, or another --study"
        )
    if {run.id for run in frozen.runs} != {run.id for run in prepared.plan.runs}:
        raise RequestError(
            f"the study {prepared.plan.study!r} was frozen with other data or recipes than this"
            " request gives now: choose another --study"
        )
    plan = dataclasses.replace(prepared.plan, late=frozen.late, stopping=frozen.stopping)
    return dataclasses.replace(prepared, plan=plan)


def extend(
    prepared_by: Callable[[Request], Prepared],
    ledger: Ledger,
    study: str,
    add: str | None,
    seeds: int | None,
) -> Prepared:
    """Return the next revision of a study: more components after its own, or more seeds.

    The same extension once more goes on with the revision that it made.

    Raises:
        RequestError: nothing to add, fewer seeds than it has, its runs would not be the same, or
            it adds seeds or confirms by a rule of its own.
    """
    folder = ledger.study_folder(study)
    frozen, request, revision = thaw(folder)
    if frozen.stopping is not None or frozen.confirm:
        raise RequestError(
            f"study {study!r} is not extended: {_rules(request)} was declared for the runs that it"
            " has, and its looks are spent. Ask the wider question as another study: what is"
            " trained is shared"
        )
    again = revision > 1 and request == _widened(thaw(folder, revision - 1)[1], add, seeds)
    if not again and add is None and (seeds is None or seeds == request.seeds):
        raise RequestError(f"study {study!r} has {request.seeds} seeds; give --add or more --seeds")
    if seeds is not None and seeds < request.seeds:
        raise RequestError(
            f"--seeds {seeds}: study {study!r} has {request.seeds} already, and none is taken away"
        )
    if seeds is not None and seeds != request.seeds and request.budget is not None:
        raise RequestError(
            f"--seeds {seeds}: study {study!r} was planned within --budget {request.budget}, which"
            " decides about its seeds: make another study with a larger budget"
        )
    wider = request if again else _widened(request, add, seeds)
    prepared = prepared_by(wider)
    now = {(run.arm, run.seed): run.id for run in prepared.plan.runs}
    if any(now.get((run.arm, run.seed), run.id) != run.id for run in frozen.runs):
        raise RequestError(
            f"the study {study!r} was frozen with other data or recipes than its request gives now:"
            " make another study"
        )
    earlier = {_question(one) for name, one in _named(frozen.layout) if name not in frozen.late}
    late = {name for name, one in _named(prepared.plan.layout) if _question(one) not in earlier}
    split = prepared.plan.layout.split
    if any(split.sides.values()) and (LATE_SPLIT in frozen.late or split != frozen.layout.split):
        late.add(LATE_SPLIT)
    plan = dataclasses.replace(prepared.plan, study=study, late=frozenset(late))
    gone = {run.id for run in frozen.runs} - {run.id for run in plan.runs}
    asked = {name for name, _ in _named(frozen.layout)} - frozen.late
    notes = []
    if gone:
        notes.append(f"{len(gone)} runs of the revision before are in no arm of this one")
    if changed := sorted(asked & late):
        notes.append(
            f"{', '.join(changed)}: asked of other arms than in the first plan, hence exploratory"
            " from now on; another --study would keep both answers"
        )
    return dataclasses.replace(
        prepared,
        plan=plan,
        revision=revision + (not again),
        notes=(*prepared.notes, *notes),
    )


def _rules(request: Request) -> str:
    rules = [f"--until {request.until}"] if request.until is not None else []
    return " and ".join([*rules, *([f"--confirm {request.confirm}"] if request.confirm else [])])


def _widened(request: Request, add: str | None, seeds: int | None) -> Request:
    return dataclasses.replace(
        request,
        add=request.add if add is None else f"{request.add},{add}",
        seeds=request.seeds if seeds is None else seeds,
    )


def _named(layout: Layout) -> list[tuple[str, Contrast]]:
    return list(zip(layout.names, layout.contrasts, strict=True))


def _question(contrast: Contrast) -> tuple[Any, ...]:
    """Return what makes a contrast the same: a label in a wider recipe asks something else."""
    return (contrast.label, contrast.estimand, tuple(sorted(contrast.weights.items())))
