"""Sanity gates: what makes the numbers of a study mean less than they seem to, in words.

Each gate looks at the arms that have finished runs, and is silent where all is well or where what
it needs was not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ablations.plans import Outcome, Plan
from recipes import edit, fingerprint, load
from recipes.library import about, full_name

_RARE = math.erfc(3 / math.sqrt(2)) / 2  # 0.00135: beyond three standard errors, on one side
_ERRORS = 6  # the fewest that a sign test finds in one direction: 2 / 2**6 < 0.05 < 2 / 2**5
_CEILING = 99.5  # percent; see `is_at_ceiling`
_LOADER_BOUND = 0.5  # of training: above, a faster loader would gain more than a faster network


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The finished runs of an arm, one or more. None is what none of them recorded."""

    arm: str
    values: tuple[tuple[int, float], ...]  # seed and accuracy, percent
    losses: tuple[float | None, ...]
    images: int | None = None  # evaluated in each run, the same ones
    chance: float | None = None  # accuracy of a constant answer on them, percent
    waiting: float | None = None  # share of training that was waiting for images

    @property
    def value(self) -> float:
        """Return the mean accuracy in percent."""
        return math.fsum(value for _, value in self.values) / len(self.values)


def gates(plan: Plan, outcomes: Sequence[Outcome], zero_spread: Collection[str]) -> list[str]:
    """Return what the sanity gates say of a study; `zero_spread` names arms whose seeds agree."""
    arms = finished(outcomes)
    return [
        *at_chance(arms),
        *at_ceiling(arms),
        *outside_band(plan, arms),
        *without_spread([one for one in arms if one.arm in zero_spread]),
        *loader_bound(arms),
    ]


def finished(outcomes: Sequence[Outcome]) -> list[Finished]:
    """Return the arms that have a finished run, in their order."""
    by_arm: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.status == "finished" and one.value is not None:
            by_arm.setdefault(one.run.arm, []).append(one)
    return [
        Finished(
            arm=arm,
            values=tuple((one.run.seed, one.value) for one in made if one.value is not None),
            losses=tuple(one.loss for one in made),
            images=next((one.evaluated_images for one in made if one.evaluated_images), None),
            chance=next((one.chance_top1 for one in made if one.chance_top1 is not None), None),
            waiting=_waiting(made),
        )
        for arm, made in by_arm.items()
    ]


def at_chance(arms: Sequence[Finished]) -> Iterable[str]:
    """Tell which arms, or which runs of other arms, are not clearly above a constant answer."""
    low = [one for one in arms if _is_blind(one, one.value)]
    if low:
        shown = ", ".join(f"{one.arm} {one.value:.2f}" for one in low)
        if len(low) == len(arms) > 1:
            yield (
                f"all arms are at chance, {_constant(low[0])}: {shown}; no difference between them"
                " means anything"
            )
        else:
            yield (
                f"at chance, {_constant(low[0])}: {shown}; a delta to or from there says whether a"
                " network learned at all, not what a change is worth"
            )
    runs = [
        (one, f"{one.arm}, seed {seed} {value:.2f}")
        for one in arms
        if one not in low
        for seed, value in one.values
        if _is_blind(one, value)
    ]
    if runs:
        yield (
            f"runs at chance in arms that are not, {_constant(runs[0][0])}:"
            f" {'; '.join(shown for _, shown in runs)}; they widen every interval"
        )


def is_at_chance(value: float, chance: float, images: int) -> bool:
    """Return whether an accuracy (percent) could be that of answers that ignore the images.

    It could where as many right answers or more have a probability of 0.00135 (three standard
    errors) at least, by the binomial distribution with a constant answer's `chance` (percent), the
    best that can be had blindly. The images of one run count, also for the mean of several: all
    runs are evaluated on the same images, so that more seeds do not make a lucky guess rarer.
    """
    right = math.ceil(value * images / 100 - 1e-6)
    from scipy.special import bdtrc  # a third of a second, of which a look at a study has no need

    return bool(bdtrc(right - 1, images, chance / 100) >= _RARE)


def at_ceiling(arms: Sequence[Finished]) -> Iterable[str]:
    """Tell which arms have too few errors left for a gain to show."""
    shown = [
        f"{one.arm} {one.value:.2f} ({_wrong(one.value, one.images):.1f} of {one.images} wrong)"
        for one in arms
        if one.images and is_at_ceiling(one.value, one.images) and not _is_blind(one, one.value)
    ]
    if shown:
        yield (
            f"at the ceiling: {', '.join(shown)}; too little is left for a gain to show: evaluate"
            " on more or harder images, or train on fewer (data.train_fraction)"
        )


def is_at_ceiling(value: float, images: int) -> bool:
    """Return whether an accuracy (percent) leaves no room in which a gain could show.

    It does not with fewer than 6 images wrong: even an arm with none wrong could not be told from
    it on these images (the sign test over the images on which two runs differ, McNemar's, at 0.05).
    Nor from 99.5 % on, however many images there are: what is left is of the order of the wrong
    labels in test sets (0.15 % in MNIST's, 3.3 % on average over ten; Northcutt et al. 2021).
    """
    return value >= _CEILING or _wrong(value, images) < _ERRORS - 1e-6


def outside_band(plan: Plan, arms: Sequence[Finished]) -> Iterable[str]:
    """Tell where a base of the library, used as it stands there, gives what is not expected of it.

    The precision, which hardware chooses, may differ; other leaves or data make it another base, of
    which nothing is known.
    """
    base = plan.layout.arms[0]
    found = next((one.value for one in arms if one.arm == base.name), None)
    name = full_name(plan.base)
    if found is None or name is None:
        return
    expected, own = about(name)["expected_top1"], load(name)
    same = edit(base.recipe, {"optim.precision": own.optim.precision})
    if fingerprint(same) != fingerprint(own):
        return
    low, high = expected["low"], expected["high"]
    if not low <= found <= high:
        yield (
            f"the base is outside its expected band: {plan.base} gives {found:.2f}, expected is"
            f" {expected['value']:g} [{low:g}, {high:g}]; check the images and their labels, and"
            " versions and hardware in runs/*/environment.json"
        )


def without_spread(arms: Sequence[Finished]) -> Iterable[str]:
    """Tell which arms gave one accuracy with all seeds, and whether the losses agree too."""
    same: dict[str, list[str]] = {}
    for one in arms:
        words = ""
        if None not in one.losses:
            agree = len(set(one.losses)) == 1
            words = ", and one loss: the seed changes nothing" if agree else "; their losses differ"
        same.setdefault(words, []).append(f"{one.arm} gave {one.value:.2f}")
    for words, shown in same.items():
        yield f"zero spread: all seeds of {', of '.join(shown)}{words}"


def loader_bound(arms: Sequence[Finished]) -> Iterable[str]:
    """Tell which arms spent most of their training waiting for images."""
    shown = [
        f"{100 * one.waiting:.1f} % in {one.arm}"
        for one in arms
        if one.waiting is not None and one.waiting > _LOADER_BOUND
    ]
    if shown:
        yield (
            "loader-bound: waiting for images (loading, transfer, augmentation) is most of the"
            f" training: {', '.join(shown)}; images per second are the loader's, not the network's"
        )


def _is_blind(one: Finished, value: float) -> bool:
    if one.chance is None or one.images is None:
        return False
    return value < _CEILING and is_at_chance(value, one.chance, one.images)


def _constant(one: Finished) -> str:
    return (
        f"not clearly above the {one.chance:.2f} that a constant answer gets on these"
        f" {one.images} images"
    )


def _wrong(value: float, images: int) -> float:
    return (100 - value) * images / 100


def _waiting(made: Sequence[Outcome]) -> float | None:
    known = [
        (one.data_seconds, one.train_seconds)
        for one in made
        if one.data_seconds is not None and one.train_seconds
    ]
    if not known:
        return None
    return math.fsum(data for data, _ in known) / math.fsum(train for _, train in known)
