"""Networks from recipes: timm's constructors where they end, then nothing but settable knobs.

`build` makes the network of `recipe.model`; `describe` probes a timm model on the meta device for
what can be switched there, what it has already and what does not apply.
"""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import DropPath, get_attn
from timm.models.resnet import ResNet
from torch import nn

from lightning_modules.initialization import named_initialization
from recipes import Fact, Facts, Model, RecipeError, at, peak

SQUEEZE_EXCITE = ("SEModule", "SqueezeExcite", "SqueezeExcitation", "SEWithNorm")
_PATHS = ("drop_path", "drop_path1", "drop_path2")
_SIZES = (16, 32, 64, 96, 128, 160, 192)  # pixels per side that are tried
_SENTINEL = 0.123456789  # a dropout rate that no constructor uses of itself


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
    with named_initialization(seed) as parameters:
        network = _construct(model, classes)
        parameters.redraw(network)
    if model.bn_momentum is not None:
        for module in _batch_norms(network):
            module.momentum = model.bn_momentum
    for part in network.modules():
        if isinstance(part, DropPath):  # of the backbone's own: the recipe alone decides
            part.drop_prob = 0.0
    if peak(model.drop_path) > 0:
        _add_drop_path(network, model)
    set_drop_path(network, at(model.drop_path, 0.0))
    set_dropout(network, at(model.dropout, 0.0))
    return network


def describe(backbone: str) -> Model:
    """Return a bare `Model` of a timm model with the facts probed from its network.

    Raises:
        RecipeError: timm has no such model; with the nearest names.
    """
    with torch.device("meta"):
        network = _create(backbone, num_classes=1000)
    family = type(network).__name__
    is_resnet = type(network) is ResNet
    rows = [
        ("model.se_ratio", *_squeeze_excite_fact(network, family)),
        ("model.resnet_d", *_resnet_d_fact(network, family)),
        ("model.drop_path", *_drop_path_fact(network, family)),
        ("model.dropout", *_dropout_fact(backbone, family)),
    ]
    if not is_resnet:
        reason = f"timm's {family} has no such argument"
        rows += [
            (path, "cannot", reason)
            for path in ("model.layers", "model.width", "model.zero_init_last")
        ]
    if not _batch_norms(network):
        rows.append(("model.bn_momentum", "cannot", f"{backbone} has no batch norm"))
    size = getattr(network, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
    facts = Facts(
        family=family,
        input_size=int(size),
        stages=_stage_count(_path_blocks(network)),
        batch_norm=bool(_batch_norms(network)),
        leaves=tuple(
            Fact(path=path, status=status, reason=reason)
            for path, status, reason in rows
            if status != "can"
        ),
        fixed_size=not _takes(network, 2 * int(size)),
        smallest_size=_smallest_size(network, int(size)),
    )
    return Model(backbone=backbone, facts=facts)


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
    with torch.device("meta"):
        own = _create(model.backbone)
    network_type = type(own)
    plain_stem = network_type is ResNet and isinstance(own.conv1, nn.Conv2d)
    resnet_leaves = {
        "model.layers": model.layers,
        "model.width": model.width != 1.0,
        "model.se_ratio": model.se_ratio,
        "model.resnet_d": model.resnet_d,
        "model.zero_init_last": model.zero_init_last,
    }
    if network_type is not ResNet:
        asked = [path for path, value in resnet_leaves.items() if value]
        if asked:
            raise RecipeError(
                f"{model.backbone} (timm's {network_type.__name__}) cannot take {', '.join(asked)}"
            )
    else:
        arguments |= _resnet_arguments(model, plain_stem)
    try:
        # Always, so that a rate of the backbone's own can be switched off too.
        network = _create(model.backbone, **arguments, drop_rate=_SENTINEL)
    except _RefusedArgument:
        network = _create(model.backbone, **arguments)
    if plain_stem and model.width != 1.0 and not model.resnet_d:
        _narrow_plain_stem(network, 2 * max(round(32 * model.width), 1))
    network.dropout_modules = _sentinel_modules(network)
    if peak(model.dropout) > 0 and not network.dropout_modules and not _reads_drop_rate(network):
        raise RecipeError(f"{model.backbone} has no dropout before its classifier")
    return network


def _resnet_arguments(model: Model, plain_stem: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {"zero_init_last": model.zero_init_last}
    if model.layers:
        arguments["layers"] = model.layers
    stem_width = max(round(32 * model.width), 1)
    if model.width != 1.0:
        arguments["channels"] = tuple(round(c * model.width) for c in (64, 128, 256, 512))
        arguments["stem_width"] = stem_width
        if plain_stem:
            # timm's plain stem is 64 wide whatever the rest: built narrow as a deep one, see below.
            arguments["stem_type"] = "deep"
    if model.se_ratio:
        # "se" alone has another ratio; ResNet-RS squeezes the block's output width (facts, 5).
        squeeze = partial(get_attn("se"), rd_ratio=model.se_ratio)
        arguments["block_args"] = {"attn_layer": squeeze}
    if model.resnet_d:
        # The four switches that together give timm's resnetrs* names and shapes.
        arguments |= {
            "stem_type": "deep",
            "stem_width": stem_width,
            "avg_down": True,
            "replace_stem_pool": True,
        }
    return arguments


def _narrow_plain_stem(network: nn.Module, width: int) -> None:
    network.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")


def _create(backbone: str, **arguments: Any) -> Any:
    if not timm.is_model(backbone.partition(".")[0]):
        names = timm.list_models()
        close = difflib.get_close_matches(backbone, names, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise RecipeError(f"timm {timm.__version__} has no model {backbone!r}{hint}")
    try:
        return timm.create_model(backbone, pretrained=False, **arguments)
    except TypeError as error:
        raise _RefusedArgument(f"timm's {backbone} cannot be built so: {error}") from None


def _batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


def _path_blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the residual blocks that can drop their branch, in order."""
    return [(name, block) for name, block in _blocks(network) if getattr(block, "has_skip", True)]


def _blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in network.named_modules()
        if any(hasattr(module, path) for path in _PATHS)
    ]


def _stage_count(blocks: list[tuple[str, nn.Module]]) -> int:
    stages = len({name.rpartition(".")[0] for name, _ in blocks})
    return stages if stages > 1 else 0


def _add_drop_path(network: nn.Module, model: Model) -> None:
    blocks = _path_blocks(network)
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


def _sentinel_modules(network: nn.Module) -> tuple[str, ...]:
    return tuple(
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Dropout) and module.p == _SENTINEL
    )


def _reads_drop_rate(network: nn.Module) -> bool:
    # Families that call F.dropout(x, p=self.drop_rate) in forward hold the rate as an attribute.
    return getattr(network, "drop_rate", None) == _SENTINEL


def _squeeze_excite_fact(network: nn.Module, family: str) -> tuple[str, str]:
    found = sum(type(module).__name__ in SQUEEZE_EXCITE for module in network.modules())
    if found:
        return "present", f"timm's {family} here has {found} squeeze-and-excitation modules already"
    if type(network) is not ResNet:
        return "cannot", f"timm's {family} takes no squeeze-and-excitation by its constructor"
    held = {type(block.se).__name__ for _, block in _path_blocks(network) if _attends(block)}
    if held:
        return "cannot", f"its blocks hold {', '.join(sorted(held))} in the place of the gate"
    return "can", ""


def _attends(block: nn.Module) -> bool:
    return getattr(block, "se", None) is not None


def _resnet_d_fact(network: Any, family: str) -> tuple[str, str]:
    if type(network) is not ResNet:
        return "cannot", f"ResNet-D changes the stem and shortcuts of a ResNet; this is {family}"
    deep = isinstance(network.conv1, nn.Sequential)
    strided = not isinstance(network.maxpool, nn.MaxPool2d)
    second: Any = network.layer2
    pooled = any(isinstance(module, nn.AvgPool2d) for module in second.modules())
    if deep and strided and pooled:
        return "present", "its stem, pool and shortcuts are ResNet-D's already"
    return "can", ""


def _takes(network: nn.Module, size: int) -> bool:
    """Return whether the network can be trained on images of `size` pixels per side."""
    try:
        with torch.device("meta"), torch.no_grad():
            network.train()(torch.empty(2, 3, size, size))
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


def _smallest_size(network: nn.Module, usual: int) -> int:
    """Return the first size that the network takes, among a few; 0: already the first."""
    found = next((size for size in _SIZES if size < usual and _takes(network, size)), usual)
    return 0 if found == _SIZES[0] else found


def _drop_path_fact(network: nn.Module, family: str) -> tuple[str, str]:
    if _path_blocks(network):
        return "can", ""
    return "cannot", f"timm's {family} has no residual block that can drop its branch"


def _dropout_fact(backbone: str, family: str) -> tuple[str, str]:
    with torch.device("meta"):
        try:
            network = _create(backbone, drop_rate=_SENTINEL)
        except RecipeError:
            return "cannot", f"timm's {family} takes no dropout rate"
    if _sentinel_modules(network) or _reads_drop_rate(network):
        return "can", ""
    return "cannot", f"timm's {family} has no dropout before its classifier"
