"""What the built objects must be by the recipe's own leaves, in closed form: no tolerance for less.

Comparing an arm with its parent says that something changed; this says that it changed to what the
recipe holds: not twice, not half, not stuck at its first value.

The file is long because there are a dozen forms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ablations.observed import Observation
from ablations.signatures import averages
from lightning_modules.schedules import ema_decay_at, lr_factor, peak_lr
from lightning_modules.streams import redrawn
from recipes import Recipe, at, peak
from recipes.tree import value_at
from recipes.validate import show

_CLOSE = 1e-6  # relative; readings of numbers
_MEASURED = 1e-3  # relative; measured on float32 tensors
_NORMS = ("BatchNorm2d", "BatchNormAct2d", "GroupNorm", "LayerNorm", "LayerNorm2d")
_KNOWN = (*_NORMS, "Conv2d", "Linear")  # of others it is not told here whether they are norms
_DEVIATIONS = 5.0  # of a binomial share, for what is random


def contradictions(recipe: Recipe, seen: Observation) -> list[str]:
    """Return where the built objects are not what the recipe's leaves say, one line each."""
    hooks = {hook.hook for hook in recipe.custom}
    found = [*_epochs(recipe, seen), *_streams(recipe, seen), *_first_loss(seen)]
    found += _average(recipe, seen)
    found += _gradients(seen)
    if "optimizer" not in hooks:
        found += [*_learning_rate(recipe, seen), *_groups(recipe, seen)]
        found += _clipping(recipe, seen)
    if "model" not in hooks:
        found += [*_dropout(recipe, seen), *_drop_path(recipe, seen), *_statistics(recipe, seen)]
        found += [*_gates(recipe, seen), *_resnet_d(recipe, seen)]
    if "batch" not in hooks:
        found += _inputs(recipe, seen)
    if "loss" not in hooks:
        found += _follows(recipe, seen, "loss.label_smoothing", lambda value: value)
    return found


def _epochs(recipe: Recipe, seen: Observation) -> Iterator[str]:
    if seen["steps"]["epochs"] != recipe.optim.epochs:
        yield _said("optim.epochs", recipe.optim.epochs, seen["steps"]["epochs"], "the Trainer has")
    if seen["batch"][0] != recipe.data.batch_size:
        yield _said("data.batch_size", recipe.data.batch_size, seen["batch"][0], "the loader has")


def _streams(recipe: Recipe, seen: Observation) -> Iterator[str]:
    wanted = str(redrawn(0, recipe.optim.redraw))  # a probe looks at seed 0
    for part, found in seen["streams"].items():
        if found != wanted:
            yield _said("optim.redraw", recipe.optim.redraw, found, f"the {part} draws from seed")


def _learning_rate(recipe: Recipe, seen: Observation) -> Iterator[str]:
    optim, total = recipe.optim, seen["steps"]["total"]
    per_epoch = total // seen["steps"]["epochs"]
    top = peak_lr(optim, recipe.data.batch_size)
    rows = [*seen["learning_rate"]]
    rows += [[step, row["learning_rate"]] for step, row in enumerate(seen["live"])]
    for step, rates in rows:
        wanted = top * lr_factor(optim, step, per_epoch, total)
        wrong = [rate for rate in rates if not _near(rate, wanted, _CLOSE)]
        if wrong:
            yield (
                f"optim.lr and its schedule give {show(wanted)} at step {step} of {total}, and the"
                f" optimiser has {show(wrong[0])}"
            )
            return


def _groups(recipe: Recipe, seen: Observation) -> Iterator[str]:
    optim = recipe.optim
    decays = [group.get("decays") for group in seen["optimizer"]["groups"]]
    yield from _follows(
        recipe,
        seen,
        "optim.weight_decay",
        lambda value: [value if decaying else 0.0 for decaying in decays],
    )
    yield from _follows(recipe, seen, "optim.momentum", lambda value: [value] * len(decays))
    if seen["decayed"] is not None:
        last = at(optim.weight_decay, 1.0)
        wanted = [last if decaying else 0.0 for decaying in decays]
        for measured, value in zip(seen["decayed"], wanted, strict=True):
            # Measured on one float32 weight: its last digit is 6e-8 of it.
            if measured is not None and abs(measured - value) > 1e-6 + 1e-3 * value:
                yield _said("optim.weight_decay", value, measured, "a step really takes off")
    yield from _scope(recipe, seen)
    nesterov = [group.get("nesterov", False) for group in seen["optimizer"]["groups"]]
    if optim.optimizer == "sgd" and any(found != optim.nesterov for found in nesterov):
        yield _said("optim.nesterov", optim.nesterov, nesterov[0], "the optimiser has")


def _scope(recipe: Recipe, seen: Observation) -> Iterator[str]:
    """Yield a parameter that decays and should not by its name and shape, or the other way."""
    scope = recipe.optim.decay_scope
    for group in seen["optimizer"]["groups"]:
        for name in group["parameters"]:
            kind = seen["modules"].get(name.rpartition(".")[0], "").partition("(")[0]
            if scope == "kernels":
                decays = seen["parameters"][name].count(",") > 0
            elif scope == "not_norm" and kind not in _KNOWN:
                continue
            else:
                decays = scope == "all" or kind not in _NORMS
            if group.get("decays") is not decays:
                yield f"optim.decay_scope = {scope}, and {name} {'does not' if decays else 'does'}"
                return


def _clipping(recipe: Recipe, seen: Observation) -> Iterator[str]:
    wanted = recipe.optim.grad_clip or 1e6  # the norm that was given
    if seen["clipped"] is not None and not _near(seen["clipped"], min(wanted, 1e6), _MEASURED):
        yield _said("optim.grad_clip", recipe.optim.grad_clip, seen["clipped"], "what is left is")


def _dropout(recipe: Recipe, seen: Observation) -> Iterator[str]:
    sites: int = seen["dropout_sites"]
    yield from _follows(
        recipe, seen, "model.dropout", lambda value: [value] * sites if value > 0 else []
    )
    if seen["dropped"] is not None and sites == 1:
        share, count = seen["dropped"]
        rate = peak(recipe.model.dropout)
        if abs(share - rate) > _DEVIATIONS * math.sqrt(rate * (1 - rate) / count) + 2 / count:
            yield _said("model.dropout", rate, share, "the share that is really dropped is")


def _drop_path(recipe: Recipe, seen: Observation) -> Iterator[str]:
    model = recipe.model
    first = [name for name, rate in seen["curves"]["model.drop_path"][0].items()]
    if peak(model.drop_path) == 0:
        moving = [name for row in seen["curves"]["model.drop_path"] for name in row if row[name]]
        if moving:
            yield f"model.drop_path = 0, and {moving[0]} drops its branch"
        return
    shares = _shares(first, model.drop_path_rule)
    rows = [*zip(seen["progress"], seen["curves"]["model.drop_path"], strict=True)]
    rows += [
        (step / seen["steps"]["total"], row["model.drop_path"])
        for step, row in enumerate(seen["live"])
    ]
    blocks = seen["residual_blocks"]
    if blocks is not None and model.drop_path_rule == "stage" and len(first) != blocks:
        yield f"model.drop_path: {len(first)} drop-path modules in {blocks} residual blocks"
        return
    for progress, rates in rows:
        top = at(model.drop_path, progress)
        wrong = [
            name
            for name, rate in rates.items()
            if name in shares and not _near(rate, top * shares[name], _CLOSE)
        ]
        if wrong:
            name = wrong[0]
            yield (
                f"model.drop_path = {show(top)} at progress {progress:.3g} gives {name} the rate"
                f" {show(top * shares[name])}, and it has {show(rates[name])}"
            )
            return
        if model.drop_path_rule == "linear" and rates:
            highest = max(rates.values())
            # timm divides by the number of blocks or by one less, and the last may have no skip.
            if not 0.5 * top - _CLOSE <= highest <= top + _CLOSE:
                yield _said("model.drop_path", top, highest, "the highest rate is")
                return


def _shares(names: list[str], rule: str) -> dict[str, float]:
    """Return each drop-path's share of the rate; empty where the rule is not the stage's."""
    if rule != "stage":
        return {}
    stages = {name: name.rpartition(".")[0].rpartition(".")[0] for name in names}
    order = list(dict.fromkeys(stages.values()))
    # tensorflow/tpu resnet_model: rate * i / 5 for stages i = 2..5 of a ResNet.
    return {name: (order.index(stage) + 2) / (len(order) + 1) for name, stage in stages.items()}


def _statistics(recipe: Recipe, seen: Observation) -> Iterator[str]:
    wanted = recipe.model.bn_momentum
    for name, momentum in seen["statistics"].items():
        if wanted is not None and momentum != wanted:
            yield _said("model.bn_momentum", wanted, momentum, f"{name} has")
            return


def _gates(recipe: Recipe, seen: Observation) -> Iterator[str]:
    ratio, blocks = recipe.model.se_ratio, seen["residual_blocks"]
    if blocks is None:
        return
    gates = seen["gates"]
    if ratio and len(gates) != blocks:
        yield f"model.se_ratio = {show(ratio)}: {len(gates)} gates in {blocks} residual blocks"
    for squeezed, width in gates if ratio else ():
        # timm's make_divisible: to the nearest multiple of 8, and not below 8.
        if squeezed != max(8, int(ratio * width + 4) // 8 * 8):
            yield f"model.se_ratio = {show(ratio)}, and a gate squeezes {width} to {squeezed}"
            return


def _resnet_d(recipe: Recipe, seen: Observation) -> Iterator[str]:
    """Yield asked parts that are not there; a backbone's own others are left alone."""
    found: Mapping[str, int] | None = seen["resnet_parts"]
    if found is None or not recipe.model.resnet_d:
        return
    parts = (recipe.model.resnet_d_parts or "stem+pool+shortcut").split("+")
    wanted: dict[str, int] = {}
    if "stem" in parts:
        wanted["stem"] = 3
    if "pool" in parts or "stride" in parts:
        wanted |= {"max_pools": 0, "pool_convolutions": int("pool" in parts)}
    if "stride" in parts:
        wanted["first_stride"] = 2
    if "shortcut" in parts:  # of the stages that shrink their images
        wanted["pooled_shortcuts"] = 3 + ("stride" in parts)
    for part, count in wanted.items():
        if found[part] != count:
            yield f"model.resnet_d asks for {part.replace('_', ' ')} {count}, and has {found[part]}"


def _inputs(recipe: Recipe, seen: Observation) -> Iterator[str]:
    if seen["expected_inputs"] not in (None, seen["inputs"]):
        yield (
            "the first batches are not what data and augment say: the leaves, put together once"
            " more, give other pixels"
        )
    if seen["hears_magnitude"] is False:
        yield "augment.randaug_magnitude: a magnitude of 1 gives the same pixels"
    layers = recipe.augment.randaug_layers
    found = [
        one["layers"] for one in seen["transforms"] if isinstance(one, dict) and "space" in one
    ]
    if found != ([layers] if layers else []):
        yield _said("augment.randaug_layers", layers, found, "the transforms hold")
    if layers:
        yield from _follows(recipe, seen, "augment.randaug_magnitude", lambda value: value)


def _average(recipe: Recipe, seen: Observation) -> Iterator[str]:
    decays = seen["decays"]
    if not averages(recipe):
        if decays:
            yield "optim.ema_decay = 0, and an average is kept"
        return
    if not decays:
        yield f"optim.ema_decay = {show(recipe.optim.ema_decay)}, and no average is kept"
        return
    for step, measured in enumerate(decays):
        progress = step / seen["steps"]["total"]
        wanted = ema_decay_at(
            at(recipe.optim.ema_decay, progress), step + 1, warmup=recipe.optim.ema_warmup
        )
        if measured is None:  # nothing had moved, or not to a finite value
            continue
        if not _near(measured, wanted, _MEASURED):
            yield (
                f"optim.ema_decay gives {show(wanted)} at update {step + 1}, and the average has"
                f" moved by {measured:.6g}"
            )
            return
    yield from _follows(recipe, seen, "optim.ema_decay", lambda value: value)


def _gradients(seen: Observation) -> Iterator[str]:
    if not any(norm is None or norm > 0 for norm in seen["gradients"].values()):
        yield "no parameter gets a gradient from the loss"


def _first_loss(seen: Observation) -> Iterator[str]:
    wanted, found = seen["first_loss"]
    if wanted is not None and found is not None and not _near(found, wanted, _MEASURED):
        yield (
            f"the loss of the first step is {found:.6g}, and the network's answers to its batch in"
            f" training give {wanted:.6g}"
        )


def _follows(recipe: Recipe, seen: Observation, path: str, form: Any) -> Iterator[str]:
    """Yield where a reading is not `form` of the leaf's value, over training and in its steps."""
    scalar, total = value_at(recipe, path), seen["steps"]["total"]
    rows = [*zip(seen["progress"], seen["curves"][path], strict=True)]
    rows += [(step / total, row[path]) for step, row in enumerate(seen["live"])]
    for progress, found in rows:
        wanted = form(at(scalar, progress))
        if not _alike(found, wanted):
            yield (
                f"{path} is {show(at(scalar, progress))} at progress {progress:.3g}, and what is"
                f" built has {show(found)}"
            )
            return


def _alike(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_alike(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return found is not None and _near(found, wanted, _CLOSE)


def _near(found: float, wanted: float, tolerance: float) -> bool:
    return abs(found - wanted) <= tolerance * max(abs(wanted), 1e-3)


def _said(path: str, wanted: Any, found: Any, words: str) -> str:
    shown = f"{found:.4g}" if isinstance(found, float) else show(found)
    return f"{path} = {show(wanted)}, and {words} {shown}"
