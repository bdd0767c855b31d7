"""What a change of one leaf must be seen in, and what it may be seen in: nothing else may move.

Pure data over the aspects of `ablations.observed`. What follows of itself (other gradients from
another loss) is computed from CONSEQUENCES, so a row names only what is direct.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipes import Recipe, at, peak
from recipes.component import PROTOCOL
from recipes.recipe import Hook
from recipes.tree import value_at

# An aspect that changed may change these.
CONSEQUENCES: dict[str, tuple[str, ...]] = {
    "modules": ("training forward", "evaluation forward"),
    "first weights": ("training forward", "evaluation forward", "reported weights"),
    "dropout": ("training forward",),
    "stochastic depth": ("training forward",),
    "training forward": ("gradients",),
    "evaluation forward": ("raw predictions", "reported predictions"),
    "label smoothing": ("loss",),
    "loss": ("gradients",),
    "augmentation": ("inputs",),
    "inputs": ("trained weights",),
    "targets": ("trained weights",),
    "gradients": ("trained weights",),
    "gradient clipping": ("trained weights",),
    "optimizer": ("trained weights",),
    "learning rate": ("trained weights",),
    "weight decay": ("trained weights",),
    "momentum": ("trained weights",),
    "trained weights": ("raw predictions", "reported weights"),
    "parameters": ("training forward", "evaluation forward", "reported weights"),
    "average": ("reported weights",),
    "evaluation": ("reported weights",),
    "statistics": ("reported weights",),
    "reported weights": ("reported predictions",),
}


@dataclass(frozen=True, kw_only=True)
class Signature:
    """`must`: of each group at least one aspect has to change; `may`: others that can."""

    must: tuple[frozenset[str], ...]
    may: frozenset[str] = frozenset()


def _must(*groups: str | tuple[str, ...], may: Iterable[str] = ()) -> Signature:
    every = tuple(frozenset((one,) if isinstance(one, str) else one) for one in groups)
    return Signature(must=every, may=frozenset(may))


_RATE = _must("learning rate")
_AUGMENTED = _must("augmentation")
_CROP = _must("augmentation", "inputs")

# Every leaf that a component of some kind may write.
SIGNATURES: dict[str, Signature] = {
    # Other widths are other fans, by which classifiers' biases are drawn.
    "model.layers": _must("modules", "parameters", may=("first weights",)),
    "model.width": _must("parameters", may=("modules", "first weights")),
    "model.se_ratio": _must("modules", "parameters", "evaluation forward", "training forward"),
    "model.resnet_d": _must(
        "modules", "evaluation forward", "training forward", may=("parameters",)
    ),
    "model.resnet_d_parts": _must("modules", may=("parameters",)),
    "model.dropout": _must("dropout", "training forward"),
    "model.drop_path": _must("stochastic depth", "training forward", may=("modules",)),
    "model.drop_path_rule": _must("stochastic depth", "training forward"),
    "model.zero_init_last": _must("first weights"),
    "model.bn_momentum": _must("statistics"),
    "data.batch_size": _must("batch", may=("learning rate",)),
    "data.crop": _CROP,
    "data.crop_area": _CROP,
    "data.crop_padding": _CROP,
    "data.flip": _CROP,
    "data.decode": _CROP,
    "augment.randaug_layers": _must("augmentation", "inputs"),
    "augment.randaug_magnitude": _AUGMENTED,
    "augment.randaug_space": _AUGMENTED,
    "augment.randaug_solarize_wrap": _AUGMENTED,
    "optim.epochs": _must("epochs", may=("learning rate",)),
    "optim.optimizer": _must("optimizer", may=("momentum",)),
    "optim.lr": _RATE,
    "optim.momentum": _must("momentum"),
    "optim.nesterov": _must("optimizer"),
    "optim.second_moment": _must("optimizer"),
    "optim.epsilon": _must("optimizer"),
    "optim.weight_decay": _must("weight decay"),
    "optim.decay_scope": _must("optimizer", may=("weight decay",)),
    "optim.schedule": _RATE,
    "optim.milestones": _RATE,
    "optim.decay_epochs": _RATE,
    "optim.decay_factor": _RATE,
    "optim.warmup_epochs": _RATE,
    "optim.grad_clip": _must("gradient clipping"),
    "optim.ema_decay": _must("average"),
    "optim.ema_warmup": _must("average"),
    # Nothing but what random numbers decide.
    "optim.redraw": _must("random streams", "first weights", "inputs", may=("targets",)),
    "loss.label_smoothing": _must("label smoothing", "loss"),
    # Predictions that are no finite numbers cannot be told apart; weights can.
    "evaluate.weights": _must("evaluation", "reported weights"),
}

_NETWORK = ("modules", "parameters", "first weights", "training forward", "evaluation forward")
_HEARD = ("first weights", "training forward", "evaluation forward", "gradients", "statistics")
_HOOKS: dict[str, Signature] = {
    # A hook may wrap the network, which renames every module, hold a part of its own, or freeze;
    # a module that nobody calls is no treatment.
    "model": _must(
        _HEARD,
        may=(*_NETWORK, "dropout", "stochastic depth", "optimizer", "weight decay"),
    ),
    "batch": _must(("inputs", "targets"), may=("augmentation", "inputs", "targets")),
    # Another value of the same gradients trains the same network.
    "loss": _must("gradients", may=("loss", "label smoothing")),
    "optimizer": _must(
        ("optimizer", "learning rate", "weight decay", "momentum", "trained weights"),
        may=("optimizer", "learning rate", "weight decay", "momentum", "gradient clipping"),
    ),
}


def signature(path: str, arm: Recipe, parent: Recipe) -> Signature:
    """Return what a change of this leaf has to show and may show.

    Raises:
        KeyError: a leaf that no component may write.
    """
    if path.startswith("custom."):
        hooks = {f"custom.{one.name}": one for one in (*parent.custom, *arm.custom)}
        hook: Hook = hooks[path]
        return _HOOKS[hook.hook]
    if path == "loss.label_smoothing" and any(hook.hook == "loss" for hook in arm.custom):
        return _must("gradients", may=("loss",))  # a user's loss is given smoothed targets
    if path == "augment.randaug_magnitude":  # what moves later only is not seen in the first steps
        now, before = (at(one.augment.randaug_magnitude, 0.0) for one in (arm, parent))
        on = arm.augment.randaug_layers and parent.augment.randaug_layers
        return _CROP if on and now != before else SIGNATURES[path]
    if path == "optim.redraw" and any(hook.hook == "model" for hook in arm.custom):
        # A user's network may begin at weights of its own, as pre-trained ones.
        return _must("random streams", "inputs", may=("first weights", "targets"))
    if path == "model.bn_momentum" and not (averages(arm) and value_at(arm, path) == 1.0):
        # Beside an average of momentum 1, the raw statistics keep the backbone's own momentum.
        return _must("statistics", may=("raw predictions",))
    if path in PROTOCOL:  # of a declared exception: the fixed images are cut as it evaluates
        return _must("evaluation", may=("evaluation forward", "training forward", "loss"))
    return SIGNATURES[path]


def averages(recipe: Recipe) -> bool:
    """Return whether the recipe keeps an average of its weights."""
    return peak(recipe.optim.ema_decay) > 0


def allowed(signatures: Iterable[Signature]) -> frozenset[str]:
    """Return every aspect that may change where these leaves did: direct ones and what follows."""
    found = {aspect for one in signatures for aspect in one.may.union(*one.must)}
    waiting = list(found)
    while waiting:
        for aspect in CONSEQUENCES.get(waiting.pop(), ()):
            if aspect not in found:
                found.add(aspect)
                waiting.append(aspect)
    return frozenset(found)
