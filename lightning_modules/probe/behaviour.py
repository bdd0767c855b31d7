"""What a network and its loss do to fixed inputs, each part by itself, before any training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from lightning_modules.backbones import set_drop_path, set_dropout
from lightning_modules.classifier import Classifier
from lightning_modules.custom import hooks_of
from recipes import peak

_SEED = 20_210_313  # of the probe's own random numbers; any fixed number would do


def behaviour(module: Classifier, images: Tensor, targets: Tensor) -> dict[str, Any]:
    """Return what the network does with these images, everything that moves at its peak.

    `evaluation`: logits in eval mode; `training`: logits in train mode under one fixed stream;
    `loss`: of fixed logits; `gradients`: the norm by parameter of one backward pass; `dropped`:
    the share of the classifier's inputs that training sets to 0, None where it cannot be seen.

    The network's statistics are those of the images themselves, whatever its momentum is. They are
    left changed.

    Args:
        module: whose network is woken (see `structure.wake`).
        images: float, (N, 3, H, W).
        targets: class indices, (N,).
    """
    recipe = module.recipe
    network, seen = module.network, list[Tensor]()
    set_drop_path(network, 0.0)
    set_dropout(network, 0.0)
    settle(module, images)
    with torch.no_grad():
        evaluation = module.eval()(images)
        set_drop_path(network, peak(recipe.model.drop_path))
        torch.manual_seed(_SEED)  # the same blocks are dropped below: only dropout differs
        with _watched(module, seen):
            module.train()(images)
    set_dropout(network, peak(recipe.model.dropout))
    before = module.label_smoothing
    module.label_smoothing = peak(recipe.loss.label_smoothing)
    torch.manual_seed(_SEED)
    with _watched(module, seen):
        training = module.train()(images)
    module.loss(training, targets).backward()
    gradients = {
        name: float(parameter.grad.double().norm())
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    module.zero_grad()
    found = {
        "evaluation": evaluation.double().tolist(),
        "training": training.detach().double().tolist(),
        "loss": float(module.loss(*_fixed(module)).detach()),
        "gradients": gradients,
        "dropped": _dropped(*seen) if len(seen) == 2 else None,
    }
    module.label_smoothing = before
    return found


@torch.no_grad()
def settle(module: Classifier, images: Tensor) -> None:
    """Give the network's batch norms the statistics of these images, whatever their momentum is.

    With those of its making (0 and 1) the evaluation of a woken deep network overflows.
    """
    norms = [
        part for part in module.network.modules() if isinstance(part, _BatchNorm | _InstanceNorm)
    ]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 1.0
    torch.manual_seed(_SEED)
    module.train()(images)
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum


def smoothing(module: Classifier) -> float | None:
    """Return the label smoothing that the loss really has: cross-entropy is linear in it.

    None where a loss of a user's own stands in its place.
    """
    if hooks_of(module.recipe, "loss"):
        return None
    logits, targets = _fixed(module)
    logs = log_softmax(logits, 1)
    plain = -logs.gather(1, targets[:, None]).mean()
    uniform = -logs.mean()
    return float((module.loss(logits, targets) - plain) / (uniform - plain))


def _fixed(module: Classifier) -> tuple[Tensor, Tensor]:
    """Return logits (16, classes) and class indices (16,), the same for every arm.

    In float64, for the sake of digits; a user's loss gets the float32 of training.
    """
    generator = torch.Generator().manual_seed(_SEED)
    logits = 2.0 * torch.randn(16, module.classes, generator=generator)
    targets = torch.randint(module.classes, (16,), generator=generator)
    return logits if hooks_of(module.recipe, "loss") else logits.double(), targets


def _dropped(full: Tensor, dropped: Tensor) -> list[float] | None:
    heard = int((full != 0).sum())
    return [float(((dropped == 0) & (full != 0)).sum()) / heard, heard] if heard else None


@contextlib.contextmanager
def _watched(module: Classifier, seen: list[Tensor]) -> Iterator[None]:
    """Keep what reaches the classifier, where the network tells which module that is.

    The classifier is a Linear or a 1 x 1 convolution in all of timm's families.
    """
    tell: Any = getattr(module.network, "get_classifier", None)
    classifier = tell() if callable(tell) else None
    if not isinstance(classifier, nn.Linear | nn.Conv2d):
        yield
        return
    watch = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        yield
    finally:
        watch.remove()
