"""The chosen arm on fresh seeds: what it is worth without the luck of having been chosen.

The choice reads minival and is never changed, but where `--retry` makes an arm whole that it was
made without. Its fresh runs stand outside the study: no contrast of the study reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablations.attribution import MIN_ERROR_DF, Estimate, analyse
from ablations.image_noise import Images
from ablations.ledger import run_id
from ablations.minival import failed_arms
from ablations.plans import Outcome, Plan, Run, minival_by_arm, values_by_arm

_FRESH = " on fresh seeds"  # after the names of arms in the analysis


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The arm that was best on minival, and the runs that confirm it."""

    arm: str
    base: str
    minival: Mapping[str, float]  # mean by arm, percent: what the choice was made from
    seeds: tuple[int, ...]  # that no arm has had; none where the base itself is the best
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What the chosen arm is worth over the base, in accuracy points of the evaluated split."""

    choice: Choice
    fresh: Estimate | None  # from the fresh seeds alone; None: the base itself was chosen
    in_study: Estimate | None  # from the runs that it was chosen by
    without: tuple[Outcome, ...] = ()  # fresh runs that have no result, or none yet

    @property
    def measured(self) -> bool:
        """Return whether the error is known well enough for any verdict."""
        df = self.fresh.error_df if self.fresh is not None else None
        return df is not None and df >= MIN_ERROR_DF

    @property
    def holds(self) -> bool:
        """Return whether the fresh seeds, all of them, show the arm above the base.

        As for any verdict, with MIN_ERROR_DF degrees of freedom or more; and what is left where
        some runs fail is no random sample.
        """
        interval = self.fresh.interval if self.fresh is not None else None
        return interval is not None and interval[0] > 0 and self.measured and not self.without


def chosen(plan: Plan, outcomes: Sequence[Outcome]) -> Choice:
    """Return the arm with the best mean on minival, of equal ones that with fewest components.

    Arms with a failed run are left out: what is left of their runs is no random sample. So are
    those that are the base again, for calibration.
    """
    bad = failed_arms(outcomes) | plan.layout.dummies
    means = {
        arm: sum(by_seed.values()) / len(by_seed)
        for arm, by_seed in minival_by_arm(outcomes).items()
        if by_seed and arm not in bad
    }
    base = plan.layout.arms[0].name
    ranked = sorted(
        (arm for arm in plan.layout.arms if arm.name in means),
        key=lambda arm: (-means[arm.name], len(arm.components)),
    )
    best = ranked[0].name if base in means else base
    first = max(run.seed for run in plan.runs) + 1
    seeds = tuple(range(first, first + plan.confirm)) if best != base else ()
    runs = tuple(
        Run(id=run_id(plan.layout.arm(arm).recipe, plan.data_fingerprint, seed), arm=arm, seed=seed)
        for seed in seeds
        for arm in (base, best)
    )
    return Choice(arm=best, base=base, minival=means, seeds=seeds, runs=runs)


def confirmation_of(
    plan: Plan,
    choice: Choice,
    outcomes: Sequence[Outcome],
    fresh: Sequence[Outcome],
    images: Images | None = None,
    fresh_images: Images | None = None,
    error: tuple[float, int] | None = None,
) -> Confirmation:
    """Return what the fresh runs say beside what the study said.

    The fresh runs are two more arms, on seeds of their own, in the analysis of the whole study: so
    their difference is theirs alone, and its error is pooled with the study's, or is their own
    where variances clearly differ.

    Args:
        plan: with its stages.
        choice: as it was written.
        outcomes: of the plan's runs.
        fresh: outcomes of `choice.runs`.
        images: which images the runs of the plan got right.
        fresh_images: and the fresh ones.
        error: of the study, where it is not that of all its runs (`sequential.first_error`).
    """
    if not choice.runs:
        return Confirmation(choice=choice, fresh=None, in_study=None)
    values, again = values_by_arm(outcomes), values_by_arm(fresh)
    pair = {arm: f"{arm}{_FRESH}" for arm in (choice.base, choice.arm)}
    trainings = plan.layout.trainings
    estimates = analyse(
        values | {name: again.get(arm, {}) for arm, name in pair.items()},
        {},
        {},
        trainings={**trainings} | {name: f"{trainings[arm]}{_FRESH}" for arm, name in pair.items()},
        described={
            "fresh": {pair[choice.arm]: 1.0, pair[choice.base]: -1.0},
            "in study": {choice.arm: 1.0, choice.base: -1.0},
        },
        images=None if images is None or fresh_images is None else _Both(images, fresh_images),
        error=error,
    ).estimates
    return Confirmation(
        choice=choice,
        fresh=estimates["fresh"],
        in_study=estimates["in study"],
        without=tuple(one for one in fresh if one.status != "finished"),
    )


class _Both:
    """The images of the study's runs and of the fresh ones."""

    def __init__(self, study: Images, fresh: Images) -> None:
        self._study, self._fresh = study, fresh

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        if arm.endswith(_FRESH):
            return self._fresh.of(arm.removesuffix(_FRESH), seed)
        return self._study.of(arm, seed)
