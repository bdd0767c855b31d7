"""The optimiser of a recipe and the parameters that decay."""

from __future__ import annotations

import torch
from timm.optim import RMSpropTF
from torch import nn

from lightning_modules.schedules import peak_lr
from recipes import Recipe, at, peak

_TINY = 1e-12  # a momentum that changes nothing in float32
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def parameter_groups(
    network: nn.Module, scope: str
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters that decay and those that do not.

    `all`: every parameter. `not_norm`: all but those of norm layers, so biases decay, as in
    tensorflow/tpu. `kernels`: only weights of two or more dimensions, as in the Model Garden.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if scope == "kernels":
                decays = parameter.ndim > 1
            else:
                # Subclasses cover timm's fused BatchNormAct2d and LayerNorm2d.
                decays = scope == "all" or not isinstance(module, NORMS)
            (decayed if decays else kept).append(parameter)
    return decayed, kept


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser with its values at the start of training.

    Group 0 decays and group 1 does not; either may be empty. torch's SGD adds `weight_decay * w`
    to the gradient, the coupled L2 of the paper's code.
    """
    optim = recipe.optim
    decayed, kept = parameter_groups(network, optim.decay_scope)
    decay = at(optim.weight_decay, 0.0)
    groups = [
        {"params": decayed, "weight_decay": decay, "decays": True},
        {"params": kept, "weight_decay": 0.0, "decays": False},
    ]
    groups = [group for group in groups if group["params"]]
    lr, momentum = peak_lr(optim, recipe.data.batch_size), at(optim.momentum, 0.0)
    if optim.optimizer == "sgd":
        # torch wants a momentum for nesterov; a schedule may start at 0 (set below).
        sgd = torch.optim.SGD(
            groups, lr=lr, momentum=peak(optim.momentum), nesterov=optim.nesterov, fused=True
        )
        set_momentum(sgd, momentum)
        return sgd
    if optim.optimizer == "adamw":
        betas = (momentum, optim.second_moment)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=optim.epsilon, fused=True)
    for group in groups:
        group["keeps_momentum"] = peak(optim.momentum) > 0
    rmsprop = RMSpropTF(groups, lr=lr, alpha=optim.second_moment, eps=optim.epsilon)
    set_momentum(rmsprop, momentum)
    return rmsprop


def set_weight_decay(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the weight decay of the parameters that decay; groups of a user's own are left alone."""
    for group in optimizer.param_groups:
        if group.get("decays"):
            group["weight_decay"] = value


def set_momentum(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the momentum, or AdamW's first beta; groups of a user's own are left alone."""
    for group in optimizer.param_groups:
        if "decays" not in group:  # a user's own
            continue
        if group.get("keeps_momentum"):  # RMSpropTF makes its buffers in the first step or never
            group["momentum"] = max(value, _TINY)
        elif "betas" in group:
            group["betas"] = (value, group["betas"][1])
        else:
            group["momentum"] = value
