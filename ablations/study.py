"""A study from request to answer: plan, run what is missing, report from the ledger."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.bases import (
    apply_settings,
    fit_to_data,
    fit_to_hardware,
    resolve,
    with_facts,
)
from ablations.designs import lay_out
from ablations.errors import RequestError
from ablations.frozen import freeze, thaw
from ablations.ledger import TERMINAL, Ledger, run_id
from ablations.plans import LATE_SPLIT, Contrast, Outcome, Plan, Run
from ablations.report import document
from ablations.request import Request
from lightning_modules.data import (
    DataError,
    DataFacts,
    DataSpec,
    data_facts,
    open_source,
    parse_data,
)
from lightning_modules.execution import Execution, Tracking
from recipes import Recipe, parse
from recipes.identity import digest
from recipes.text import plain
from recipes.tree import leaves

if TYPE_CHECKING:
    import pandas

    from ablations.launch.job import Job

EMBEDDED = "digits"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is carried out; nothing here changes a result or a run's identity."""

    device: str = "auto"
    slots: int | None = None  # runs at once; None: one per GPU, or per core
    keep: str | None = None  # none, ema, last; None: the base's and the full arm's own
    retry: bool = False
    track: str = "wandb"  # or none
    wandb_project: str | None = None
    wandb_entity: str | None = None
    checkpoint_seconds: float | None = 60.0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan with what is needed to carry it out."""

    plan: Plan
    request: Request
    spec: DataSpec
    facts: DataFacts
    notes: tuple[str, ...]  # for the person who asked; on stderr
    revision: int = 1  # of the study's plan


def plan_study(
    request: Request, home: Path, study: str | None = None, device: str = "auto"
) -> Prepared:
    """Resolve a request into a plan. Reads data and facts, writes only to the home's memory.

    Raises:
        RecipeError, DataError, RequestError: what is wrong, before anything is trained.
    """
    ledger = Ledger(home)
    base = resolve(request.base, ledger.cache)
    components = parse(request.add)
    spec = _data_spec(request, base)
    facts = data_facts(spec, ledger.cache, skip_corrupt=request.skip_corrupt)
    base, profiled = fit_to_data(base, facts)
    base, rescaled = apply_settings(base, request.settings)
    base = with_facts(base, ledger.cache)
    if base.data.dataset != spec.name:
        raise RequestError(f"data.dataset = {base.data.dataset!r}: choose the data with --data")
    base, hardware = fit_to_hardware(base, request.settings, device)
    layout = lay_out(request.design, base, components)
    seeds = tuple(range(request.seeds))
    runs = tuple(
        Run(id=run_id(arm.recipe, facts.fingerprint, seed), arm=arm.name, seed=seed)
        for seed in seeds
        for arm in layout.arms
    )
    if not any(contrast.outcome == "applied" for contrast in layout.contrasts):
        reasons = "; ".join(f"{one.label[1:]}: {one.reason}" for one in layout.contrasts)
        raise RequestError(f"no component of {request.add!r} changes anything here: {reasons}")
    name = study
    if name is None:
        name = f"{request.name()[:-8]}{digest([request.plain(), [run.id for run in runs]])[:8]}"
    demonstration = request.data is None and spec.name == EMBEDDED
    notes = [
        f"{facts.name}: this is the digits demonstration; choose your data with --data"
        if demonstration
        else "",
        f"left out {len(facts.skipped)} corrupt images: {_shown(facts.skipped)}"
        if facts.skipped
        else "",
    ]
    plan = Plan(
        study=name,
        base=request.base,
        layout=layout,
        seeds=seeds,
        runs=runs,
        data=spec.name,
        data_fingerprint=facts.fingerprint,
        notes=tuple(note for note in notes if note),
    )
    ledger.study_folder(name)
    told = tuple(note for note in (profiled, rescaled, hardware) if note)
    return Prepared(plan=plan, request=request, spec=spec, facts=facts, notes=told)


def open_or_freeze(prepared: Prepared, ledger: Ledger) -> None:
    """Freeze the plan where it is new; called once nothing but the training can go wrong.

    Raises:
        RequestError: as `check_same`.
    """
    plan, folder = prepared.plan, ledger.study_folder(prepared.plan.study)
    with ledger.hold_study(plan.study):  # two processes may have planned it at once
        now = thaw(folder)[2] if (folder / "plan.yaml").exists() else 0
        if now >= prepared.revision:
            check_same(prepared, ledger)
        else:
            freeze(plan, prepared.request, folder, prepared.revision)


def check_same(prepared: Prepared, ledger: Ledger) -> Prepared:
    """Check that a study of this name, if there is one, was frozen from the same request.

    Returns it with what is known of its plan: which contrasts were added late.

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
    return dataclasses.replace(prepared, plan=dataclasses.replace(prepared.plan, late=frozen.late))


def prepare_images(
    prepared: Prepared, ledger: Ledger, progress: Callable[[int, int], None]
) -> None:
    """Split and decode what the plan needs, so that what is wrong is told before any training."""
    from lightning_modules.data import cache_key, check_decodable, open_cache, training_parts

    source = open_source(
        prepared.spec, skip_corrupt=prepared.request.skip_corrupt, memory=ledger.cache
    )
    for data in {arm.recipe.data for arm in prepared.plan.layout.arms}:
        training_parts(source.train, data, prepared.plan.seeds[0])
    sizes = {arm.recipe.data.stored_size for arm in prepared.plan.layout.arms}
    if 0 in sizes:
        check_decodable(source, ledger.cache, progress)
    sizes.discard(0)
    wrong = []  # of both parts, told together
    for part, items in (("train", source.train), ("validation", source.validation)):
        try:
            for size in sorted(sizes):
                key = cache_key(prepared.facts.fingerprint, part, size)
                open_cache(
                    items, size, ledger.cache, key, threads=os.cpu_count() or 1, progress=progress
                )
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("\n".join(wrong))


def missing_runs(plan: Plan, ledger: Ledger, *, retry: bool = False) -> list[Run]:
    """Return the runs that have no terminal status, each identity once, in the plan's order."""
    found: dict[str, Run] = {}
    for run in plan.runs:
        status = ledger.status(run.id)
        if status not in TERMINAL or (retry and status != "finished"):
            found.setdefault(run.id, run)
    return list(found.values())


def make_jobs(
    prepared: Prepared, runs: Sequence[Run], ledger: Ledger, options: Options
) -> list[Job]:
    """Return one job per run."""
    from ablations.launch.job import Job

    plan = prepared.plan
    jobs = []
    for run in runs:
        arm = plan.layout.arm(run.arm)
        execution = Execution(
            data_folder=prepared.spec.folder and prepared.spec.folder.expanduser().absolute(),
            cache=ledger.cache,
            device=options.device,
            skip_corrupt=prepared.request.skip_corrupt,
            data_fingerprint=plan.data_fingerprint,
            keep=options.keep or (_own_weights(arm.recipe) if run.arm in plan.ends else "none"),
            checkpoint_seconds=options.checkpoint_seconds,
            tracking=_tracking(plan, run, ledger, options) if options.track == "wandb" else None,
        )
        jobs.append(
            Job(
                run=run.id,
                arm=run.arm,
                seed=run.seed,
                recipe=arm.recipe,
                data=plan.data,
                home=ledger.home,
                execution=execution,
            )
        )
    return jobs


def outcomes_of(plan: Plan, ledger: Ledger) -> list[Outcome]:
    """Return what the ledger holds of every run of a plan."""
    return [ledger.outcome(run) for run in plan.runs]


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
        RequestError: nothing to add, fewer seeds than it has, or its runs would not be the same.
    """
    folder = ledger.study_folder(study)
    frozen, request, revision = thaw(folder)
    again = revision > 1 and request == _widened(thaw(folder, revision - 1)[1], add, seeds)
    if not again and add is None and (seeds is None or seeds == request.seeds):
        raise RequestError(f"study {study!r} has {request.seeds} seeds; give --add or more --seeds")
    if seeds is not None and seeds < request.seeds:
        raise RequestError(
            f"--seeds {seeds}: study {study!r} has {request.seeds} already, and none is taken away"
        )
    wider = request if again else _widened(request, add, seeds)
    prepared = prepared_by(wider)
    now = {(run.arm, run.seed): run.id for run in prepared.plan.runs}
    if any(now.get((run.arm, run.seed), run.id) != run.id for run in frozen.runs):
        raise RequestError(
            f"the study {study!r} was frozen with other data or recipes than its request gives now:"
            " make another study"
        )
    earlier = {_question(one) for one in frozen.layout.contrasts if one.label not in frozen.late}
    late = {one.label for one in prepared.plan.layout.contrasts if _question(one) not in earlier}
    if LATE_SPLIT in frozen.late or prepared.plan.layout.split != frozen.layout.split:
        late.add(LATE_SPLIT)
    plan = dataclasses.replace(prepared.plan, study=study, late=frozenset(late))
    return dataclasses.replace(prepared, plan=plan, revision=revision + (not again))


class Study:
    """A study's answer, for notebooks: the JSON document, and frames of runs and contrasts."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan, self._ledger = plan, ledger

    @property
    def document(self) -> dict[str, Any]:
        """Return the object that `--format json` prints."""
        return document(self.plan, outcomes_of(self.plan, self._ledger))

    @property
    def runs(self) -> pandas.DataFrame:
        """Return one row per run: arm, seed, status, value (percent), seconds, costs."""
        import pandas

        rows = [
            {"id": o.run.id, "arm": o.run.arm, "seed": o.run.seed, "status": o.status}
            | {"value": o.value}
            | dict(o.cost)
            for o in outcomes_of(self.plan, self._ledger)
        ]
        return pandas.DataFrame(rows)

    @property
    def contrasts(self) -> pandas.DataFrame:
        """Return one row per contrast, the columns of the JSON document."""
        import pandas

        return pandas.DataFrame(self.document["contrasts"])


def open_study(name: str, home: str | Path = "ablate-home") -> Study:
    """Open a study of a home.

    Raises:
        RequestError: there is none of that name.
    """
    ledger = Ledger(Path(home))
    return Study(thaw(ledger.study_folder(name))[0], ledger)


def _shown(names: Sequence[str]) -> str:
    """Return a few file names, those in no encoding too, as text that can be written."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]).encode("utf-8", "backslashreplace").decode() + more


def _widened(request: Request, add: str | None, seeds: int | None) -> Request:
    return dataclasses.replace(
        request,
        add=request.add if add is None else f"{request.add},{add}",
        seeds=request.seeds if seeds is None else seeds,
    )


def _question(contrast: Contrast) -> tuple[Any, ...]:
    """Return what makes a contrast the same: a label in a wider recipe asks something else."""
    return (contrast.label, contrast.estimand, tuple(sorted(contrast.weights.items())))


def _data_spec(request: Request, base: Recipe) -> DataSpec:
    if request.data is not None:
        return parse_data(request.data)
    return DataSpec(EMBEDDED)


def _own_weights(recipe: Recipe) -> str:
    return "ema" if recipe.evaluate.weights == "ema" else "last"


def _tracking(plan: Plan, run: Run, ledger: Ledger, options: Options) -> Tracking:
    arm = plan.layout.arm(run.arm)
    kinds = {component.kind.value for component in arm.components}
    return Tracking(
        group=plan.study,
        job_type=run.arm,
        name=f"{run.arm} seed {run.seed}",
        run_id=run.id,
        folder=(ledger.home / "tracking").absolute(),
        project=options.wandb_project,
        entity=options.wandb_entity,
        tags=tuple(sorted({component.key for component in arm.components} | kinds)),
        config={
            "arm": run.arm,
            "seed": run.seed,
            "study": plan.study,
            "data": plan.data,
            "components": [str(component) for component in arm.components],
            "recipe": plain(leaves(arm.recipe)),
        },
    )
