"""What the text formats say in the same words: the first line, numbers, estimands, the split.

Longer than most, so that what all of them say is in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ESTIMANDS = {
    "in_order": "in order: each on top of those before it",
    "alone": "alone: each by itself on the base",
    "in_recipe": "in recipe: each beside all the others",
    "average_over_others": "average over others: each over all combinations of the others",
}
INTERACTIONS = "interactions: two together, beyond what each is worth by itself"
NOTHING = "-"
SIDES = ("training", "architecture")
_NULL = "null"  # the key of the dummy component
_DEMONSTRATION = "digits"
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_LISTED_SEEDS = 5  # more are only counted


def measured(document: Mapping[str, Any]) -> str:
    """Return the first line: what was measured, on what, by which protocol."""
    data, protocol, seeds = document["data"], document["protocol"], document["seeds"]
    where = "the digits demonstration" if data == _DEMONSTRATION else data
    listed = ", ".join(str(seed) for seed in seeds)
    which = f"seed{'s' if len(seeds) > 1 else ''} {listed}" if seeds else "no seeds"
    levels = {one["level"] for one in document["contrasts"] if one["interval"] is not None}
    parts = [
        f"{document['metric']} in percent on {where}",
        f"{protocol['split']} at {protocol['resolution']} px",
        which if len(seeds) <= _LISTED_SEEDS else f"{len(seeds)} seeds",
        *(f"{100 * level:g} % intervals" for level in sorted(levels)),
    ]
    return "; ".join(parts)


def by_estimand(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield the contrasts of each question, with the question in words."""
    contrasts: Sequence[Mapping[str, Any]] = document["contrasts"]
    for estimand in dict.fromkeys(contrast["estimand"] for contrast in contrasts):
        same = [contrast for contrast in contrasts if contrast["estimand"] == estimand]
        pairs = [contrast for contrast in same if is_interaction(contrast)]
        if len(same) > len(pairs):
            others = [contrast for contrast in same if not is_interaction(contrast)]
            yield ESTIMANDS.get(estimand, estimand), others
        if pairs:
            yield f"{INTERACTIONS} ({estimand.replace('_', ' ')})", pairs


def is_interaction(contrast: Mapping[str, Any]) -> bool:
    """Return whether a contrast is of two components together, beyond each by itself."""
    return contrast["component"] is None and " x " in contrast["label"]


def is_zero(contrast: Mapping[str, Any]) -> bool:
    """Return whether a contrast is 0 by construction (`--null`), and no change of anything."""
    return bool(contrast["component"] == _NULL)


def split_sentences(document: Mapping[str, Any]) -> list[str]:
    """Return the training / architecture split in words, one sentence per way to estimate it."""
    found = []
    for way, sides in split_ways(document):
        percent, both = shares(sides), whole(sides)
        parts = [_side(name, sides[name], percent.get(name)) for name in SIDES]
        of = "" if both is None else f" of {signed(both)} points"
        sentence = f"{way}: {', '.join(parts)}{of}"
        if "interaction" in sides:
            sentence += f"; {_side('interaction', sides['interaction'], None)}"
        found.append(sentence)
    return found


def split_ways(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each way to estimate the split that has an answer, in words, and its sides by name."""
    for way, sides in document["split"].items():
        told = [] if sides is None else list(sides.values())
        if not all(side["delta"] is None and side["verdict"] is None for side in told):
            yield way.replace("_", " "), sides


def whole(sides: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return what both sides are worth together, or None."""
    deltas = [sides[name]["delta"] for name in SIDES]
    return None if None in deltas else math.fsum(deltas)


def shares(sides: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return each side's part of the whole effect in percent; empty where it would mislead.

    Sides of opposite signs have no parts of a whole, and a side that may be nothing has none to
    speak of.
    """
    training, architecture = (sides[name] for name in SIDES)
    first, second = training["delta"], architecture["delta"]
    doubtful = {"unresolved", "equal"} & {training["verdict"], architecture["verdict"]} or any(
        side["interval"] is not None and side["interval"][0] <= 0 <= side["interval"][1]
        for side in (training, architecture)
    )
    if doubtful or first is None or second is None or not first * second > 0:
        return {}
    part = round(100 * first / (first + second))
    return {"training": part, "architecture": 100 - part}


def _side(name: str, side: Mapping[str, Any], share: int | None) -> str:
    if side["delta"] is None:
        return f"{name} {side['verdict'] or NOTHING}"
    percent = "" if share is None else f"({share} %)"
    parts = [name, signed(side["delta"]), percent, interval(side["interval"]), side["verdict"]]
    return " ".join(part for part in parts if part and part != NOTHING)


def arm_value(document: Mapping[str, Any], arm: str | None) -> float | None:
    """Return the plain mean of the finished runs of an arm, or None."""
    values = [
        run["value"]
        for run in document["runs"]
        if run["arm"] == arm and run["status"] == "finished" and run["value"] is not None
    ]
    return math.fsum(values) / len(values) if values else None


def decision(contrast: Mapping[str, Any]) -> str:
    """Return the verdict, or why there is none: nothing was trained."""
    if contrast["outcome"] != "applied":
        return str(contrast["outcome"]).replace("_", " ")
    return contrast["verdict"] or NOTHING


def number(value: float | None) -> str:
    """Return an accuracy."""
    return NOTHING if value is None else f"{value:.2f}"


def estimated(value: float | None, limits: Sequence[float] | None) -> str:
    """Return an accuracy, with its interval where it has one."""
    return number(value) if limits is None else f"{number(value)} {interval(limits)}"


def signed(value: float | None) -> str:
    """Return a difference of accuracies with its sign; what rounds to 0 is +0.00."""
    return NOTHING if value is None else f"{round(value, 2) + 0.0:+.2f}"


def interval(limits: Sequence[float] | None) -> str:
    """Return `[low, high]`."""
    return NOTHING if limits is None else f"[{limits[0]:.2f}, {limits[1]:.2f}]"


def probability(value: float | None) -> str:
    """Return a p value; one that would print as 0 is printed as a bound."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.0005 else "<0.001"


def seconds(value: float | None) -> str:
    """Return a duration in seconds."""
    if value is None:
        return NOTHING
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def amount(value: float | None) -> str:
    """Return a number with the letter of its size, as 5.4G."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.3g}")  # 999.9 is of the next size, and no power of ten
    for scale, letter in _SCALES:
        if abs(rounded) >= scale:
            return f"{rounded / scale:.3g}{letter}"
    return f"{rounded:.3g}"


def memory(value: float | None) -> str:
    """Return a number of bytes, as 5.4GB."""
    return NOTHING if value is None else f"{amount(value)}B"
