"""All that a page about a study shows, gathered from the ledger: values, and no word of layout.

The numbers are those of the document (`ablations.report.document`) and of its analysis; what pages
show beside them, as curves, is read here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.ledger import Ledger, recall
from ablations.named import side_of
from ablations.plans import COMPONENTS, Arm, Contrast, Layout, Outcome, Plan, values_by_arm
from ablations.report import words
from ablations.report.curves import Curve, curves_of
from ablations.report.headline import headline
from ablations.report.orders import Pair, Values, band, pairs
from recipes import diff
from recipes.validate import show

REST = "the rest"  # of what the full recipe is worth: what the changes do only together
ZERO = "true zero"  # the side of an arm that repeats another one under other random numbers
_ROUNDING = 0.005  # points
Means = Mapping[str, tuple[float, tuple[float, float] | None]]  # value and interval by arm
_ENVIRONMENT = ("schema_version",)  # of environment.json: what says nothing of where a run was made


@dataclass(frozen=True, kw_only=True)
class ArmTold:
    """An arm as a row of a page."""

    name: str
    components: tuple[str, ...]
    side: str  # base, training, architecture, both or ZERO
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
    steps: tuple[Step, ...]  # from the base on; none where the design asks for no sum
    planned: int  # of such steps, some of which may have no number yet
    pairs: Mapping[tuple[str, str], Pair]  # by the two components, in the plan's order
    curves: Mapping[str, Mapping[str, Curve]]  # by name and arm
    runs: tuple[RunTold, ...]
    environments: tuple[Mapping[str, Any], ...]
    certificates: tuple[Mapping[str, Any], ...]
    published: bool = False

    @property
    def headline(self) -> list[str]:
        """Return the answer in sentences, the first one first."""
        return headline(self.document)


def gather(
    plan: Plan,
    outcomes: Sequence[Outcome],
    document: Mapping[str, Any],
    effects: Sequence[Mapping[str, Any]],
    means: Means,
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
    values = values_by_arm(outcomes)
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
        steps=tuple(_steps(plan.layout, document, means, values)),
        planned=sum(1 for _ in _summed(plan.layout, document)),
        pairs=pairs(plan.layout, document, values),
        curves={} if ledger is None else curves_of(outcomes, ledger),
        runs=tuple(runs),
        environments=tuple(json.loads(text) for text in places),
        certificates=tuple(certificates),
        published=plan.published is not None,
    )


def _arms(
    layout: Layout,
    outcomes: Sequence[Outcome],
    means: Means,
) -> Iterable[ArmTold]:
    by_arm: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_arm.setdefault(one.run.arm, []).append(one)
    known = {arm.name: arm for arm in layout.arms}
    for name in dict.fromkeys([*known, *by_arm]):
        mine, arm = by_arm.get(name, []), known.get(name)
        finished = [one for one in mine if one.status == "finished"]
        value, interval = means.get(name, (None, None))
        if interval is not None:  # an accuracy lies within these, whatever a t limit says
            interval = (max(interval[0], 0.0), min(interval[1], 100.0))
        yield ArmTold(
            name=name,
            components=() if arm is None else tuple(map(str, arm.components)),
            side=_side(layout, arm),
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


def _side(layout: Layout, arm: Arm | None) -> str:
    if arm is None:  # of a published ladder, whose steps are no recipes of ours
        return ""
    return ZERO if arm.name in layout.dummies else side_of(layout, arm)


def _changes(base: Arm, arm: Arm) -> tuple[tuple[str, str, str], ...]:
    found = diff(base.recipe, arm.recipe)
    return tuple((path, show(old), show(new)) for path, (old, new) in found.items())


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _steps(
    layout: Layout, document: Mapping[str, Any], means: Means, values: Values
) -> Iterable[Step]:
    """Yield the changes as they add up from the base to the full recipe.

    In the order of a ladder where the study has one; else the averages over the others, which need
    not add up: what is left to the full recipe is a step of its own. None after one without a
    number.
    """
    level, pooled = document["base"]["value"], False
    for contrast, told in _summed(layout, document):
        if level is None or told["delta"] is None:
            return
        yield Step(
            label=contrast.label,
            side="" if contrast.kind is None else contrast.kind.side,
            start=level,
            end=level + told["delta"],
            interval=told["interval"] and (told["interval"][0], told["interval"][1]),
            verdict=told["verdict"],
            band=band(layout, contrast, values),
        )
        level += told["delta"]
        pooled = contrast.estimand != "in_order"
    if pooled and (end := means.get(layout.full.name)) and abs(end[0] - level) >= _ROUNDING:
        yield Step(label=REST, side="", start=level, end=end[0])


def _summed(
    layout: Layout, document: Mapping[str, Any]
) -> Iterable[tuple[Contrast, Mapping[str, Any]]]:
    """Yield the contrasts that lead from the base to the full recipe, with what is told of them."""
    asked = {contrast.estimand for contrast in layout.contrasts}
    estimand = "in_order" if "in_order" in asked else "average_over_others"
    for contrast, told in zip(layout.contrasts, document["contrasts"], strict=True):
        wanted = contrast.estimand == estimand and contrast.family == COMPONENTS
        if wanted and contrast.outcome == "applied" and not words.is_interaction(told):
            yield contrast, told
