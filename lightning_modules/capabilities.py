"""What can be known of a backbone before it is trained: facts, probed on the meta device.

What can be switched there, what it has already, and what does not apply, each with its reason.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import nn

from lightning_modules.backbones import (
    SENTINEL,
    batch_norms,
    create,
    path_blocks,
    reads_drop_rate,
    sentinel_modules,
)
from lightning_modules.surgery import STEM_WIDTH, USUAL_PARTS
from recipes import Fact, Facts, Model, RecipeError
from recipes.recipe import RESNET_D_PARTS

SQUEEZE_EXCITE = ("SEModule", "SqueezeExcite", "SqueezeExcitation", "SEWithNorm")
_SIZES = (16, 32, 64, 96, 128, 160, 192)  # pixels per side that are tried


def describe(backbone: str) -> Model:
    """Return a bare `Model` of a timm model with the facts probed from its network.

    Raises:
        RecipeError: timm has no such model; with the nearest names.
    """
    with torch.device("meta"):
        network = create(backbone, num_classes=1000)
    family = type(network).__name__
    is_resnet = type(network) is ResNet
    rows = [
        ("model.se_ratio", *_squeeze_excite_fact(network, backbone, family)),
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
    if not batch_norms(network):
        rows.append(("model.bn_momentum", "cannot", f"{backbone} has no batch norm"))
    size = getattr(network, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
    facts = Facts(
        family=family,
        input_size=int(size),
        stages=_stage_count(path_blocks(network)),
        batch_norm=bool(batch_norms(network)),
        leaves=(
            *(
                Fact(path=path, status=status, reason=reason)
                for path, status, reason in rows
                if status != "can"
            ),
            *_parts_facts(network, backbone),
        ),
        fixed_size=not _takes(network, 2 * int(size)),
        smallest_size=_smallest_size(network, int(size)),
        layers=_layers(network),
    )
    return Model(backbone=backbone, facts=facts)


def _stage_count(blocks: list[tuple[str, nn.Module]]) -> int:
    stages = len({name.rpartition(".")[0] for name, _ in blocks})
    return stages if stages > 1 else 0


def _layers(network: Any) -> tuple[int, ...]:
    if type(network) is not ResNet:
        return ()
    return tuple(len(getattr(network, f"layer{stage}")) for stage in (1, 2, 3, 4))


def _squeeze_excite_fact(network: nn.Module, backbone: str, family: str) -> tuple[str, str]:
    found = sum(type(module).__name__ in SQUEEZE_EXCITE for module in network.modules())
    if found:
        return "present", f"timm's {family} here has {found} squeeze-and-excitation modules already"
    if type(network) is not ResNet:
        return "cannot", f"timm's {family} takes no squeeze-and-excitation by its constructor"
    held = {type(block.se).__name__ for _, block in path_blocks(network) if _attends(block)}
    if held:
        return "cannot", f"its blocks hold {', '.join(sorted(held))} in the place of the gate"
    try:
        with torch.device("meta"):
            create(backbone, block_args={"attn_layer": "se"})
    except RecipeError as error:
        return "cannot", f"its blocks take no gate: {error}"
    return "can", ""


def _attends(block: nn.Module) -> bool:
    return getattr(block, "se", None) is not None


def _resnet_d_fact(network: nn.Module, family: str) -> tuple[str, str]:
    if type(network) is not ResNet:
        return "cannot", f"ResNet-D changes the stem and shortcuts of a ResNet; this is {family}"
    if _own_parts(network) == set(USUAL_PARTS.split("+")):
        return "present", "its stem, pool and shortcuts are ResNet-D's already"
    return "can", ""


def _parts_facts(network: nn.Module, backbone: str) -> list[Fact]:
    """Return the choices of ResNet-D's parts that would change nothing, as one row, if any."""
    own = _own_parts(network)
    held = tuple(parts for parts in RESNET_D_PARTS if set(parts.split("+")) <= own)
    if not held:
        return []
    words = ", ".join(part for part in USUAL_PARTS.split("+") if part in own)
    reason = f"{backbone} has ResNet-D's {words} already"
    return [Fact(path="model.resnet_d_parts", status="present", reason=reason, values=held)]


def _own_parts(network: nn.Module) -> set[str]:
    if type(network) is not ResNet:
        return set()
    second: Any = network.layer2
    stem = [part.out_channels for part in network.conv1.modules() if isinstance(part, nn.Conv2d)]
    parts = {
        "stem": stem == [STEM_WIDTH, STEM_WIDTH, 2 * STEM_WIDTH],
        "pool": any(isinstance(part, nn.Conv2d) for part in network.maxpool.modules()),
        "shortcut": isinstance(second[0].downsample[0], nn.AvgPool2d),
    }
    return {part for part, held in parts.items() if held}


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
    if path_blocks(network):
        return "can", ""
    return "cannot", f"timm's {family} has no residual block that can drop its branch"


def _dropout_fact(backbone: str, family: str) -> tuple[str, str]:
    with torch.device("meta"):
        try:
            network = create(backbone, drop_rate=SENTINEL)
        except RecipeError:
            return "cannot", f"timm's {family} takes no dropout rate"
    if sentinel_modules(network) or reads_drop_rate(network):
        return "can", ""
    return "cannot", f"timm's {family} has no dropout before its classifier"
