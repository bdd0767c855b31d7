"""What differs between two recipes, runs or studies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ablations.answers import document_of
from ablations.bases import resolve
from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.stages import with_stages
from recipes import Recipe, diff
from recipes.validate import show
from recipes.yaml import load_file

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One operand: a recipe, and what else is known of it."""

    kind: str  # recipe, run or study
    name: str
    recipe: Recipe
    result: dict[str, Any]
    full: Recipe | None = None  # of a study: its arm with the most components
    folders: Mapping[str, Path] = field(default_factory=dict)  # runs that can be compared, by name


def differences(ledger: Ledger, first: str, second: str) -> str:
    """Return leaves, outcome, cost and flipped images of A and B.

    Raises:
        RequestError: an operand names no recipe, run or study, or two runs cannot be compared.
    """
    a, b = _side(ledger, first), _side(ledger, second)
    lines = [f"A  {a.kind} {a.name}", f"B  {b.kind} {b.name}", "", "leaves"]
    changed = diff(a.recipe, b.recipe)
    lines += [f"  {path}: {show(old)} -> {show(new)}" for path, (old, new) in changed.items()]
    lines += ["  none"] if not changed else []
    if a.full is not None and b.full is not None:
        lines += ["", "leaves of the full arms"]
        changed = diff(a.full, b.full)
        lines += [f"  {path}: {show(old)} -> {show(new)}" for path, (old, new) in changed.items()]
        lines += ["  none"] if not changed else []
    if a.result and b.result:
        lines += ["", "outcome and cost"]
        for key in dict.fromkeys([*a.result, *b.result]):
            lines.append(f"  {key}: {_number(a.result.get(key))} -> {_number(b.result.get(key))}")
    shared = [name for name in a.folders if name in b.folders]
    if shared:
        lines += ["", "predictions"]
        lines += [_flips(name, a.folders[name], b.folders[name]) for name in shared]
    return "\n".join(lines)


def _side(ledger: Ledger, name: str) -> _Side:
    run = ledger.find_run(name)
    if run is not None:
        folder = ledger.run_folder(run)
        kept = ledger.result(run)
        keys = (
            "top1",
            "loss",
            "seconds",
            "train_images_per_second",
            "peak_memory_bytes",
            "params",
            "macs",
        )
        result = {key: kept.get(key) for key in keys} if kept else {}
        recipe = load_file(folder / "recipe.yaml")
        return _Side(kind="run", name=run, recipe=recipe, result=result, folders={"": folder})
    if name in ledger.studies():
        frozen, _, _ = thaw(ledger.study_folder(name))
        plan, found = with_stages(frozen, ledger), document_of(frozen, ledger)
        outcomes = [ledger.outcome(one) for one in plan.runs]
        seconds = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
        result = {"base": found["base"]["value"], "seconds": math.fsum(seconds)} | {
            f"{row['label']} ({row['estimand']})": row["delta"] for row in found["contrasts"]
        }
        ends = {plan.ends[0]: "base", plan.ends[-1]: "full arm"}
        return _Side(
            kind="study",
            name=name,
            recipe=plan.layout.arms[0].recipe,
            result=result,
            full=plan.layout.arm(plan.ends[-1]).recipe,
            folders={
                f"{ends[one.arm]}, seed {one.seed}: ": ledger.run_folder(one.id)
                for one in plan.runs
                if one.arm in ends
            },
        )
    try:
        recipe = resolve(name, ledger.cache)
    except ValueError as error:
        raise RequestError(f"{name!r} is no run or study of {ledger.home}, and {error}") from None
    return _Side(kind="recipe", name=name, recipe=recipe, result={})


def _flips(name: str, first: Path, second: Path) -> str:
    import numpy as np

    paths = [folder / "predictions.npz" for folder in (first, second)]
    if not all(path.exists() for path in paths):
        return f"  {name}not kept for both runs"
    found = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as stored:
                found.append(stored["predicted"])
        except (ValueError, KeyError, EOFError, BadZipFile):
            return f"  {name}{path} is damaged"
    mine, other = found
    if mine.shape != other.shape:
        return f"  {name}{len(mine)} images there, {len(other)} here: other data"
    flipped = np.flatnonzero(mine != other)
    shown = ", ".join(f"{i} ({mine[i]} -> {other[i]})" for i in flipped[:_SHOWN])
    more = f" and {len(flipped) - _SHOWN} more" if len(flipped) > _SHOWN else ""
    return f"  {name}differ on {len(flipped)} of {len(mine)} images: {shown}{more}".rstrip(": ")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
