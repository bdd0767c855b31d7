"""The answer of a study in sentences, made of the numbers of its document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.plans import FAILED
from ablations.report.words import SIDES, by_estimand, interval, is_zero, number, shares, signed

_VERBS = {
    "helps": "it helps to add",
    "hurts": "it hurts to add",
    "equal": "no difference that counts:",
    "unresolved": "not resolved:",
}
_NAMED = 6  # changes in one sentence; more are only counted
_UNFINISHED = ("missing", "running", "interrupted")


def headline(document: Mapping[str, Any]) -> list[str]:
    """Return the answer in sentences: the split, or the changes themselves; then the verdicts."""
    found = [*_of_sides(document)] or [*_of_changes(document)]
    found += _of_verdicts(document)
    return [*found, *_of_runs(document)]


def _of_runs(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the numbers lack: runs that failed or are left, intervals, verdicts."""
    runs, told = document["runs"], document["contrasts"]
    left = sum(run["status"] in _UNFINISHED for run in runs)
    broken = Counter(run["status"] for run in runs if run["status"] in FAILED)
    if broken:
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in broken.items())
        yield f"{broken.total()} of {len(runs)} runs failed ({kinds})."
    if left:
        yield f"{left} of {len(runs)} runs have not finished: these numbers may still move."
    known = [one for one in told if one["delta"] is not None]
    if known and all(run["seed"] is not None for run in runs):  # else they are published ones
        if not any(one["interval"] for one in known):
            yield "No interval and no verdict: there are too few runs to say how sure this is."
        elif not any(one["verdict"] for one in known):
            yield "No verdict: there are too few runs for one."


def _of_sides(document: Mapping[str, Any]) -> Iterator[str]:
    split = document["split"]
    sides, how = split["by_blocks"] or {}, "by the four arms of the split"
    if any(side["delta"] is None for side in sides.values()) or not sides:
        sides, how = split["by_ladder"] or {}, "in this order"
    told = [(name, sides[name]) for name in SIDES if name in sides]
    if len(told) < 2 or any(side["delta"] is None for _, side in told):
        return
    total, percent = math.fsum(side["delta"] for _, side in told), shares(sides)
    of, parts = f" of {signed(total)} points", []
    for name, side in told:
        share = f"{percent[name]} %" if percent else ""
        aside = ", ".join(word for word in (share, side["verdict"]) if word)
        parts.append(
            f"{name} changes gave {signed(side['delta'])}{_limits(side['interval'])}{of}"
            + (f" ({aside})" if aside else "")
        )
        of = ""
    sentence = "; ".join(parts)
    yield f"{sentence[0].upper()}{sentence[1:]}, {how}."


def _of_changes(document: Mapping[str, Any]) -> Iterator[str]:
    base = document["base"]
    for question, contrasts in by_estimand(document):
        known = [one for one in contrasts if one["delta"] is not None and not is_zero(one)]
        if not known:
            continue
        most = max(known, key=lambda one: abs(one["delta"]))
        told = [one["verdict"] for one in known if one["verdict"]]
        resolved = any(verdict != "unresolved" for verdict in told)
        verdict = f" ({most['verdict']})" if most["verdict"] and resolved else ""
        asked = f"({question.partition(':')[0]})"
        if len(known) == 1:
            begin = (
                f"The one effect {asked}{' is not resolved,' if told and not resolved else ' is'}"
            )
        elif told and not resolved:
            begin = f"None of {len(known)} effects {asked} is resolved; the largest is"
        else:
            begin = f"The largest of {len(known)} effects {asked} is"
        effect = f"{signed(most['delta'])}{_limits(most['interval'])} points{verdict}"
        yield f"{begin} {most['label']}: {effect}."
        return
    if base["value"] is not None:
        limits = _limits(base["interval"])
        yield f"The base has {number(base['value'])}{limits} %; no change has a number yet."


def _of_verdicts(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield which changes help, hurt, are equal and are not resolved, of each question."""
    for question, contrasts in by_estimand(document):
        told = []
        for verdict, verb in _VERBS.items():
            names = [one["label"] for one in contrasts if _has(one, verdict)]
            if names:
                shown = ", ".join(names[:_NAMED])
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                told.append(f"{verb} {shown}{more}")
        if told:
            yield f"{question.partition(':')[0].capitalize()}: {'; '.join(told)}."


def _has(contrast: Mapping[str, Any], verdict: str) -> bool:
    """Return whether a change has a number and this verdict on it."""
    return (
        contrast["verdict"] == verdict and contrast["delta"] is not None and not is_zero(contrast)
    )


def _limits(limits: Sequence[float] | None) -> str:
    return "" if limits is None else f" {interval(limits)}"
