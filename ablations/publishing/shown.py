"""What trackers show of a run: its names and configuration, its curve, its end. Loads no torch.

These names are what dashboards and people filter by.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ablations.ledger import Ledger
from ablations.named import key_of, kind_of, side_of
from ablations.plans import BASE, Arm, Plan, Run
from lightning_modules.files import read_json
from lightning_modules.tracking import LONGEST_JOB_TYPE, LONGEST_NAME, LONGEST_TAG, TrackedRun
from recipes.identity import digest
from recipes.text import plain
from recipes.tree import leaves

COMPONENT = "component/"  # in the configuration: before a component's key, true or false
NO_SIDE = "none"  # of the base, in the configuration


def identity_of(study: str, run: str, attempt: int = 1) -> str:
    """Return what names a run of a study in W&B: each study that shares it has its own there.

    So has each attempt at a run that was made again after it had ended: its curve begins anew.
    """
    return digest([study, run] if attempt == 1 else [study, run, attempt])


def tracked_run(plan: Plan, run: Run, attempt: int = 1) -> TrackedRun:
    """Return how trackers call an attempt at a run."""
    arm = plan.layout.arm(run.arm)
    kinds = {kind_of(plan.layout, one) for one in arm.components} - {""}
    end = f" seed {run.seed}" + (f" attempt {attempt}" if attempt > 1 else "")
    return TrackedRun(
        identity=identity_of(plan.study, run.id, attempt),
        study=group_of(plan.study),
        arm=cut(run.arm, LONGEST_JOB_TYPE),
        name=cut(run.arm, LONGEST_NAME - len(end)) + end,
        tags=tuple(sorted({tag_of(key_of(one)) for one in arm.components} | kinds)),
        curves=("train/loss", "val/loss", "val/top1"),
    )


def group_of(study: str) -> str:
    """Return the group of a study's runs; where the service cuts groups is not known: as names."""
    return cut(study, LONGEST_NAME)


def tag_of(key: str) -> str:
    """Return the tag of the runs of arms that have a component."""
    return cut(key, LONGEST_TAG)


def cut(text: str, longest: int) -> str:
    """Return a text of at most so many letters; of a longer one its head, told from others' heads.

    The configuration has it whole.
    """
    if len(text) <= longest:
        return text
    end = f"~{digest([text])[:8]}"
    return text[: longest - len(end)] + end


def configuration(plan: Plan, run: Run, ledger: Ledger, attempt: int = 1) -> dict[str, Any]:
    """Return the configuration of a run: its complete recipe, and what it is in its study.

    `step` is the place in the ladder (0: the base), or None; `component/<key>` says of every
    component of the study whether the arm has it.
    """
    arm = plan.layout.arm(run.arm)
    own = {key_of(one) for one in arm.components}
    return {
        "arm": run.arm,
        "seed": run.seed,
        "study": plan.study,
        "run": run.id,
        "attempt": attempt,
        "data": plan.data,
        "base": plan.base,
        "design": plan.layout.design,
        "side": NO_SIDE if (side := side_of(plan.layout, arm)) == BASE else side,
        "step": ladder_of(plan).get(run.arm),
        "components": [str(one) for one in arm.components],
        **{f"{COMPONENT}{key}": key in own for key in keys_of(plan)},
        "recipe": _nested(plain(leaves(arm.recipe))),
        "environment": _environment(run, ledger),
    }


def ending(run: Run, record: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Return the final numbers and words of a run: `value` is its accuracy in percent, or None."""
    result = ledger.result(run.id)
    known = {
        f"result/{name}": value
        for name, value in result.items()
        if name not in ("schema_version", "message") and value is not None and _is_plain(value)
    }
    return {
        **known,
        "value": result.get("top1"),
        "outcome/status": str(record.get("status")),
        "outcome/message": str(record.get("message", "")),
        **proof_of(run, ledger),
    }


def proof_of(run: Run, ledger: Ledger) -> dict[str, Any]:
    """Return what a run's certificates say: whether its arm is proven, against what, by what."""
    found = ledger.certificates(ledger.run_folder(run.id) / "certificate.json")
    words = []
    for one in found:
        parent = one.get("parent")
        seen = ", ".join(one.get("changed", ())) or "nothing"
        wrong = "; ".join(one.get("wrong", ()))
        words.append(f"against {parent}: {seen}" if parent else "the base, against its own leaves")
        words += [f"wrong: {wrong}"] if wrong else []
    return {
        "certificate/proven": bool(found) and all(one.get("treated") is True for one in found),
        "certificate/words": "; ".join(words),
        "certificate/digest": digest(found) if found else "",
    }


def rows_of(run: Run, ledger: Ledger) -> list[dict[str, Any]]:
    """Return the whole rows of a run's curve so far, without numbers that are not finite.

    A run that is read off another one's training has its own curve once that has ended.
    A damaged line is passed over, so that it spoils no other.
    """
    try:
        path = ledger.run_folder(run.id) / "metrics.jsonl"
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.split("\n")[:-1]:  # the last may be half written
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step", 0), int):
                found.append({name: value for name, value in row.items() if value is not None})
    return found


def keys_of(plan: Plan) -> tuple[str, ...]:
    """Return the keys of the components that any arm of a plan has, in the order of the arms."""
    return _keys(plan.layout.arms)


@lru_cache(maxsize=4)
def _keys(arms: tuple[Arm, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key_of(one) for arm in arms for one in arm.components))


def ladder_of(plan: Plan) -> dict[str, int]:
    """Return the step of every arm on the ladder: 0 is the base."""
    steps = [one for one in plan.layout.contrasts if one.estimand == "in_order" and one.weights]
    found = {BASE: 0} if steps else {}
    for one in steps:
        if one.treatment is not None:
            found.setdefault(one.treatment, len(found))
    return found


def _environment(run: Run, ledger: Ledger) -> dict[str, Any]:
    """Return versions and hardware of the process that made a run, where they are known."""
    try:
        found = read_json(ledger.run_folder(run.id) / "environment.json")
    except (OSError, ValueError):
        return {}
    found = found if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if name != "schema_version"}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"optim": {"lr": 0.1}}` of `{"optim.lr": 0.1}`: trackers take dots for levels."""
    found: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        place = found
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and (
        not isinstance(value, float) or math.isfinite(value)
    )
