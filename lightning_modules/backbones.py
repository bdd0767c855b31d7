"""Networks from recipes: timm's constructors where they end, then nothing but settable knobs.

`build` makes the network of `recipe.model`; `surgery` holds what is particular to ResNets, `probe`
what can be known of a backbone beforehand.
"""

from __future__ import annotations

import difflib
import functools
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models.resnet import ResNet
from torch import nn

from lightning_modules.initialization import built_by_name
from lightning_modules.small_maps import speed_small_maps
from lightning_modules.surgery import finish_resnet, resnet_arguments
from recipes import Model, RecipeError, at, peak

_PATHS = ("drop_path", "drop_path1", "drop_path2")
SENTINEL = 0.123456789  # a dropout rate that no constructor uses of itself


class _RefusedArgument(RecipeError):
    """A constructor of timm does not know an argument."""


def build(model: Model, *, classes: int = 1000, seed: int = 0) -> nn.Module:
    """Return the network of a recipe, for float images (N, 3, H, W) to logits (N, classes).

    Parameters are drawn from one stream per parameter name, so that networks which share a
    parameter's name, shape and initialiser share its first value. Drop-path and dropout stand at
    their values at the start of training; `set_drop_path` and `set_dropout` move them.

    Raises:
        RecipeError: the model is unknown, or cannot take what the recipe asks of it.
    """
    network = built_by_name(lambda: _construct(model, classes), seed)
    speed_small_maps(network)
    if model.bn_momentum is not None:
        for module in batch_norms(network):
            module.momentum = model.bn_momentum
    for part in network.modules():
        if isinstance(part, DropPath):  # of the backbone's own: the recipe alone decides
            part.drop_prob = 0.0
    if peak(model.drop_path) > 0:
        _add_drop_path(network, model)
    set_drop_path(network, at(model.drop_path, 0.0))
    set_dropout(network, at(model.dropout, 0.0))
    return network


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Set stochastic depth to `rate` at the last block, the others by the recipe's rule."""
    for module in network.modules():
        share: Any = getattr(module, "share", None)
        if isinstance(module, DropPath) and share is not None:  # others are a hook's
            module.drop_prob = rate * share


def set_dropout(network: nn.Module, rate: float) -> None:
    """Set the dropout before the classifier, wherever this family keeps it."""
    part: Any
    for part in network.modules():  # a user's hook may have wrapped what `build` made
        if hasattr(part, "dropout_modules"):
            for name in part.dropout_modules:
                part.get_submodule(name).p = rate
            if hasattr(part, "drop_rate"):
                part.drop_rate = rate


def block_rates(network: nn.Module) -> dict[str, float]:
    """Return the drop-path probability now set, by module name, in the order of the blocks."""
    return {
        name: module.drop_prob
        for name, module in network.named_modules()
        if isinstance(module, DropPath) and hasattr(module, "share")
    }


def _construct(model: Model, classes: int) -> nn.Module:
    arguments: dict[str, Any] = {"num_classes": classes}
    family, plain_stem = _family(model.backbone)
    is_resnet = family is ResNet
    resnet_leaves = {
        "model.layers": model.layers,
        "model.width": model.width != 1.0,
        "model.se_ratio": model.se_ratio,
        "model.resnet_d": model.resnet_d,
        "model.zero_init_last": model.zero_init_last,
    }
    if is_resnet:
        arguments |= resnet_arguments(model, plain_stem=plain_stem)
    else:
        asked = [path for path, value in resnet_leaves.items() if value]
        if asked:
            raise RecipeError(
                f"{model.backbone} (timm's {family.__name__}) cannot take {', '.join(asked)}"
            )
    try:
        # Always, so that a rate of the backbone's own can be switched off too.
        network = create(model.backbone, **arguments, drop_rate=SENTINEL)
    except _RefusedArgument:
        network = create(model.backbone, **arguments)
    if is_resnet:
        finish_resnet(network, model, plain_stem=plain_stem)
    network.dropout_modules = sentinel_modules(network)
    if peak(model.dropout) > 0 and not network.dropout_modules and not reads_drop_rate(network):
        raise RecipeError(f"{model.backbone} has no dropout before its classifier")
    return network


@functools.lru_cache(maxsize=256)
def _family(backbone: str) -> tuple[type, bool]:
    """Return timm's class of a backbone, and whether its stem is the plain one of a ResNet.

    Asked once per process: building on the meta device takes as long as a small network itself.
    """
    with torch.device("meta"):
        own = create(backbone)
    return type(own), type(own) is ResNet and isinstance(own.conv1, nn.Conv2d)


def create(backbone: str, **arguments: Any) -> Any:
    """Return a timm model without its weights, built with these arguments.

    Raises:
        RecipeError: timm has no such model, or its constructor no such argument.
    """
    if not timm.is_model(backbone.partition(".")[0]):
        names = timm.list_models()
        close = difflib.get_close_matches(backbone, names, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise RecipeError(f"timm {timm.__version__} has no model {backbone!r}{hint}")
    try:
        return timm.create_model(backbone, pretrained=False, **arguments)
    except (AssertionError, TypeError) as error:  # ResNeSt asserts that it is given no gate
        raise _RefusedArgument(f"timm's {backbone} cannot be built so: {error}") from None


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the batch norms of a network."""
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


def path_blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the residual blocks that can drop their branch, in order."""
    return [(name, block) for name, block in _blocks(network) if getattr(block, "has_skip", True)]


def _blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in network.named_modules()
        if any(hasattr(module, path) for path in _PATHS)
    ]


def _add_drop_path(network: nn.Module, model: Model) -> None:
    blocks = path_blocks(network)
    if not blocks:
        raise RecipeError(f"{model.backbone} has no residual block that can drop its branch")
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in blocks))
    if model.drop_path_rule == "stage" and len(stages) == 1:
        raise RecipeError(
            f"{model.backbone} has no stages: model.drop_path_rule = stage cannot apply; use linear"
        )
    positions = {name: position for position, (name, _) in enumerate(_blocks(network))}
    for name, block in blocks:
        if model.drop_path_rule == "stage":
            # tensorflow/tpu resnet_model: rate * i / 5 for stages i = 2..5.
            stage = stages.index(name.rpartition(".")[0])
            share = (stage + 2) / (len(stages) + 1)
        else:
            # As timm's constructors: EfficientNet's counts blocks without a skip, and divides by
            # the number of blocks; the others divide by one less.
            last = len(positions) - (not hasattr(block, "has_skip"))
            share = positions[name] / max(last, 1)
        for path in _PATHS:
            if hasattr(block, path) and share > 0:
                drop = DropPath(0.0)
                drop.share = share  # type: ignore[assignment]
                setattr(block, path, drop)


def sentinel_modules(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the dropouts that a network was built with at the rate `SENTINEL`."""
    return tuple(
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Dropout) and module.p == SENTINEL
    )


def reads_drop_rate(network: nn.Module) -> bool:
    """Return whether a network holds its rate as an attribute, and calls F.dropout with it."""
    return getattr(network, "drop_rate", None) == SENTINEL
