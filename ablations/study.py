"""A study from request to jobs: the plan, its images, what is missing of it.

Longer than most: `plan_study` is the one order in which a request is resolved and refused.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.bases import (
    Probe,
    apply_settings,
    check_possible,
    fit_to_data,
    fit_to_hardware,
    probed_here,
    resolve,
    with_facts,
    with_recipe_of,
)
from ablations.designs import lay_out
from ablations.designs.expected import error_df
from ablations.errors import RequestError
from ablations.launch.ray_options import RayOptions
from ablations.launch.slurm_options import Slurm
from ablations.ledger import TERMINAL, Ledger, run_ids
from ablations.minival import check_held_out
from ablations.nulls import with_nulls
from ablations.plans import Plan, Run
from ablations.protocol import check_protocol
from ablations.publishing.targets import Target, targets_of
from ablations.report.staged import announced
from ablations.request import Request
from ablations.sequential import stopping_of
from ablations.stages import refuse_beyond_images
from lightning_modules.data import (
    DataError,
    DataFacts,
    DataSpec,
    data_facts,
    open_source,
    parse_data,
)
from lightning_modules.execution import Execution
from lightning_modules.shares import check_divided
from recipes import Recipe, parse_levels
from recipes.identity import digest

if TYPE_CHECKING:
    from ablations.certificate import Certificate
    from ablations.launch.job import Job

EMBEDDED = "digits"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is carried out; nothing here changes a result or a run's identity."""

    launch: str = "local"  # or ray, slurm
    ray: RayOptions = RayOptions()
    slurm: Slurm = Slurm()
    device: str = "auto"
    devices: int = 1  # per run: GPUs, or processes on a CPU
    slots: int | None = None  # runs at once; None: one per GPU, or per core
    compile: str = "never"  # as Execution has it
    deterministic: bool = False
    keep: str | None = None  # none, ema, last; None: the base's and the full arm's own
    retry: tuple[str, ...] = ()  # statuses of runs that are made again
    fail_fast: bool = False  # stop at the first run of this call that fails
    time_limit: float | None = None  # seconds of a run
    track: str = "wandb"  # where runs are shown: or tensorboard, csv, several as wandb,csv, or none
    wandb_project: str | None = None
    wandb_entity: str | None = None
    checkpoint_seconds: float | None = 60.0  # as Execution has it
    checkpoint_epochs: int | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """Return where runs are shown.

        Raises:
            RequestError: a tracker is not known, or not installed.
        """
        return targets_of(self.track, self.wandb_project, self.wandb_entity)


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
    request: Request,
    home: Path,
    study: str | None = None,
    device: str = "auto",
    probe: Probe = probed_here,
    devices: int = 1,
) -> Prepared:
    """Resolve a request into a plan. Reads data and facts, writes only to the home's memory.

    Args:
        request: what was asked for.
        home: the folder of all studies.
        study: the study's name; None: the request's own.
        device: what the runs will be on, as `--device` has it.
        probe: what finds the facts of a backbone that the home does not remember.
        devices: per run, as `--devices` has it.

    Raises:
        RecipeError, DataError, RequestError: what is wrong, before anything is trained.
    """
    ledger = Ledger(home)
    base = resolve(request.base, ledger.cache, probe)
    components = parse_levels(request.add)
    spec = _data_spec(request, base)
    given: tuple[str, ...] = ()
    if request.recipe_of is not None:
        base, given = with_recipe_of(
            request.recipe_of, base, request.settings, spec.name, ledger.cache, probe
        )
    facts = data_facts(spec, ledger.cache, skip_corrupt=request.skip_corrupt)
    base, profiled = fit_to_data(base, facts)
    base, rescaled = apply_settings(base, request.settings)
    base = with_facts(base, ledger.cache, probe)
    check_possible(base)
    if base.data.dataset != spec.name:
        raise RequestError(f"data.dataset = {base.data.dataset!r}: choose the data with --data")
    base, hardware = fit_to_hardware(base, request.settings, device, devices)
    layout = lay_out(
        request.design,
        base,
        components,
        question=request.question,
        interactions=request.interactions,
        budget=request.budget,
        seeds=request.seeds,
        noise=request.noise,
    )
    if len(layout.arms) == 1:
        reasons = "; ".join(
            dict.fromkeys(
                f"{one.label.removeprefix('+')}: {one.reason}" for one in layout.contrasts
            )
        )
        raise RequestError(f"no component of {request.add!r} changes anything here: {reasons}")
    layout = with_nulls(layout) if request.null else layout
    for arm in layout.arms:
        check_divided(arm.recipe, devices)
    exceptions = check_protocol(layout)
    counts = layout.seeds_by_arm(request.seeds)
    seeds = tuple(range(max(counts.values())))
    ids = {
        arm.name: run_ids(arm.recipe, facts.fingerprint, range(counts[arm.name]))
        for arm in layout.arms
    }
    runs = tuple(
        Run(id=ids[arm.name][seed], arm=arm.name, seed=seed)
        for seed in seeds
        for arm in layout.arms
        if seed < counts[arm.name]
    )
    dummies = sum(run.arm in layout.dummies for run in runs)
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
        *given[:1],
        *exceptions,
        f"--null adds {dummies} runs to the {request.budget} of --budget"
        if dummies and request.budget is not None
        else "",
    ]
    per_arm = Counter(run.arm for run in runs)
    stopping = stopping_of(
        request,
        len(per_arm),
        seeds=min(per_arm.values()),
        runs=len(runs),
        error_df=error_df(layout, request.seeds),
    )
    plan = Plan(
        study=name,
        base=request.base,
        layout=layout,
        seeds=seeds,
        runs=runs,
        data=spec.name,
        data_fingerprint=facts.fingerprint,
        notes=tuple(note for note in notes if note),
        rope=request.rope,
        stopping=stopping,
        confirm=request.confirm,
    )
    check_held_out(request, plan)
    if not (ledger.study_folder(name) / "plan.yaml").exists():  # a study that is there may end
        refuse_beyond_images(plan, ledger)
    announcement = announced(plan)
    told = tuple(note for note in (*given, profiled, rescaled, hardware, announcement) if note)
    return Prepared(plan=plan, request=request, spec=spec, facts=facts, notes=told)


def prepare_images(
    prepared: Prepared, ledger: Ledger, progress: Callable[[int, int], None], *, check: bool
) -> None:
    """Split and decode what the plan needs, so that what is wrong is told before any training.

    With `check`, images that are to be streamed are decoded once too: minutes for a large set,
    which a mere plan does not spend.
    """
    from lightning_modules.data import cache_key, check_decodable, open_cache, training_parts

    source = open_source(
        prepared.spec, skip_corrupt=prepared.request.skip_corrupt, memory=ledger.cache
    )
    for data in {arm.recipe.data for arm in prepared.plan.layout.arms}:
        training_parts(source.train, data, prepared.plan.seeds[0])
    sizes = {arm.recipe.data.stored_size for arm in prepared.plan.layout.arms}
    if 0 in sizes and check and not prepared.request.skip_corrupt:  # else they are known
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


def missing_runs(plan: Plan, ledger: Ledger, *, retry: Collection[str] = ()) -> list[Run]:
    """Return the runs without a terminal status or with one of `retry`, in the plan's order.

    Each identity comes once. A finished run is not made again.
    """
    found: dict[str, Run] = {}
    for run in plan.runs:
        status = ledger.status(run.id)
        if status not in TERMINAL or (status in retry and status != "finished"):
            found.setdefault(run.id, run)
    return list(found.values())


def make_jobs(
    prepared: Prepared,
    runs: Sequence[Run],
    ledger: Ledger,
    options: Options,
    certificates: Sequence[Certificate] = (),
) -> list[Job]:
    """Return one job per run, each with the certificates of its arm."""
    from ablations.launch.job import Job

    plan = prepared.plan
    ends, known = plan.ends, defaultdict(list)
    for one in certificates:
        known[one.arm].append(one.plain())
    jobs = []
    for run in runs:
        arm = plan.layout.arm(run.arm)
        execution = Execution(
            data_folder=prepared.spec.settled,
            cache=ledger.cache,
            device=options.device,
            devices=options.devices,
            compile=options.compile,
            deterministic=options.deterministic,
            skip_corrupt=prepared.request.skip_corrupt,
            data_fingerprint=plan.data_fingerprint,
            keep=options.keep or (_own_weights(arm.recipe) if run.arm in ends else "none"),
            checkpoint_seconds=options.checkpoint_seconds,
            checkpoint_epochs=options.checkpoint_epochs,
            time_limit=options.time_limit,
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
                certificates=tuple(known[run.arm]),
            )
        )
    return jobs


def _shown(names: Sequence[str]) -> str:
    """Return a few file names, those in no encoding too, as text that can be written."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]).encode("utf-8", "backslashreplace").decode() + more


def _data_spec(request: Request, base: Recipe) -> DataSpec:
    if request.data is not None:
        return parse_data(request.data)
    return DataSpec(EMBEDDED)


def _own_weights(recipe: Recipe) -> str:
    return "ema" if recipe.evaluate.weights == "ema" else "last"
