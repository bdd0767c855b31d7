"""Images whose prediction a change flips, both ways, from what the runs of a study have kept.

A picture is shown only of images that are still those the runs were evaluated on: their labels give
exactly what every run that is shown got right. Where they are not, or are not at hand, the counts
stand alone and the note says why: no report fails for its pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablations.ledger import Ledger
from ablations.plans import NULL, Outcome, Plan, values_by_arm
from ablations.report.pictures import Pictures, pictures_of
from ablations.report.predictions import Predictions, Said
from lightning_modules.data import DataError

_SEEDS = 10  # of a contrast that are read: more make a report slow, and change no picture
_TRIES = 3  # as many images are tried as are wanted, times this, where some cannot be read


@dataclass(frozen=True, kw_only=True)
class Flipped:
    """An image that one arm gets right and the other wrong."""

    index: int  # among the evaluated images
    label: str  # its true class
    before: str  # what the control says: the most frequent where seeds differ
    after: str  # what the treatment says
    seeds: int  # in which it flips this way
    png: bytes
    width: int  # of the picture, in pixels
    height: int


@dataclass(frozen=True, kw_only=True)
class FlipGroup:
    """What a contrast flips. Numbers of images are means over `seeds`, to the nearest image."""

    label: str
    control: str
    treatment: str
    seeds: int
    gained: int  # images: wrong in the control, right in the treatment
    lost: int  # the reverse
    right: tuple[Flipped, ...]  # of the gained, the surest first
    wrong: tuple[Flipped, ...]


@dataclass(frozen=True, kw_only=True)
class Flips:
    """The flipped images of a study, and in words what is not shown; empty where all is."""

    groups: tuple[FlipGroup, ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A contrast of two arms with finished runs on common seeds."""

    label: str
    control: str
    treatment: str
    seeds: tuple[int, ...]
    delta: float  # points


def flips_of(
    plan: Plan,
    ledger: Ledger,
    *,
    data: str | None = None,
    skip_corrupt: bool = False,
    outcomes: Sequence[Outcome] | None = None,
    contrasts: int = 12,
    each: int = 6,
) -> Flips:
    """Return images whose prediction the contrasts of a plan flip. Reads no network.

    Args:
        plan: with the runs that its stages added.
        ledger: of its home.
        data: the DATA word of the request, which knows the folder; None: the digits.
        skip_corrupt: of the request.
        outcomes: of the plan's runs, where they are at hand; None: read from the ledger.
        contrasts: that are shown at most; the largest effects where there are more.
        each: images at most, per contrast and direction.
    """
    if plan.published is not None:
        return Flips(groups=(), note="")
    found = [ledger.outcome(run) for run in plan.runs] if outcomes is None else outcomes
    pairs = _pairs(plan, found)
    shown = _largest(pairs, contrasts)
    reader = Predictions(ledger, found)
    both = {pair: said for pair in shown if (said := _both(pair, reader))}
    notes = []
    if len(shown) < len(pairs):
        which = (
            "is the largest effect" if contrasts == 1 else f"are the {contrasts} largest effects"
        )
        notes.append(f"shown {which} of {len(pairs)}")
    if any(len(pair.seeds) > _SEEDS for pair in both):
        notes.append(f"of each arm the first {_SEEDS} seeds are read")
    notes += reader.told()
    groups = {pair: _Ranked(pair, said) for pair, said in both.items()}
    pictures: Pictures | None = None
    if any(one.gained.size or one.lost.size for one in groups.values()):
        try:
            pictures = pictures_of(plan, ledger, data, skip_corrupt, reader.used())
        except (DataError, OSError, ValueError) as error:
            notes.append(f"no images are shown: {str(error).rstrip('.')}")
    return Flips(
        groups=tuple(one.group(pictures, each) for one in groups.values()), note="; ".join(notes)
    )


def _pairs(plan: Plan, outcomes: Sequence[Outcome]) -> list[_Pair]:
    """Return the contrasts of two arms, each pair of arms once; those of true zeros aside."""
    values = values_by_arm(
        [one for one in outcomes if one.data_fingerprint in (None, plan.data_fingerprint)]
    )
    found: dict[tuple[str, str], _Pair] = {}
    for label, contrast in zip(plan.layout.names, plan.layout.contrasts, strict=True):
        control, treatment = contrast.control, contrast.treatment
        if contrast.family == NULL or control is None or treatment is None:
            continue
        first, second = values.get(control, {}), values.get(treatment, {})
        seeds = tuple(sorted(first.keys() & second.keys()))
        if not seeds or (control, treatment) in found:
            continue
        delta = math.fsum(second[seed] - first[seed] for seed in seeds) / len(seeds)
        found[control, treatment] = _Pair(
            label=label,
            control=control,
            treatment=treatment,
            seeds=seeds,
            delta=delta,
        )
    return list(found.values())


def _largest(pairs: Sequence[_Pair], count: int) -> list[_Pair]:
    """Return the pairs with the largest effects, in the order of the plan."""
    kept = sorted(range(len(pairs)), key=lambda place: -abs(pairs[place].delta))[:count]
    return [pairs[place] for place in sorted(kept)]


def _both(pair: _Pair, reader: Predictions) -> list[tuple[Said, Said]]:
    """Return what control and treatment said, by seed; empty where no seed has both."""
    found = []
    for seed in pair.seeds[:_SEEDS]:
        control, treatment = reader.of(pair.control, seed), reader.of(pair.treatment, seed)
        if control is not None and treatment is not None:
            found.append((control, treatment))
    sizes = {len(one.right) for both in found for one in both}
    return found if len(sizes) == 1 else []


class _Ranked:
    """The images that a contrast flips, those first that flip in most seeds and change most."""

    def __init__(self, pair: _Pair, said: Sequence[tuple[Said, Said]]) -> None:
        self._pair, self._said = pair, said
        self._up = np.array([~control.right & other.right for control, other in said])
        self._down = np.array([control.right & ~other.right for control, other in said])
        with np.errstate(invalid="ignore"):  # a loss beyond all numbers, in both
            change = np.mean([control.loss - other.loss for control, other in said], axis=0)
        change = np.nan_to_num(change, nan=0.0)
        self.gained = _order(self._up, change)
        self.lost = _order(self._down, -change)

    def group(self, pictures: Pictures | None, each: int) -> FlipGroup:
        """Return what is shown of it; no images where there are no pictures."""
        pair = self._pair
        return FlipGroup(
            label=pair.label,
            control=pair.control,
            treatment=pair.treatment,
            seeds=len(self._said),
            gained=round(float(self._up.sum(axis=1).mean())),
            lost=round(float(self._down.sum(axis=1).mean())),
            right=self._shown(self.gained, self._up, 0, pictures, each),
            wrong=self._shown(self.lost, self._down, 1, pictures, each),
        )

    def _shown(
        self,
        order: NDArray[np.int64],
        flips: NDArray[np.bool_],
        side: int,
        pictures: Pictures | None,
        each: int,
    ) -> tuple[Flipped, ...]:
        """Return the first images of an order; `side` is that of the arm that is wrong."""
        found: list[Flipped] = []
        for index in order[: _TRIES * each].tolist():
            picture = None if pictures is None else pictures.of(index)
            if picture is None or pictures is None:
                continue
            seeds = np.flatnonzero(flips[:, index]).tolist()
            said = Counter(int(self._said[seed][side].predicted[index]) for seed in seeds)
            wrong = pictures.named(said.most_common(1)[0][0])
            label = pictures.named(int(pictures.labels[index]))
            found.append(
                Flipped(
                    index=index,
                    label=label,
                    before=label if side else wrong,
                    after=wrong if side else label,
                    seeds=len(seeds),
                    png=picture[0],
                    width=picture[1],
                    height=picture[2],
                )
            )
            if len(found) == each:
                break
        return tuple(found)


def _order(flips: NDArray[np.bool_], change: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the images that flip in any seed, in which most do first, then by change of loss."""
    seeds = flips.sum(axis=0)
    order = np.lexsort((-change, -seeds))
    found: NDArray[np.int64] = order[: np.count_nonzero(seeds)]
    return found
