"""A plan: the arms to train, the contrasts to report, and what became of every component.

Pure values. `designs` makes layouts, `plan` freezes them with seeds; the runner, the attribution
and the reports only read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recipes import Component, Kind, Recipe, trajectory

BASE = "base"  # the name of the arm without components
LATE_SPLIT = "the training / architecture split"  # in `Plan.late`, beside names of contrasts

# Families of tests. What is described has an interval and no verdict; a null contrast is 0 by
# construction, and is tested beside the others only to see how often it is called otherwise.
COMPONENTS, NULL, DESCRIBED = "components", "null", "described"
FAILED = ("failed", "diverged", "out_of_memory", "timed_out")  # a run ended without a result
ESTIMANDS = ("alone", "in_recipe", "in_order", "average_over_others")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A recipe in a plan. Named by what is in it: `base`, or its components as `ra,ls`."""

    name: str
    recipe: Recipe
    components: tuple[Component, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A question to the runs: a weighted sum of arm means, the weights summing to 0.

    `weights` is empty where nothing was trained (already present, not applicable). `control` and
    `treatment` name arms, or are None for effects pooled over arms.
    """

    label: str
    component: str | None
    kind: Kind | None
    outcome: str = "applied"
    reason: str = ""
    edits: Mapping[str, Any] = field(default_factory=dict)
    estimand: str = "in_order"  # alone, in_recipe, in_order or average_over_others
    control: str | None = None
    treatment: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    family: str = COMPONENTS  # of tests: COMPONENTS, NULL or DESCRIBED


@dataclass(frozen=True, kw_only=True)
class Split:
    """The training / architecture split as weighted sums of arm means.

    `by_ladder` holds `training` and `architecture`; empty weights where a side has no step.
    `by_blocks` adds `interaction`, or is None where the four arms are not in the plan.
    """

    by_ladder: Mapping[str, Mapping[str, float]]
    by_blocks: Mapping[str, Mapping[str, float]] | None

    @property
    def sides(self) -> dict[str, Mapping[str, float]]:
        """Return the weights of every side by way and name, as `by_ladder training`."""
        ways = (("by_ladder", self.by_ladder), ("by_blocks", self.by_blocks or {}))
        return {f"{way} {side}": weights for way, found in ways for side, weights in found.items()}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a design makes of a base and components."""

    design: str
    arms: tuple[Arm, ...]  # the base first; none where a published ladder has steps beyond recipes
    contrasts: tuple[Contrast, ...]
    split: Split
    notes: tuple[str, ...] = ()
    seeds: int | None = None  # runs per arm; None: as many as were asked for
    replicates: Mapping[str, int] = field(default_factory=dict)  # arm: runs, where not as the rest
    aliases: tuple[str, ...] = ()  # the alias table of a screen, in lines

    def arm(self, name: str) -> Arm:
        """Return an arm by its name."""
        return self._arms[name]

    @cached_property
    def _arms(self) -> Mapping[str, Arm]:
        return {arm.name: arm for arm in self.arms}

    def seeds_by_arm(self, asked: int) -> dict[str, int]:
        """Return how many runs each arm gets, where `asked` is the request's number of seeds."""
        usual = asked if self.seeds is None else self.seeds
        return {arm.name: self.replicates.get(arm.name, usual) for arm in self.arms}

    @property
    def names(self) -> tuple[str, ...]:
        """Return what to call each contrast: its label, with its question where others share it."""
        labels = Counter(one.label for one in self.contrasts)
        return tuple(
            one.label if labels[one.label] == 1 else f"{one.label} {one.estimand.replace('_', ' ')}"
            for one in self.contrasts
        )

    @cached_property
    def dummies(self) -> frozenset[str]:
        """Return the names of the arms that `--null` adds: other draws of arms that are there."""
        nulls = [one for one in self.contrasts if one.family == NULL]
        return frozenset(one.treatment for one in nulls if one.treatment is not None)

    @cached_property
    def full(self) -> Arm:
        """Return the arm with the most components, dummies aside."""
        own = [arm for arm in self.arms if arm.name not in self.dummies]
        return max(own, key=lambda arm: len(arm.components))

    @cached_property
    def trainings(self) -> Mapping[str, str]:
        """Return by arm what names its training: two arms may be read off one.

        Kept, since every look at a study asks for it, and a fingerprint takes half a millisecond.
        """
        return {arm.name: trajectory(arm.recipe) for arm in self.arms}


@dataclass(frozen=True, kw_only=True)
class Run:
    """An arm and a seed, with the identity under which its result is kept."""

    id: str
    arm: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Published:
    """Whose numbers a plan reports that nobody here trained: one per arm, without seeds."""

    source: str
    protocol: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When to stop adding seeds, declared before the first run. Stages read minival.

    At stage i every arm that still decides something may have `stages[i]` seeds; a test there has
    the share `shares[i]` of the level. The last stage is the end, whatever is left unresolved.
    """

    until: str  # "verdicts", or a half-width of intervals in accuracy points, as "0.2"
    stages: tuple[int, ...]
    shares: tuple[float, ...]  # sum to 1
    max_runs: int | None = None  # of the whole study


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout with seeds, data and identity: everything that a study will train and report."""

    study: str
    base: str  # as the user named it
    layout: Layout
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    data: str
    data_fingerprint: str
    notes: tuple[str, ...] = ()
    late: frozenset[str] = frozenset()  # what a later revision added: `Layout.names`, LATE_SPLIT
    published: Published | None = None  # None: a study of our own
    rope: float | None = None  # largest difference that counts as none, in points
    stopping: Stopping | None = None  # None: the runs are what they are
    confirm: int = 0  # fresh seeds for the base and the arm that is chosen on minival

    @property
    def size(self) -> str:
        """Return arms and seeds in words; runs, where not every arm has every seed."""
        arms, seeds = len(self.layout.arms), len(self.seeds)
        even = len(self.runs) == arms * seeds
        if not even:
            return f"{arms} arms, {len(self.runs)} runs"
        return f"{arms} arms x {seeds} seed{'s' if seeds > 1 else ''}"

    @property
    def ends(self) -> tuple[str, ...]:
        """Return the names of the base and of the arm with the most components."""
        return tuple(dict.fromkeys([self.layout.arms[0].name, self.layout.full.name]))

    @property
    def protocol(self) -> dict[str, Any]:
        """Return what must be equal for two numbers of one table; None: not published."""
        if self.published is not None:
            return dict(self.published.protocol)
        evaluate = self.layout.arms[0].recipe.evaluate
        data = self.layout.arms[0].recipe.data
        return {
            "split": evaluate.split,
            "resolution": evaluate.resolution or data.resolution,
            "crop_fraction": evaluate.crop_fraction,
            "interpolation": evaluate.interpolation,
            "checkpoint": "last",
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the ledger holds of one run of a plan. `status` "missing" where it was never started.

    None is what is not known: the run did not finish, or an earlier version made it.
    """

    run: Run
    status: str  # finished, failed, diverged, out_of_memory, timed_out, interrupted, missing
    value: float | None = None  # accuracy in percent
    seconds: float | None = None
    cost: Mapping[str, float | None] = field(default_factory=dict)
    error: str = ""
    loss: float | None = None
    evaluated_images: int | None = None
    chance_top1: float | None = None  # accuracy of a constant answer, percent
    train_seconds: float | None = None
    data_seconds: float | None = None  # of these, waiting for images
    data_fingerprint: str | None = None  # of the images that it was trained and evaluated on
    results_version: int | None = None  # of the interpreter that made it
    minival: float | None = None  # accuracy on the held-out part of training, percent


def values_by_arm(outcomes: Sequence[Outcome]) -> dict[str, dict[int, float]]:
    """Return `{arm: {seed: value}}` of the finished runs."""
    return _by_arm(outcomes, [one.value for one in outcomes])


def minival_by_arm(outcomes: Sequence[Outcome]) -> dict[str, dict[int, float]]:
    """Return the same of their accuracies on minival, which choices read."""
    return _by_arm(outcomes, [one.minival for one in outcomes])


def _by_arm(
    outcomes: Sequence[Outcome], values: Sequence[float | None]
) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for outcome, value in zip(outcomes, values, strict=True):
        by_seed = found.setdefault(outcome.run.arm, {})
        if outcome.status == "finished" and value is not None:
            by_seed[outcome.run.seed] = value
    return found
