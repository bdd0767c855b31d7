"""What is changed of a timm ResNet when it is built, before any weight is drawn.

Most of it is arguments of timm's constructor; what that cannot say is done to the fresh network.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import create_aa, get_attn
from timm.models.resnet import Bottleneck, downsample_avg, downsample_conv
from torch import nn

from recipes import Model

USUAL_PARTS = "stem+pool+shortcut"  # of ResNet-D, in the code behind the paper's checkpoints
STEM_WIDTH = 32  # of the deep stem's first convolutions; the third is twice as wide (facts, 5)


def resnet_arguments(model: Model, *, plain_stem: bool) -> dict[str, Any]:
    """Return the arguments of timm's constructor that a recipe asks of a ResNet.

    Args:
        model: Of the recipe.
        plain_stem: The backbone's own stem is one 7x7 convolution.
    """
    arguments: dict[str, Any] = {"zero_init_last": model.zero_init_last}
    parts = resnet_d_parts(model)
    if model.layers:
        arguments["layers"] = model.layers
    stem_width = _stem_width(model)
    if model.width != 1.0:
        arguments["channels"] = tuple(round(c * model.width) for c in (64, 128, 256, 512))
        arguments["stem_width"] = stem_width
        if plain_stem:
            # timm's plain stem is 64 wide whatever the rest: built narrow as a deep one, and
            # replaced by `finish_resnet`.
            arguments["stem_type"] = "deep"
    if model.se_ratio:
        # "se" alone has another ratio; ResNet-RS squeezes the block's output width (facts, 5).
        squeeze = partial(get_attn("se"), rd_ratio=model.se_ratio)
        arguments["block_args"] = {"attn_layer": squeeze}
    # With all of the usual parts: timm's resnetrs* names and shapes.
    if "stem" in parts:
        arguments |= {"stem_type": "deep", "stem_width": stem_width}
    if "shortcut" in parts:
        arguments["avg_down"] = True
    if "pool" in parts or "stride" in parts:
        arguments["replace_stem_pool"] = "pool" in parts
    return arguments


def finish_resnet(network: nn.Module, model: Model, *, plain_stem: bool) -> None:
    """Do to a fresh ResNet what its constructor has no argument for."""
    parts = resnet_d_parts(model)
    if plain_stem and model.width != 1.0 and "stem" not in parts:
        network.conv1 = nn.Conv2d(3, 2 * _stem_width(model), 7, stride=2, padding=3, bias=False)
        _initialize(network.conv1)
    if "stride" in parts:
        _move_pooling_stride(network, pooled="shortcut" in parts)


def resnet_d_parts(model: Model) -> frozenset[str]:
    """Return the parts of ResNet-D that a recipe asks for; none where it is off."""
    spelled = model.resnet_d_parts or USUAL_PARTS
    return frozenset(spelled.split("+")) if model.resnet_d else frozenset()


def _stem_width(model: Model) -> int:
    return max(round(STEM_WIDTH * model.width), 1)


def _move_pooling_stride(network: Any, *, pooled: bool) -> None:
    """Drop the max-pool; the first 3x3 of the first stage and its shortcut stride instead.

    So tells the paper's text (facts, trap 5; `skip_stem_max_pool` in tensorflow/tpu).
    """
    network.maxpool = nn.Identity()
    block = network.layer1[0]
    first = block.conv2 if isinstance(block, Bottleneck) else block.conv1
    smoothing = type(network.layer2[0].aa)
    if smoothing is nn.Identity:
        first.stride = (2, 2)
    else:  # this backbone low-passes before each stride
        block.aa = create_aa(smoothing, channels=first.out_channels, stride=2)
    block.stride = 2
    if block.downsample is None:  # basic blocks need no projection where nothing changes
        make = downsample_avg if pooled else downsample_conv
        width = first.in_channels
        block.downsample = make(width, width, 1, stride=2, norm_layer=type(block.bn1))
        _initialize(block.downsample[-2])
    elif isinstance(block.downsample[0], nn.Conv2d):
        block.downsample[0].stride = (2, 2)
    else:  # as timm's downsample_avg has it in the other stages
        block.downsample[0] = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)


def _initialize(convolution: nn.Module) -> None:
    """Draw weights as timm's ResNet does."""
    assert isinstance(convolution, nn.Conv2d)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
