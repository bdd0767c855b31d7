"""What a plan would do and could resolve, before anything is trained.

Longer than most: the document and the table that shows it stand side by side.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ablations.attribution import MIN_ERROR_DF
from ablations.detectable import Detectable
from ablations.disk import size
from ablations.foresight import Foresight
from ablations.observed import FOLLOWING, aspects
from ablations.plans import NULL, Plan, Run
from ablations.power import POWER
from ablations.progress import duration
from ablations.report import words
from recipes.text import plain
from recipes.validate import show

SCHEMA_VERSION = 1
_WIDTH = 100
_HEADER = ("change", "kind", "interval", "verdict", "floor", "sets")


def planned_document(
    plan: Plan,
    missing: Sequence[Run],
    expected: Mapping[str, float],
    slots: int,
    ahead: Foresight,
    certificates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return what would be trained, what it could resolve and what it costs, as plain values.

    `detectable` holds the smallest effects in points that are found with 80 % power: by a
    contrast's own interval, by a verdict, and with infinitely many seeds.
    """
    left, by_arm = {run.id for run in missing}, defaultdict(list)
    for run in plan.runs:
        by_arm[run.arm].append(run.id)
    computing = sum(expected.get(run.arm, 0.0) for run in missing) if expected else None
    at_once = max(min(slots, len(missing)), 1)
    wall = None if computing is None else computing / at_once
    dummies = [run for run in missing if run.arm in plan.layout.dummies]
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.study,
        "design": plan.layout.design,
        "base": plan.base,
        "data": plan.data,
        "metric": "top1",
        "seeds": list(plan.seeds),
        "protocol": plan.protocol,
        "rope": plan.rope,
        "stopping": None if plan.stopping is None else plain(dataclasses.asdict(plan.stopping)),
        "confirm": plan.confirm,
        "arms": [
            {
                "arm": arm.name,
                "components": [str(component) for component in arm.components],
                "runs": by_arm[arm.name],
                "missing": sum(run in left for run in by_arm[arm.name]),
                "seconds_per_run": expected.get(arm.name),
            }
            for arm in plan.layout.arms
        ],
        "contrasts": [
            {
                "label": contrast.label,
                "component": contrast.component,
                "kind": None if contrast.kind is None else contrast.kind.value,
                "outcome": contrast.outcome,
                "reason": contrast.reason,
                "edits": plain(contrast.edits),
                "estimand": contrast.estimand,
                "family": contrast.family,
                "control": contrast.control,
                "treatment": contrast.treatment,
                "detectable": _detectable(found),
            }
            for contrast, found in zip(plan.layout.contrasts, ahead.prospect.contrasts, strict=True)
        ],
        "split": {
            way: {side: _detectable(found) for side, found in sides.items()}
            for way, sides in ahead.prospect.split.items()
        },
        "power": POWER,
        "counted": dict(ahead.prospect.seeds),
        "error_df": ahead.prospect.error_df,
        "enough_seeds": ahead.prospect.enough_seeds,
        "noise": {
            "seed_sd": ahead.noise.seed_sd,
            "seed_df": ahead.noise.seed_df,
            "image_sd": ahead.noise.image_sd,
            "images": ahead.noise.images,
            "source": ahead.noise.source,
        },
        "runs": len(plan.runs),
        "size": plan.size,
        "missing": len(missing),
        "slots": slots,
        "seconds": wall,
        "hours": {
            "computing": None if computing is None else computing / 3600,
            "wall": None if wall is None else wall / 3600,
        },
        "null": {
            "arms": [arm.name for arm in plan.layout.arms if arm.name in plan.layout.dummies],
            "missing": len(dummies),
            "computing_hours": sum(expected.get(run.arm, 0.0) for run in dummies) / 3600
            if expected
            else None,
        },
        "disk": {**dataclasses.asdict(ahead.disk), "kept": ahead.disk.kept},
        "certificates": [dict(one) for one in certificates if "damaged" not in one],
        "aliases": list(plan.layout.aliases),
        "design_notes": list(plan.layout.notes),
        "notes": list(plan.notes),
    }


def planned_table(found: Mapping[str, Any]) -> str:
    """Return the plan as text for a terminal."""
    protocol = found["protocol"]
    lines = [
        *(line for note in found["notes"] for line in textwrap.wrap(note, 100)),
        f"study {found['study']}: {found['design']} of {found['base']} on {found['data']},"
        f" {found['size']}",
        f"top-1 on {protocol['split']} at {protocol['resolution']} pixels, after the"
        f" {protocol['checkpoint']} step",
        *_rules(found),
        *(line for note in found["design_notes"] for line in _wrapped(note)),
        "",
        *_wrapped(
            f"smallest effects found with {100 * found['power']:g} % power, in points, from"
            f" {_many(found['counted'].values())} by arm: by the interval alone, by a verdict"
            " beside all others (Holm's first step), and from endless seeds on these images (floor)"
        ),
        *_effects(found),
        *_wrapped(found["noise"]["source"]),
        *_no_verdicts(found),
    ]
    lines += ["", "arms"]
    width = max(len(arm["arm"]) for arm in found["arms"])
    for arm in found["arms"]:
        price = arm["seconds_per_run"]
        price = f"about {duration(price)} each" if price is not None else ""
        lines.append(
            f"  {arm['arm']:<{width}}  {arm['missing']} of {len(arm['runs'])} to train  {price}"
        )
    if found["aliases"]:
        lines += ["", "aliases: what the arms cannot tell apart"]
        lines += [line for text in found["aliases"] for line in _wrapped(f"  {text}")]
    if found["certificates"]:
        lines += ["", "certificates: what each arm changes, looked at on what was built"]
        lines += [line for one in found["certificates"] for line in _certificate(one)]
    lines += ["", *_price(found)]
    return "\n".join(line.rstrip() for line in lines)


def _detectable(found: Detectable | None) -> dict[str, float | None] | None:
    return None if found is None else dataclasses.asdict(found)


def _many(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} seed{'s' if high > 1 else ''}"


def _rules(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield when the study ends and what is done then."""
    stopping = found["stopping"]
    if stopping is not None:
        looks = ", ".join(
            f"{seeds} seeds ({100 * share:.3g} % of alpha)"
            for seeds, share in zip(stopping["stages"], stopping["shares"], strict=True)
            if share
        )
        goal = f"verdicts, with looks at {looks}"
        if stopping["until"] != "verdicts":
            goal = f"half-widths of {stopping['until']} points, as the first stage's spread asks"
        most = "" if stopping["max_runs"] is None else f"; at most {stopping['max_runs']} runs"
        yield from _wrapped(f"seeds are added until {goal}{most}")
    if found["rope"] is not None:
        yield f"effects within +-{found['rope']:g} points are called equal"
    if found["confirm"]:
        yield (
            f"{found['confirm']} fresh seeds for the base and the arm that is chosen on minival, at"
            " the end"
        )


def _effects(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of smallest effects: a row per contrast, by question, and the split's."""
    groups = [
        (question, [_row(contrast) for contrast in contrasts])
        for question, contrasts in words.by_estimand(found)
    ]
    split = [
        (f"{side}, {way.replace('_', ' ')}", "", *_numbers(numbers), "")
        for way, sides in found["split"].items()
        for side, numbers in sides.items()
    ]
    groups += [("the split", split)] if split else []
    rows = [_HEADER, *(row for _, group in groups for row in group)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    yield _aligned(_HEADER, widths)
    for question, group in groups:
        yield question
        for row in group:
            line = _aligned(row, widths)
            if len(line) <= _WIDTH or row[2:5] == (words.NOTHING,) * 3:  # a reason is told whole
                indent = " " * min(2 + sum(widths) + 2 * len(widths), _WIDTH // 2)
                yield from textwrap.wrap(line, _WIDTH, subsequent_indent=indent, tabsize=1)
            else:  # the certificates below tell all leaves
                yield line[: _WIDTH - 4].rstrip(", ") + " ..."


def _kind(contrast: Mapping[str, Any]) -> str:
    """Return what stands in the place of a kind where a contrast has none."""
    if contrast["component"] is None:
        return "interaction"
    return NULL if contrast["family"] == NULL else words.NOTHING


def _row(contrast: Mapping[str, Any]) -> tuple[str, ...]:
    if contrast["outcome"] == "applied":
        sets = ", ".join(f"{path} = {_show(value)}" for path, value in contrast["edits"].items())
    else:
        sets = f"{contrast['outcome'].replace('_', ' ')}: {contrast['reason']}"
    kind = contrast["kind"] or _kind(contrast)
    return (contrast["label"], kind, *_numbers(contrast["detectable"]), sets)


def _numbers(found: Mapping[str, float | None] | None) -> tuple[str, ...]:
    keys = ("pointwise", "verdict", "image_floor")
    return tuple(words.number(None if found is None else found[key]) for key in keys)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  " + "  ".join([*cells, row[-1]])


def _no_verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    if found["error_df"] < MIN_ERROR_DF:
        enough = found["enough_seeds"]
        more = "" if enough is None else f": {enough} seeds would do"
        yield (
            f"no verdict can come of these runs: {found['error_df']} error degrees of freedom,"
            f" {MIN_ERROR_DF} are needed{more}"
        )


def _price(found: Mapping[str, Any]) -> Iterator[str]:
    hours, disk, null = found["hours"], found["disk"], found["null"]
    if null["arms"]:
        cost = f", {_time(null['computing_hours'])} of computing" if null["computing_hours"] else ""
        yield f"{len(null['arms'])} null arms take {null['missing']} of the runs to train{cost}"
    if found["missing"]:
        parts = [
            f"{size(disk[part])} {name}"
            for part, name in (
                ("runs", "of runs"),
                ("weights", "of weights"),
                ("tracking", "of W&B"),
                ("images", "of decoded images"),
            )
            if disk[part]
        ]
        yield from _wrapped(
            f"disk: about {size(disk['kept'])} ({', '.join(parts)}), and up to"
            f" {size(disk['checkpoints'])} of checkpoints while runs are made"
        )
    price = ""
    if hours["computing"]:
        price = f", about {_time(hours['computing'])} of computing"
        price += f", {_time(hours['wall'])} with {found['slots']} at once"
    yield f"{found['missing']} of {found['runs']} runs to train{price}; nothing was trained"


def _time(hours: float) -> str:
    return duration(3600 * hours)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _certificate(one: Mapping[str, Any]) -> Iterator[str]:
    if one["parent"] is None:
        yield f"  {one['arm']}: is what its leaves say"
        return
    leaves = [
        f"{path} {_show(old) or 'none'} -> {_show(new)}"
        for path, (old, new) in one["declared"].items()
    ]
    seen = [
        aspect if aspect in FOLLOWING else f"{aspect} ({one['changed'][aspect]})"
        for aspect in aspects(one["changed"])
    ]
    yield f"  {one['arm']} against {one['parent']}"
    for name, told in (("declared", leaves), ("seen in", seen)):
        yield from textwrap.wrap(
            f"{name} {'; '.join(told)}", 100, initial_indent="    ", subsequent_indent="      "
        )
    yield "    and in nothing else"


def _show(value: Any) -> str:
    if isinstance(value, Mapping):  # a hook
        return f"{value['target']} at {value['hook']}"
    return show(tuple(value) if isinstance(value, list) else value)
