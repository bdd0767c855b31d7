"""`ablate doctor`: what is slow here, what bounds it and what to change. Trains nothing kept.

Longer than most: measuring, judging and printing are three short parts of one answer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.bases import (
    apply_settings,
    check_possible,
    fit_to_data,
    fit_to_hardware,
    resolve,
    with_facts,
    with_recipe_of,
)
from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.packing import choose_slots
from ablations.runner import check_options
from ablations.study import EMBEDDED, Options
from lightning_modules.data import DataSpec, data_facts, parse_data
from lightning_modules.execution import Execution
from recipes import Recipe, parse, peak, stack

if TYPE_CHECKING:
    from lightning_modules.sections import Sections

SUBJECTS = {
    "home": "what is damaged or left over in a home; mends what can be mended (the default)",
    "speed": "where a run's time goes, what bounds it and what to change",
}
SCHEMA_VERSION = 1

# From which share on a part is called the bound, and advice is given. Chosen, not measured: a part
# of a third of the time can make a run 1.5 times as fast at most if it goes away altogether.
_INPUT = 1 / 3  # of a step
_EVALUATION = 0.25  # of a run
_FIXED = 1 / 3  # of a step
_ARITHMETIC = 0.35  # of the matmul peak reached by forward and backward
_FIXED_SECTIONS = ("optimiser", "ema", "logging", "rest")


def speed(arguments: argparse.Namespace, home: Path, say: Callable[[str], None]) -> str:
    """Measure the recipe that the options ask for and return what is to be shown.

    Raises:
        RecipeError, DataError, RequestError: what is wrong, before anything is measured.
    """
    if arguments.base is None:
        raise RequestError("--base is missing, as in ablate doctor speed --base tiny --add ls,se")
    if arguments.seconds < 1:
        raise RequestError(f"--seconds {arguments.seconds}: give 1 or more")
    check_options("local", 1, None, arguments.device)
    ledger = Ledger(home)
    ledger.check_writable()
    recipe, spec, fingerprint = _asked(arguments, ledger, say)

    from lightning_modules.sections import measure

    slots = choose_slots(10**6, Options(device=arguments.device))
    execution = Execution(
        data_folder=spec.settled,
        cache=ledger.cache,
        device=slots.devices[0],
        threads=slots.threads,
        data_fingerprint=fingerprint,
    )
    say(f"timing about {arguments.seconds} s of training; nothing of it is kept ...")
    found = measure(recipe, execution, seconds=float(arguments.seconds))
    document = document_of(found, recipe)
    if arguments.format == "json":
        return json.dumps(document, indent=2, allow_nan=False)
    return table(document)


def document_of(found: Sections, recipe: Recipe) -> dict[str, Any]:
    """Return the measurements, the bound and the advice as plain values."""
    parts = found.parts()
    step = sum(found.step.values())
    compute = found.step["forward"] + found.step["backward"]
    fixed = sum(found.step[name] for name in _FIXED_SECTIONS)
    reached = found.flops / compute if compute else 0.0
    evidence = {
        "images_per_second": found.batch_size / step,
        "input_images_per_second": _rate(found.batch_size, found.step["input"]),
        "network_images_per_second": _rate(found.batch_size, compute),
        "flops_per_second": reached,
        "matmul_peak_flops_per_second": found.matmul_peak,
        "of_matmul_peak": reached / found.matmul_peak,
        "copy_bytes_per_second": found.copied,
        "evaluation_of_run": found.evaluation / found.run_seconds,
        "input_of_step": found.step["input"] / step,
        "fixed_of_step": fixed / step,
    }
    bound, why = _bound(evidence)
    return {
        "schema_version": SCHEMA_VERSION,
        "subject": "speed",
        "device": found.device,
        "threads": found.threads,
        "batch_size": found.batch_size,
        "steps": found.steps,
        "steps_measured": found.steps_measured,
        "step_ms": 1000 * found.step_seconds,
        "run_seconds": found.run_seconds,
        "sections": [
            {
                "section": name,
                "ms_per_step": 1000 * found.step[name] if name in found.step else None,
                "run_seconds": seconds,
                "share_of_run": seconds / found.run_seconds,
            }
            for name, seconds in parts.items()
        ],
        "bound": bound,
        "why": why,
        "evidence": evidence,
        "advice": advice(evidence, recipe, found.device),
    }


def advice(evidence: dict[str, Any], recipe: Recipe, device: str) -> list[str]:
    """Return up to three things to try, each because a measured share supports it."""
    found = []
    another = "another recipe: its results are not these"
    gpu = device not in ("cpu", "mps")
    if evidence["input_of_step"] >= _INPUT:
        if not recipe.data.stored_size:
            found.append(
                "the images are decoded in every epoch: store them once with"
                f" `--set data.stored_size={_stored(recipe)}` ({another})"
            )
        elif recipe.data.stored_size > 1.5 * recipe.data.resolution:
            found.append(
                f"images are stored at {recipe.data.stored_size} pixels and cut to"
                f" {recipe.data.resolution}: `--set data.stored_size={_stored(recipe)}` ({another})"
            )
    if evidence["evaluation_of_run"] >= _EVALUATION and recipe.optim.epochs > 1:
        if peak(recipe.optim.ema_decay) > 0:
            found.append(
                "both sets of weights are evaluated: without the average half of it goes,"
                f" `--set optim.ema_decay=0 --set evaluate.weights=raw` ({another})"
            )
        if evidence["evaluation_of_run"] >= 0.5:
            found.append(
                "evaluation is most of a run: the curve costs minival images, fewer of them with"
                f" `--set data.minival_fraction={recipe.data.minival_fraction / 2:g}` ({another})"
            )
    if evidence["fixed_of_step"] >= _FIXED:
        found.append(
            "much of a step does not depend on the images: a larger batch has fewer steps,"
            f" `--set data.batch_size={2 * recipe.data.batch_size}` ({another}; the learning rate"
            " belongs to the batch)"
        )
    if gpu and recipe.optim.precision == "32":
        found.append(f"this GPU multiplies bf16 faster: `--set optim.precision=bf16` ({another})")
    if evidence["fixed_of_step"] >= _FIXED and gpu:
        found.append(
            "the GPU waits between small steps: several runs share it with `--slots 2` (the same"
            " results up to the GPU's own rounding)"
        )
    return found[:3]


def table(document: dict[str, Any]) -> str:
    """Return the document as text for a person."""
    lines = [
        f"a run: {document['steps']} steps of {document['batch_size']} images, about"
        f" {document['run_seconds']:.1f} s on {document['device']} with {document['threads']}"
        f" threads; measured: {document['steps_measured']} steps of {document['step_ms']:.2f} ms",
        "",
        f"{'section':12} {'ms/step':>9} {'s/run':>9} {'of run':>7}",
    ]
    for row in document["sections"]:
        step = "" if row["ms_per_step"] is None else f"{row['ms_per_step']:.2f}"
        lines.append(
            f"{row['section']:12} {step:>9} {row['run_seconds']:9.2f} {row['share_of_run']:7.1%}"
        )
    lines += ["", f"bound by {document['bound']}: {document['why']}"]
    lines += [f"try: {one}" for one in document["advice"]]
    if not document["advice"]:
        lines.append("try: nothing that these numbers support")
    return "\n".join(lines)


def _asked(
    arguments: argparse.Namespace, ledger: Ledger, say: Callable[[str], None]
) -> tuple[Recipe, DataSpec, str]:
    """Return the recipe with every component, as a plan makes its full arm; and its data."""
    recipe = resolve(arguments.base, ledger.cache)
    spec = parse_data(arguments.data) if arguments.data else DataSpec(EMBEDDED)
    notes: list[str] = []
    if arguments.recipe_of is not None:
        recipe, given = with_recipe_of(
            arguments.recipe_of, recipe, arguments.settings, spec.name, ledger.cache
        )
        notes += given
    facts = data_facts(spec, ledger.cache)
    recipe, profiled = fit_to_data(recipe, facts)
    recipe, rescaled = apply_settings(recipe, arguments.settings)
    recipe = with_facts(recipe, ledger.cache)
    check_possible(recipe)
    recipe, hardware = fit_to_hardware(recipe, arguments.settings, arguments.device)
    for note in (*notes, profiled, rescaled, hardware):
        say(note)
    if arguments.add:
        recipe = stack(recipe, parse(arguments.add))
    return recipe, spec, facts.fingerprint


def _bound(evidence: dict[str, Any]) -> tuple[str, str]:
    if evidence["evaluation_of_run"] >= 0.5:
        return "evaluation", f"{evidence['evaluation_of_run']:.0%} of a run"
    if evidence["input_of_step"] >= _INPUT:
        return (
            "the input",
            f"{evidence['input_of_step']:.0%} of a step; alone it gives"
            f" {evidence['input_images_per_second']:.0f} images/s, the network alone"
            f" {evidence['network_images_per_second']:.0f}",
        )
    share = (
        f"forward and backward reach {evidence['flops_per_second'] / 1e9:.1f} GFLOP/s,"
        f" {evidence['of_matmul_peak']:.0%} of what a large product reaches here"
    )
    if evidence["fixed_of_step"] >= _FIXED:
        return (
            "fixed overhead per step",
            f"{evidence['fixed_of_step']:.0%} of a step is neither images nor network; {share}",
        )
    if evidence["of_matmul_peak"] >= _ARITHMETIC:
        return "the network's arithmetic", share
    return (
        "the network, but not by its products",
        f"{share}: the rest is memory traffic"
        f" ({evidence['copy_bytes_per_second'] / 1e9:.1f} GB/s by a copy here) or the"
        " start of small operations, which these clocks cannot tell apart",
    )


def _stored(recipe: Recipe) -> int:
    """Return a stored size with room for crops: 8 / 7 of the resolution, as 256 for 224."""
    return round(recipe.data.resolution * 8 / 7)


def _rate(images: int, seconds: float) -> float | None:
    return images / seconds if seconds > 0 else None
