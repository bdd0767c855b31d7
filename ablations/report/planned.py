"""What a plan would do, before anything is trained."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.observed import FOLLOWING, aspects
from ablations.plans import Plan, Run
from ablations.progress import duration
from recipes.text import plain
from recipes.validate import show

SCHEMA_VERSION = 1


def planned_document(
    plan: Plan,
    missing: Sequence[Run],
    expected: Mapping[str, float],
    slots: int,
    certificates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return arms, contrasts, certificates and runs to make with their seconds, as plain values."""
    left = {run.id for run in missing}
    seconds = sum(expected.get(run.arm, 0.0) for run in missing)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.study,
        "design": plan.layout.design,
        "base": plan.base,
        "data": plan.data,
        "seeds": list(plan.seeds),
        "protocol": plan.protocol,
        "arms": [
            {
                "arm": arm.name,
                "components": [str(component) for component in arm.components],
                "runs": [run.id for run in plan.runs if run.arm == arm.name],
                "missing": sum(run.id in left and run.arm == arm.name for run in plan.runs),
                "seconds_per_run": expected.get(arm.name),
            }
            for arm in plan.layout.arms
        ],
        "contrasts": [
            {
                "label": contrast.label,
                "kind": None if contrast.kind is None else contrast.kind.value,
                "outcome": contrast.outcome,
                "reason": contrast.reason,
                "edits": plain(contrast.edits),
                "estimand": contrast.estimand,
                "control": contrast.control,
                "treatment": contrast.treatment,
            }
            for contrast in plan.layout.contrasts
        ],
        "runs": len(plan.runs),
        "missing": len(missing),
        "slots": slots,
        "seconds": seconds / max(min(slots, len(missing)), 1) if expected else None,
        "certificates": [dict(one) for one in certificates if "damaged" not in one],
        "aliases": list(plan.layout.aliases),
        "notes": [*plan.layout.notes, *plan.notes],
    }


def planned_table(found: Mapping[str, Any]) -> str:
    """Return the plan as text for a terminal."""
    protocol = found["protocol"]
    lines = [
        *(line for note in found["notes"] for line in textwrap.wrap(note, 100)),
        f"study {found['study']}: {found['design']} of {found['base']} on {found['data']},"
        f" {len(found['arms'])} arms, {found['runs']} runs",
        f"top-1 on {protocol['split']} at {protocol['resolution']} pixels, after the last step",
        "",
        "components",
    ]
    wide = max((len(contrast["label"]) for contrast in found["contrasts"]), default=0)
    for contrast in found["contrasts"]:
        if contrast["outcome"] == "applied":
            words = ", ".join(
                f"{path} = {_show(value)}" for path, value in contrast["edits"].items()
            )
        else:
            words = f"{contrast['outcome'].replace('_', ' ')}: {contrast['reason']}"
        kind = contrast["kind"] or "interaction"
        lines.append(f"  {contrast['label']:<{wide}}  {kind:<14}  {words}")
    lines += ["", "arms"]
    width = max(len(arm["arm"]) for arm in found["arms"])
    for arm in found["arms"]:
        each = arm["seconds_per_run"]
        price = f"about {duration(each)} each" if each is not None else ""
        lines.append(
            f"  {arm['arm']:<{width}}  {arm['missing']} of {len(arm['runs'])} to train  {price}"
        )
    if found["aliases"]:
        lines += ["", "aliases: what the arms cannot tell apart"]
        lines += [line for text in found["aliases"] for line in _item(text)]
    if found["certificates"]:
        lines += ["", "certificates: what each arm changes, looked at on what was built"]
        lines += [line for one in found["certificates"] for line in _certificate(one)]
    total = found["seconds"]
    price = f", about {duration(total)} with {found['slots']} at once" if total else ""
    lines += [
        "",
        f"{found['missing']} of {found['runs']} runs to train{price}; nothing was trained",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ")


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
    for name, words in (("declared", leaves), ("seen in", seen)):
        yield from textwrap.wrap(
            f"{name} {'; '.join(words)}", 100, initial_indent="    ", subsequent_indent="      "
        )
    yield "    and in nothing else"


def _show(value: Any) -> str:
    if isinstance(value, Mapping):  # a hook
        return f"{value['target']} at {value['hook']}"
    return show(tuple(value) if isinstance(value, list) else value)
