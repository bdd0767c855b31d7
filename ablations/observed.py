"""Two observations of built objects (`lightning_modules.probe`) compared, aspect by aspect.

The file is long because there are twenty-eight aspects.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recipes.validate import show

Observation = Mapping[str, Any]

# Sums in another order differ by less; on one machine equal arms are equal to the last bit.
_SAME = 1e-6
_LOGITS = {
    "training forward": "training",
    "evaluation forward": "evaluation",
    "raw predictions": "raw",
    "reported predictions": "reported",
}
_SHOWN = 3  # names of modules, at most


def changes(parent: Observation, arm: Observation) -> dict[str, str]:
    """Return what differs, by aspect, each in a few words."""
    found = {name: compare(parent, arm) for name, compare in ASPECTS.items()}
    return {name: words for name, words in found.items() if words}


def unseen(seen: Observation) -> set[str]:
    """Return the aspects of which nothing can be said: their numbers are not finite."""
    return {aspect for aspect, key in _LOGITS.items() if None in _flat(seen[key])}


def aspects(names: Iterable[str]) -> list[str]:
    """Return names of aspects in the order of ASPECTS."""
    wanted = set(names)
    return [name for name in ASPECTS if name in wanted]


def _modules(parent: Observation, arm: Observation) -> str:
    old, new = parent["modules"], arm["modules"]
    added, gone = _topmost(new, old), _topmost(old, new)
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name]]
    parts = [f"{count} {kind} added" for kind, count in added.most_common(_SHOWN)]
    parts += [f"{count} {kind} gone" for kind, count in gone.most_common(_SHOWN)]
    if changed:
        first = min(changed, key=lambda name: list(new).index(name))
        kinds = (_kind(old[first]), _kind(new[first]))
        before, after = kinds if kinds[0] != kinds[1] else (old[first], new[first])
        parts.append(f"{len(changed)} changed ({first}: {before} -> {after})")
    return ", ".join(parts)


def _topmost(these: Mapping[str, str], others: Mapping[str, str]) -> Counter[str]:
    """Return the types of the modules that only `these` have, without the parts of those."""
    only = these.keys() - others.keys()
    return Counter(_kind(these[name]) for name in only if name.rpartition(".")[0] not in only)


def _parameters(parent: Observation, arm: Observation) -> str:
    old, new = parent["parameters"], arm["parameters"]
    if old == new:
        return ""
    numbers = (f"{sum(_numel(shape) for shape in shapes.values())}" for shapes in (old, new))
    return " -> ".join(numbers) + " numbers in parameters and statistics"


def _first_weights(parent: Observation, arm: Observation) -> str:
    same = [
        name
        for name in parent["weights"].keys() & arm["weights"].keys()
        if parent["parameters"][name] == arm["parameters"][name]
    ]
    other = sorted(name for name in same if parent["weights"][name] != arm["weights"][name])
    return _named(other, "begin at other values")


def _statistics(parent: Observation, arm: Observation) -> str:
    old, new = parent["statistics"], arm["statistics"]
    other = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    if not other:
        return ""
    first = other[0]
    return f"momentum {show(old[first])} -> {show(new[first])} in {len(other)} batch norms"


def _optimizer(parent: Observation, arm: Observation) -> str:
    old, new = parent["optimizer"]["class"], arm["optimizer"]["class"]
    if old != new:
        return f"{old} -> {new}"
    before, after = _by_parameter(parent), _by_parameter(arm)
    other = sorted(name for name in _same_tensors(parent, arm) if before[name] != after[name])
    if not other:
        return ""
    one = other[0]
    keys = [key for key in before[one] | after[one] if before[one].get(key) != after[one].get(key)]
    return (
        ", ".join(
            f"{key} {show(before[one].get(key))} -> {show(after[one].get(key))}" for key in keys
        )
        + f" for {len(other)} parameters"
    )


def _same_tensors(parent: Observation, arm: Observation) -> set[str]:
    """Return the parameters that both have: a name may be given to another part of the network."""
    old, new = _by_parameter(parent), _by_parameter(arm)
    shapes, others = parent["parameters"], arm["parameters"]
    return {name for name in old.keys() & new.keys() if shapes.get(name) == others.get(name)}


def _by_parameter(seen: Observation) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in group.items() if key != "parameters"}
        for group in seen["optimizer"]["groups"]
        for name in group["parameters"]
    }


def _learning_rate(parent: Observation, arm: Observation) -> str:
    old, new = parent["learning_rate"], arm["learning_rate"]
    for (step, before), (other, after) in zip(old, new, strict=False):
        if before != after:
            where = f"step {step}" if step == other else f"step {step} and {other}"
            return f"{_few(before)} -> {_few(after)} at {where} of the probe"
    return "" if old == new else "at other steps"


def _streams(parent: Observation, arm: Observation) -> str:
    old, new = parent["streams"], arm["streams"]
    return (
        "" if old == new else f"drawn anew for {' and '.join(k for k in old if old[k] != new[k])}"
    )


def _curve(path: str) -> Callable[[Observation, Observation], str]:
    def compare(parent: Observation, arm: Observation) -> str:
        old, new = (
            [_level(value) for value in seen["curves"][path]]
            + [_level(row[path]) for row in seen["live"]]
            for seen in (parent, arm)
        )
        if old == new or None in old or None in new:  # None: there is nothing that it could move
            return ""
        # The last that differs over training: what moves from 0 on is told where it has moved.
        places = [
            k for k, (before, after) in enumerate(zip(old, new, strict=True)) if before != after
        ]
        over = [k for k in places if k < len(parent["progress"])]
        place = (over or places)[-1]
        return f"{_few(old[place])} -> {_few(new[place])}"

    return compare


def _level(value: Any) -> Any:
    """Return a reading as what can be compared and shown: rates by name, or distinct values."""
    if isinstance(value, dict):
        return {name: rate for name, rate in value.items() if rate}
    if isinstance(value, list):
        return sorted({one for one in value if one is not None})
    return None if value is None else round(value, 9) + 0.0


def _augmentation(parent: Observation, arm: Observation) -> str:
    curve = _curve("augment.randaug_magnitude")(parent, arm)
    old, new = parent["transforms"], arm["transforms"]
    gone = [_transform(one) for one in old if one not in new]
    added = [_transform(one) for one in new if one not in old]
    if not gone and not added:
        return f"magnitude {curve}" if curve else ""
    return ", ".join([f"{one} added" for one in added] + [f"{one} gone" for one in gone])


def _transform(one: Any) -> str:
    if isinstance(one, str):
        return one
    if "space" in one:
        return f"RandAugment of {one['layers']} x {show(one['magnitude'])} in {one['space']}"
    return f"crop {one['crop']} to {one['to']} px"


def _average(parent: Observation, arm: Observation) -> str:
    old, new = ([_round(decay) for decay in seen["decays"]] for seen in (parent, arm))
    pairs = list(zip(old, new, strict=False))
    # None: nothing had moved that the average could have followed.
    if len(old) != len(new) or any(a != b for a, b in pairs if a is not None and b is not None):
        told = (_few(["not seen" if one is None else one for one in some]) for some in (old, new))
        return f"decays of the first steps {' -> '.join(told)}"
    return _curve("optim.ema_decay")(parent, arm)


def _plain(key: str, words: str = "") -> Callable[[Observation, Observation], str]:
    def compare(parent: Observation, arm: Observation) -> str:
        old, new = parent[key], arm[key]
        if old == new:
            return ""
        return words or f"{_few(old)} -> {_few(new)}"

    return compare


def _numbers(key: str, same: float = _SAME) -> Callable[[Observation, Observation], str]:
    def compare(parent: Observation, arm: Observation) -> str:
        old, new = _flat(parent[key]), _flat(arm[key])
        if old == new:
            return ""
        known = [(a, b) for a, b in zip(old, new, strict=False) if a is not None and b is not None]
        if not len(old) == len(new) == len(known):
            return "other numbers"
        gap = math.dist(*zip(*known, strict=True))
        size = math.hypot(*(a for a, _ in known))
        if gap <= same * size:
            return ""
        if size == 0:
            return "other numbers"
        share = 100 * gap / size
        return f"by {share:.0f} %" if share >= 10 else f"by {share:.2g} %"

    return compare


def _loss(parent: Observation, arm: Observation) -> str:
    old, new = parent["loss"], arm["loss"]
    return "" if _alike(old, new) else f"{_few(old)} -> {_few(new)}"


def _gradients(parent: Observation, arm: Observation) -> str:
    old, new = parent["gradients"], arm["gradients"]
    shared = old.keys() & new.keys()
    other = [name for name in shared if not _alike(old[name], new[name])]
    return _named(sorted(other), "have others") or (
        "of other parameters" if old.keys() != new.keys() else ""
    )


def _protocol(parent: Observation, arm: Observation) -> str:
    old, new = parent["protocol"], arm["protocol"]
    return ", ".join(f"{key} {old[key]} -> {new[key]}" for key in old if old[key] != new[key])


def _epochs(parent: Observation, arm: Observation) -> str:
    old, new = parent["steps"], arm["steps"]
    return "" if old == new else f"{old['epochs']} -> {new['epochs']}"


ASPECTS: dict[str, Callable[[Observation, Observation], str]] = {
    "random streams": _streams,
    "modules": _modules,
    "parameters": _parameters,
    "first weights": _first_weights,
    "statistics": _statistics,
    "optimizer": _optimizer,
    "epochs": _epochs,
    "batch": _plain("batch"),
    "learning rate": _learning_rate,
    "weight decay": _curve("optim.weight_decay"),
    "momentum": _curve("optim.momentum"),
    "gradient clipping": _numbers("clipped", 1e-3),  # a sum of float32 squares
    "dropout": _curve("model.dropout"),
    "stochastic depth": _curve("model.drop_path"),
    "augmentation": _augmentation,
    "inputs": _plain("inputs", "other pixels"),
    "targets": _plain("targets", "other targets"),
    "training forward": _numbers(_LOGITS["training forward"]),
    "evaluation forward": _numbers(_LOGITS["evaluation forward"]),
    "label smoothing": _curve("loss.label_smoothing"),
    "loss": _loss,
    "gradients": _gradients,
    "trained weights": _plain("trained", "others after the first steps"),
    "average": _average,
    "evaluation": _protocol,
    "raw predictions": _numbers(_LOGITS["raw predictions"]),
    "reported weights": _plain("reported_weights", "others"),
    "reported predictions": _numbers(_LOGITS["reported predictions"]),
}


# Where a change shows that has been told already.
FOLLOWING = (
    "gradients",
    "trained weights",
    "raw predictions",
    "reported weights",
    "reported predictions",
)


def _kind(words: str) -> str:
    return words.partition("(")[0]


def _numel(shape: str) -> int:
    count = 1
    for side in json.loads(shape[shape.index("[") :]):
        count *= side
    return count


def _named(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} {what}"


def _few(values: Any) -> str:
    if isinstance(values, dict):
        rates = sorted(values.values())
        return f"{len(rates)} blocks up to {show(rates[-1])}" if rates else "none"
    if isinstance(values, list):
        return " and ".join(_few(one) for one in values[:_SHOWN]) if values else "none"
    return f"{values:.4g}" if isinstance(values, float) else show(values)


def _flat(value: Any) -> list[float | None]:
    if isinstance(value, list):
        return [number for part in value for number in _flat(part)]
    return [value]


def _alike(old: float | None, new: float | None) -> bool:
    """Return whether two numbers, None where they are not finite, are the same."""
    if old is None or new is None:
        return old is new
    return abs(old - new) <= _SAME * abs(old)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
