"""What a built network consists of, as plain values: modules, parameters, first values, parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from timm.layers import DropPath
from timm.models.resnet import ResNet
from torch import Tensor, nn

from lightning_modules.capabilities import SQUEEZE_EXCITE
from lightning_modules.optim import NORMS

_VOICE = 0.2  # at 1, the evaluation of ResNet-200 overflows once its statistics lag behind


def modules(network: nn.Module) -> dict[str, str]:
    """Return each module's type and settings by name, without momenta and the rates of knobs."""
    turned = {
        id(part.get_submodule(name))
        for part in network.modules()
        for name in getattr(part, "dropout_modules", ())
    }
    return {
        name: type(module).__name__ if id(module) in turned else _words(module)
        for name, module in network.named_modules()
        if name
    }


def shapes(network: nn.Module) -> dict[str, str]:
    """Return type and shape of every parameter and buffer by name."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for name, tensor in _state(network)
    }


def digests(network: nn.Module) -> dict[str, str]:
    """Return a digest of every parameter's and buffer's values by name."""
    return {name: digest([tensor]) for name, tensor in _state(network)}


def statistics(network: nn.Module) -> dict[str, float | None]:
    """Return the momentum of every batch norm's running statistics by name."""
    return {
        name: module.momentum
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }


def gates(network: nn.Module) -> list[list[int]]:
    """Return [squeezed width, width] of every squeeze-and-excitation module, in order."""
    found = []
    for module in network.modules():
        if type(module).__name__ in SQUEEZE_EXCITE:
            first = next(
                (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)), None
            )
            if first is not None:
                squeezed, width = first.weight.shape[:2]
                found.append([int(squeezed), int(width)])
    return found


def dropout_sites(network: nn.Module) -> int:
    """Return in how many places the backbone drops out what its classifier gets: VGG in two."""
    held = [getattr(part, "dropout_modules", ()) for part in network.modules()]
    return max((len(names) for names in held), default=0) or 1


def residual_blocks(network: nn.Module) -> int | None:
    """Return how many residual blocks a timm ResNet has; None for other families."""
    resnet = _resnet(network)
    if resnet is None:
        return None
    return sum(len(getattr(resnet, name)) for name in _stages(resnet))


def resnet_parts(network: nn.Module) -> dict[str, int] | None:
    """Return what ResNet-D changes in a timm ResNet, counted; None for other families.

    `stem`: convolutions before the first stage, less the one in the place of the pool; `max_pools`;
    `pool_convolutions`: strided convolutions in the place of the max-pool; `first_stride`: of the
    first stage; `pooled_shortcuts`: average pools before shortcuts.
    """
    resnet: Any = _resnet(network)
    if resnet is None:
        return None
    pools = [part for part in resnet.maxpool.modules() if isinstance(part, nn.Conv2d)]
    first = [part for part in resnet.layer1[0].modules() if isinstance(part, nn.Conv2d)]
    shortcuts = [
        part
        for name in _stages(resnet)
        for part_name, part in getattr(resnet, name).named_modules()
        if ".downsample." in f".{part_name}." and isinstance(part, nn.AvgPool2d)
    ]
    return {
        "stem": sum(isinstance(part, nn.Conv2d) for part in resnet.conv1.modules()),
        "max_pools": sum(isinstance(part, nn.MaxPool2d) for part in resnet.modules()),
        "pool_convolutions": len(pools),
        "first_stride": max(part.stride[0] for part in first),
        "pooled_shortcuts": len(shortcuts),
    }


def wake(network: nn.Module) -> None:
    """Give branches that begin silent a voice, in place, so that what is in them can be heard.

    Zeroed last norms (`zero_init_last`) and small layer scales hide whatever stands in a residual
    branch from every output; so does a classifier of zeros.
    """
    generator = torch.Generator().manual_seed(0)
    norms = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, NORMS)
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight"
    }
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            silent = not parameter.numel() or float(parameter.abs().max()) < 1e-2
            gain = id(parameter) in norms or "gamma" in name or "gain" in name
            if silent and gain:
                parameter.fill_(_VOICE)
            elif silent and parameter.ndim > 1 and not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))


def digest(tensors: Iterable[Tensor]) -> str:
    """Return 16 hexadecimal digits of the tensors' values, the same for every memory layout."""
    found = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        plain = tensor.detach().cpu().reshape(-1).contiguous()
        found.update(plain.view(torch.uint8).numpy().data)
    return found.hexdigest()


def optimizer_words(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an optimiser's class, constants and members by group; moving values are left out."""
    # Of the optimiser's own: what nobody reads changes nothing.
    known = {*optimizer.defaults, "decays"} - {"lr", "weight_decay", "momentum", "betas"}
    groups = []
    for group in optimizer.param_groups:
        constants = {
            key: value
            for key, value in group.items()
            if key in known and isinstance(value, int | float | str | bool | None)
        }
        if "betas" in group:
            constants["second_beta"] = group["betas"][1]
        members = sorted(names.get(id(one), "?") for one in group["params"])
        groups.append({**constants, "parameters": members})
    return {"class": type(optimizer).__name__, "groups": groups}


def _state(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _words(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, DropPath) or next(module.children(), None) is not None:
        return name
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return f"{name}({module.num_features})"
    return f"{name}({module.extra_repr()})"


def _resnet(network: nn.Module) -> ResNet | None:
    """Return timm's ResNet, also where a user's hook has wrapped it."""
    return next((part for part in network.modules() if type(part) is ResNet), None)


def _stages(resnet: nn.Module) -> list[str]:
    return [name for name, _ in resnet.named_children() if name.startswith("layer")]
