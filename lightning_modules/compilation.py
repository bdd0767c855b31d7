"""Compiling the repeated blocks of a network, where a run is long enough to win it back.

`torch.compile` of a block that a network has many times costs little more than of one of them; the
whole network would cost a minute or more. Parameters, their names and the certificate, which looks
at the network before, stay as they are; sums may be taken in another order, so results agree within
rounding only. The random numbers of dropout and drop path are the same.

Whether it pays is decided from the length of a run alone, before its first step, so that the same
run is compiled or not wherever it is made again. The constants of the decision are assumed, not
measured on a GPU; on a CPU it did not pay (1.2 x after 30 to 55 s), so `auto` never compiles there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from recipes import Recipe, Schedule

CHOICES = ("never", "auto", "always")
_SECONDS = 60.0  # that compiling takes
_GAIN = 1.2  # of a step
_RATE = 5e13  # FLOP/s of training that is not compiled, on a GPU of a data centre
_KINDS = 64  # of a block, by shapes, switches, and whether it trains; our choice
_TOLD = "moves during training: each value would be compiled anew"


def pays(choice: str, device: torch.device, flops: float) -> bool:
    """Return whether to compile a run.

    Args:
        choice: one of `CHOICES`.
        device: that trains.
        flops: of the whole training: three times the forward pass, over all steps.

    Raises:
        ValueError: an unknown choice.
    """
    if choice not in CHOICES:
        raise ValueError(f"compile = {choice!r} is not one of {', '.join(CHOICES)}")
    if choice != "auto":
        return choice == "always"
    won = flops / _RATE * (1 - 1 / _GAIN)
    return device.type == "cuda" and won > _SECONDS


def hindrance(recipe: Recipe) -> str:
    """Return why a recipe's network is better not compiled, or nothing."""
    for path in ("drop_path", "dropout"):
        if isinstance(getattr(recipe.model, path), Schedule):
            return f"model.{path} {_TOLD}"
    return ""


def repeated_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return, by name, the parts of `Sequential`s of whose type the network has several.

    Of blocks within blocks, the outer ones.
    """
    parts: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.Sequential) or _inside(name, parts):
            continue
        for key, child in module.named_children():
            if not isinstance(child, nn.Sequential) and any(True for _ in child.children()):
                parts[f"{name}.{key}" if name else key] = child
    kinds = Counter(type(part) for part in parts.values())
    return {name: part for name, part in parts.items() if kinds[type(part)] > 1}


def _inside(name: str, parts: Iterable[str]) -> bool:
    return any(name == outer or name.startswith(f"{outer}.") for outer in parts)


def compile_blocks(network: nn.Module) -> int:
    """Let the repeated blocks be compiled when they are first called; return how many.

    A block that cannot be compiled goes on as it is, with a warning in the log.
    """
    from torch import _dynamo, _inductor

    # What earlier runs of this process compiled counts against the limit, beyond which blocks
    # silently go on as they are; ResNet-50 alone has 8 kinds, each once more for evaluation.
    torch.compiler.reset()
    _dynamo.config.recompile_limit = _KINDS
    _inductor.config.fallback_random = True  # the streams of a run, not the compiler's own
    _dynamo.config.suppress_errors = True
    blocks = repeated_blocks(network)
    for block in blocks.values():
        block.compile(dynamic=False)
    return len(blocks)
