"""All that a page about a study shows, gathered from the ledger: values, and no word of layout.

The numbers are those of the document (`ablations.report.document`) and of its analysis; what pages
show beside them, as curves, is read here.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.ledger import Ledger, recall
from ablations.plans import BASE, COMPONENTS, Arm, Contrast, Layout, Outcome, Plan
from ablations.report import words
from recipes import diff
from recipes.validate import show

REST = "the rest"  # of what the full recipe is worth: what the changes do only together
_ROUNDING = 0.005  # points
CURVES = ("val/top1", "train/loss")  # accuracy in percent on minival; mean loss of an epoch
_ENVIRONMENT = ("schema_version",)  # of environment.json: what says nothing of where a run was made


@dataclass(frozen=True, kw_only=True)
class ArmTold:
    """An arm as a row of a page."""

    name: str
    components: tuple[str, ...]
    side: str  # base, training, architecture or both
    changes: tuple[tuple[str, str, str], ...]  # leaf, the base's value, the arm's value
    value: float | None  # mean of its finished runs, percent
    interval: tuple[float, float] | None
    n: int  # finished runs
    runs: int  # planned ones
    params: float | None
    macs: float | None
    images_per_second: float | None
    memory: float | None  # bytes at the peak
    seconds: float | None  # of one run, as a mean

    @property
    def hours(self) -> float | None:
        """Return the hours that one run takes, as a mean."""
        return None if self.seconds is None else self.seconds / 3600


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change between two levels of accuracy, in percent."""

    label: str
    side: str  # training or architecture; "" where it has no kind
    start: float
    end: float
    interval: tuple[float, float] | None = None  # of the difference
    verdict: str | None = None
    band: tuple[float, float] | None = None  # least and most it was worth over pairs of arms
    pairs: int = 0  # of trained arms that differ in it alone


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two components are worth together beyond each by itself, in points."""

    delta: float
    verdict: str | None  # None: no contrast of the study asks for it, so it has no interval either
    squares: int  # of arms with neither, either and both, of which it is the mean


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A number by epoch, over the runs of an arm."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]  # of the lowest seed
    high: tuple[float, ...]
    n: int  # runs at the first of these epochs


@dataclass(frozen=True, kw_only=True)
class RunTold:
    """A run as a row of a page."""

    id: str
    arm: str
    seed: int | None
    status: str
    value: float | None
    seconds: float | None
    message: str
    environment: int | None  # place in `Story.environments`


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a page shows of a study."""

    document: Mapping[str, Any]
    effects: Sequence[Mapping[str, Any]]  # rows with the keys of EFFECTS
    arms: tuple[ArmTold, ...]
    steps: tuple[Step, ...]  # of the ladder; none where the design has no order
    pairs: Mapping[tuple[str, str], Pair]  # by the two components, in the plan's order
    curves: Mapping[str, Mapping[str, Curve]]  # by name and arm
    runs: tuple[RunTold, ...]
    environments: tuple[Mapping[str, Any], ...]
    certificates: tuple[Mapping[str, Any], ...]
    published: bool = False

    @property
    def headline(self) -> list[str]:
        """Return the answer in sentences, the first one first."""
        return words.headline(self.document)

    @property
    def changes(self) -> list[Mapping[str, Any]]:
        """Return the other contrasts that have a number: of one component each."""
        return [
            one
            for one in self.document["contrasts"]
            if one["delta"] is not None and not words.is_interaction(one)
        ]


def gather(
    plan: Plan,
    outcomes: Sequence[Outcome],
    document: Mapping[str, Any],
    effects: Sequence[Mapping[str, Any]],
    means: Mapping[str, tuple[float, tuple[float, float] | None]],
    ledger: Ledger | None = None,
    certificates: Sequence[Mapping[str, Any]] = (),
) -> Story:
    """Return all that a page shows of a study.

    Args:
        plan: with the runs that its stages added.
        outcomes: of its runs.
        document: its answer.
        effects: rows of its analysis (`ablations.report.effects`).
        means: value and interval by arm.
        ledger: where curves and environments are; None: nowhere, as of published numbers.
        certificates: of its arms.
    """
    places: dict[str, int] = {}
    runs = []
    for one in outcomes:
        place = None
        if ledger is not None:
            about = recall(ledger.run_folder(one.run.id) / "environment.json")
            shown = {key: value for key, value in about.items() if key not in _ENVIRONMENT}
            if shown:
                place = places.setdefault(json.dumps(shown, sort_keys=True), len(places))
        runs.append(
            RunTold(
                id=one.run.id,
                arm=one.run.arm,
                seed=None if plan.published else one.run.seed,
                status=one.status,
                value=one.value,
                seconds=one.seconds,
                message=one.error,
                environment=place,
            )
        )
    return Story(
        document=document,
        effects=effects,
        arms=tuple(_arms(plan.layout, outcomes, means)),
        steps=tuple(_steps(plan.layout, document, means)),
        pairs=_pairs(plan.layout, document, means),
        curves={} if ledger is None else _curves(outcomes, ledger),
        runs=tuple(runs),
        environments=tuple(json.loads(text) for text in places),
        certificates=tuple(certificates),
        published=plan.published is not None,
    )


def _arms(
    layout: Layout,
    outcomes: Sequence[Outcome],
    means: Mapping[str, tuple[float, tuple[float, float] | None]],
) -> Iterable[ArmTold]:
    by_arm: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_arm.setdefault(one.run.arm, []).append(one)
    known = {arm.name: arm for arm in layout.arms}
    for name in dict.fromkeys([*known, *by_arm]):
        mine, arm = by_arm.get(name, []), known.get(name)
        finished = [one for one in mine if one.status == "finished"]
        value, interval = means.get(name, (None, None))
        yield ArmTold(
            name=name,
            components=() if arm is None else tuple(map(str, arm.components)),
            side=_side_of(arm) if arm is not None else "",
            changes=() if arm is None else _changes(layout.arms[0], arm),
            value=value,
            interval=interval,
            n=len(finished),
            runs=len(mine),
            params=_mean([one.cost.get("params") for one in finished]),
            macs=_mean([one.cost.get("macs") for one in finished]),
            images_per_second=_mean([one.cost.get("train_images_per_second") for one in finished]),
            memory=_mean([one.cost.get("peak_memory_bytes") for one in finished]),
            seconds=_mean([one.seconds for one in finished]),
        )


def _side_of(arm: Arm) -> str:
    sides = {component.kind.side for component in arm.components}
    return "both" if len(sides) > 1 else next(iter(sides), BASE)


def _changes(base: Arm, arm: Arm) -> tuple[tuple[str, str, str], ...]:
    found = diff(base.recipe, arm.recipe)
    return tuple((path, show(old), show(new)) for path, (old, new) in found.items())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _steps(
    layout: Layout,
    document: Mapping[str, Any],
    means: Mapping[str, tuple[float, tuple[float, float] | None]],
) -> Iterable[Step]:
    """Yield the changes as they add up from the base to the full recipe.

    In the order of a ladder where the study has one; else the averages over the others, which need
    not add up: what is left to the full recipe is a step of its own. None after one without a
    number.
    """
    asked = {contrast.estimand for contrast in layout.contrasts}
    estimand = "in_order" if "in_order" in asked else "average_over_others"
    level = document["base"]["value"]
    for contrast, told in zip(layout.contrasts, document["contrasts"], strict=True):
        wanted = contrast.estimand == estimand and contrast.family == COMPONENTS
        if not wanted or contrast.outcome != "applied" or words.is_interaction(told):
            continue
        if level is None or told["delta"] is None:
            return
        band, pairs = _band(layout, contrast, means)
        yield Step(
            label=contrast.label,
            side="" if contrast.kind is None else contrast.kind.side,
            start=level,
            end=level + told["delta"],
            interval=told["interval"] and (told["interval"][0], told["interval"][1]),
            verdict=told["verdict"],
            band=band,
            pairs=pairs,
        )
        level += told["delta"]
    if estimand == "in_order" or estimand not in asked or level is None:
        return
    end = means[layout.full.name][0] if layout.full.name in means else level
    if abs(end - level) >= _ROUNDING:
        yield Step(label=REST, side="", start=level, end=end)


def _band(
    layout: Layout,
    contrast: Contrast,
    means: Mapping[str, tuple[float, tuple[float, float] | None]],
) -> tuple[tuple[float, float] | None, int]:
    """Return the range of what a step was worth in all orders that were trained; None: in one."""
    sets = {
        frozenset(map(str, arm.components)): arm.name
        for arm in layout.arms
        if arm.name in means and arm.name not in layout.dummies
    }
    own = _own(layout, contrast)
    worth = [
        means[name][0] - means[sets[having - own]][0]
        for having, name in sets.items()
        if own and own <= having and having - own in sets
    ]
    return ((min(worth), max(worth)), len(worth)) if len(worth) > 1 else (None, len(worth))


def _pairs(
    layout: Layout,
    document: Mapping[str, Any],
    means: Mapping[str, tuple[float, tuple[float, float] | None]],
) -> dict[tuple[str, str], Pair]:
    """Return what pairs are worth: as the study asks, or of all squares of arms that it trained."""
    value = {
        frozenset(map(str, arm.components)): means[arm.name][0]
        for arm in layout.arms
        if arm.name in means and arm.name not in layout.dummies
    }
    order: dict[str, int] = {}
    for arm in layout.arms:
        for component in arm.components:
            order.setdefault(str(component), len(order))
    found: dict[tuple[str, str], list[float]] = {}
    for having, both in value.items():
        for first, second in itertools.combinations(sorted(having, key=order.__getitem__), 2):
            corners = [having - {first}, having - {second}, having - {first, second}]
            if all(corner in value for corner in corners):
                one, other, neither = (value[corner] for corner in corners)
                found.setdefault((first, second), []).append(both - one - other + neither)
    asked = {one["label"]: one for one in document["contrasts"] if words.is_interaction(one)}
    pairs = {}
    for first, second in sorted(found, key=lambda pair: [order[name] for name in pair]):
        squares = found[first, second]
        contrast = asked.get(f"{first} x {second}") or asked.get(f"{second} x {first}") or {}
        delta = contrast.get("delta")
        pairs[first, second] = Pair(
            delta=math.fsum(squares) / len(squares) if delta is None else delta,
            verdict=contrast.get("verdict"),
            squares=len(squares),
        )
    return pairs


def _own(layout: Layout, contrast: Contrast) -> frozenset[str]:
    """Return the components that a contrast is of, as arms name them."""
    ends = {arm.name: frozenset(map(str, arm.components)) for arm in layout.arms}
    if contrast.control in ends and contrast.treatment in ends:
        return ends[contrast.treatment] - ends[contrast.control]
    named = [one for arm in layout.arms for one in arm.components if one.key == contrast.component]
    different = {str(one) for one in named}
    return frozenset(different) if len(different) == 1 else frozenset()  # levels: not one change


def _curves(outcomes: Sequence[Outcome], ledger: Ledger) -> dict[str, dict[str, Curve]]:
    found: dict[str, dict[str, dict[int, list[float]]]] = {name: {} for name in CURVES}
    for one in outcomes:
        for row in _rows(ledger.run_folder(one.run.id) / "metrics.jsonl"):
            for name in CURVES:
                value, epoch = row.get(name), row.get("epoch")
                if isinstance(value, int | float) and isinstance(epoch, int):
                    points = found[name].setdefault(one.run.arm, {})
                    points.setdefault(epoch, []).append(float(value))
    return {
        name: {arm: _curve(points) for arm, points in by_arm.items()}
        for name, by_arm in found.items()
        if by_arm
    }


def _curve(points: Mapping[int, Sequence[float]]) -> Curve:
    epochs = sorted(points)
    return Curve(
        epochs=tuple(epochs),
        mean=tuple(math.fsum(points[epoch]) / len(points[epoch]) for epoch in epochs),
        low=tuple(min(points[epoch]) for epoch in epochs),
        high=tuple(max(points[epoch]) for epoch in epochs),
        n=len(points[epochs[0]]),
    )


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """Yield the rows of a curve; the last one may be in the middle of being written."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
