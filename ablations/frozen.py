"""`plan.yaml`: a plan as it was frozen before the first run, both ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.kept import keep, kept
from ablations.names import checked_identity, checked_study
from ablations.plans import Arm, Contrast, Layout, Plan, Run, Split, Stopping
from ablations.request import Request, from_plain
from lightning_modules.files import write_text
from recipes import Component, Kind, Recipe, RecipeError, fingerprint, parse
from recipes.components import TABLE
from recipes.text import plain
from recipes.yaml import dump_tree, from_tree, plain_recipe, read_text, read_tree

SCHEMA = 1


def freeze(plan: Plan, request: Request, folder: Path, revision: int = 1) -> None:
    """Write the plan; an earlier revision is kept beside it as `plan-<revision>.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.yaml"
    if revision > 1 and path.exists():  # copied, not moved: at no moment is there no plan
        earlier, text = folder / f"plan-{revision - 1}.yaml", read_text(path)
        write_text(earlier, text)
        if (tree := kept(path, text)) is not None:
            keep(earlier, text, tree)
    tree = _to_tree(plan, request, revision)
    text = dump_tree(tree)
    write_text(path, text)
    keep(path, text, tree)


def thaw(folder: Path, revision: int | None = None) -> tuple[Plan, Request, int]:
    """Return the frozen plan of a study, the request behind it and its revision.

    A plan that was found in order before gives its recipes as they are asked for.

    Args:
        folder: The folder of the study.
        revision: An earlier revision; None: the latest.

    Raises:
        RequestError: there is none, it is damaged, or it was written by another version.
    """
    path = folder / ("plan.yaml" if revision is None else f"plan-{revision}.yaml")
    if not path.exists():
        raise RequestError(f"there is no study {folder.name!r} in {folder.parent.parent}")
    try:
        text = read_text(path)
        known = kept(path, text)
        tree = known or read_tree(text, str(path), "a frozen plan")
        if tree.get("schema_version") != SCHEMA:
            raise RequestError(
                f"{path} is of schema version {tree.get('schema_version')!r}; this program reads"
                f" {SCHEMA}"
            )
        request = from_plain(tree["request"], str(path))
        plan = _from_tree(tree, str(path), whole=known is None)
        revision = int(tree["revision"])
        _check_names(plan, path)
        if known is None:
            keep(path, text, tree)
        return plan, request, revision
    except RequestError:
        raise
    except RecipeError as error:
        raise RequestError(str(error)) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{path} is damaged: {error!r}") from None


def _check_names(plan: Plan, path: Path) -> None:
    """Refuse a plan whose names could lead out of a home.

    Raises:
        RequestError: with the file that says so.
    """
    try:
        checked_study(plan.study)
        for run in plan.runs:
            checked_identity(run.id)
    except RequestError as error:
        raise RequestError(f"{path} is damaged: {error}") from None


def _to_tree(plan: Plan, request: Request, revision: int) -> dict[str, Any]:
    by_arm: dict[str, dict[str, str]] = {}
    for run in plan.runs:
        by_arm.setdefault(run.arm, {})[str(run.seed)] = run.id
    return {
        "schema_version": SCHEMA,
        "study": plan.study,
        "revision": revision,
        "metric": "top1",
        "request": request.plain(),
        "data": plan.data,
        "data_fingerprint": plan.data_fingerprint,
        "seeds": list(plan.seeds),
        "notes": list(plan.notes),
        "late": sorted(plan.late),
        "checkpoint": plan.protocol["checkpoint"],
        "rope": plan.rope,
        "stopping": None if plan.stopping is None else _stopping_tree(plan.stopping),
        "confirm": plan.confirm,
        "design": plan.layout.design,
        "design_notes": list(plan.layout.notes),
        "aliases": list(plan.layout.aliases),
        "contrasts": [_contrast_tree(contrast) for contrast in plan.layout.contrasts],
        "split": {
            "by_ladder": {side: dict(w) for side, w in plan.layout.split.by_ladder.items()},
            "by_blocks": None
            if plan.layout.split.by_blocks is None
            else {side: dict(w) for side, w in plan.layout.split.by_blocks.items()},
        },
        "arms": [
            {
                "name": arm.name,
                "components": [str(component) for component in arm.components],
                "fingerprint": fingerprint(arm.recipe),
                "runs": by_arm.get(arm.name, {}),
                "recipe": plain_recipe(arm.recipe),
            }
            for arm in plan.layout.arms
        ],
    }


def _contrast_tree(contrast: Contrast) -> dict[str, Any]:
    return {
        "label": contrast.label,
        "component": contrast.component,
        "kind": None if contrast.kind is None else contrast.kind.value,
        "outcome": contrast.outcome,
        "reason": contrast.reason,
        "edits": plain(contrast.edits),
        "estimand": contrast.estimand,
        "control": contrast.control,
        "treatment": contrast.treatment,
        "weights": dict(contrast.weights),
        "family": contrast.family,
    }


def _stopping_tree(stopping: Stopping) -> dict[str, Any]:
    return {
        "until": stopping.until,
        "stages": list(stopping.stages),
        "shares": list(stopping.shares),
        "max_runs": stopping.max_runs,
    }


def _stopping(tree: Mapping[str, Any] | None) -> Stopping | None:
    if tree is None:
        return None
    return Stopping(
        until=str(tree["until"]),
        stages=tuple(int(stage) for stage in tree["stages"]),
        shares=tuple(float(share) for share in tree["shares"]),
        max_runs=tree["max_runs"],
    )


def _from_tree(tree: Mapping[str, Any], source: str, *, whole: bool) -> Plan:
    """Read a plan; `whole`: with all recipes, so that whatever is wrong is told now."""
    arms, runs = [], []
    for row in tree["arms"]:
        arms.append(_thawed(row, source))
        if whole:
            _ = arms[-1].recipe, arms[-1].components
        runs += [
            Run(id=str(run), arm=row["name"], seed=int(seed)) for seed, run in row["runs"].items()
        ]
    contrasts = tuple(
        Contrast(**{**row, "kind": None if row["kind"] is None else Kind(row["kind"])})
        for row in tree["contrasts"]
    )
    seeds = tuple(int(seed) for seed in tree["seeds"])
    order = {arm.name: place for place, arm in enumerate(arms)}
    split = Split(**tree["split"])
    sides = [*split.sides.values()]
    sides += [contrast.weights for contrast in contrasts]
    numbers = [weight for weights in sides for weight in weights.values()]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise RequestError(f"{source} is damaged: a weight of a contrast is not a number")
    named = {name for weights in sides for name in weights}
    named |= {name for one in contrasts for name in (one.control, one.treatment) if name}
    if not arms or not named <= set(order) or {run.seed for run in runs} != set(seeds):
        raise RequestError(
            f"{source} is damaged: its arms, seeds and contrasts do not fit together"
        )
    return Plan(
        study=tree["study"],
        base=tree["request"]["base"],
        layout=Layout(
            design=tree["design"],
            arms=tuple(arms),
            contrasts=contrasts,
            split=split,
            notes=tuple(tree.get("design_notes", ())),
            aliases=tuple(tree.get("aliases", ())),
        ),
        seeds=seeds,
        runs=tuple(sorted(runs, key=lambda run: (run.seed, order[run.arm]))),
        data=tree["data"],
        data_fingerprint=tree["data_fingerprint"],
        notes=tuple(tree["notes"]),
        late=frozenset(tree["late"]),
        rope=tree.get("rope"),
        stopping=_stopping(tree.get("stopping")),
        confirm=int(tree.get("confirm", 0)),
    )


class _Thawed(Arm):
    """An arm that reads its recipe when it is asked for: most looks at a plan need its name."""

    _row: Mapping[str, Any]
    _source: str

    @cached_property
    def recipe(self) -> Recipe:
        recipe = from_tree(self._row["recipe"], f"{self._source}: arm {self.name}")
        if fingerprint(recipe) != self._row["fingerprint"]:
            raise RequestError(
                f"{self._source} is damaged: the recipe of arm {self.name} is not the one that was"
                " frozen (its fingerprint is another)"
            )
        return recipe

    @cached_property
    def components(self) -> tuple[Component, ...]:
        return tuple(one for text in self._row["components"] for one in _component(text))


def _thawed(row: Mapping[str, Any], source: str) -> Arm:
    arm = object.__new__(_Thawed)  # its recipe is not at hand
    vars(arm).update(name=row["name"], _row=row, _source=source)
    return arm


@dataclass(frozen=True)
class _Elsewhere(Component):
    """A user's component: a report needs only its name, and imports nothing that a file names."""

    text: str

    def __str__(self) -> str:
        """Return the text that was frozen."""
        return self.text

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Refuse: its code is imported only where a command asks for it."""
        raise RecipeError(f"{self.text}: its code is not imported by reading a plan")


def _component(text: str) -> tuple[Component, ...]:
    """Return a frozen component; of the user's own only the text, for a file may not name code."""
    if text.partition("(")[0] not in TABLE:
        return (_Elsewhere(text),)
    try:
        return parse(text)
    except RecipeError:
        return (_Elsewhere(text),)
