"""Convolutions on small maps are torch's own, up to the order of their sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_modules import build
from lightning_modules.small_maps import SmallMapConv2d, speed_small_maps
from recipes import edit

TOLERANCE = 4e-6  # of the largest value, as the module says


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (5, 5)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_conv2d(shape, stride, bias):
    torch.manual_seed(0)
    own = nn.Conv2d(24, 40, 3, stride, padding=1, bias=bias)
    network = nn.Sequential(nn.Conv2d(24, 40, 3, stride, padding=1, bias=bias))
    network.load_state_dict({f"0.{name}": value for name, value in own.state_dict().items()})
    speed_small_maps(network)
    assert type(network[0]) is SmallMapConv2d
    images = torch.randn(6, 24, *shape).contiguous(memory_format=torch.channels_last)
    seen = []
    for module in (own, network[0]):
        given = images.clone().requires_grad_()
        made = module(given)
        made.backward(torch.linspace(-1, 1, made.numel()).view_as(made))
        gradients = [parameter.grad for parameter in module.parameters()]
        seen.append([made.detach(), given.grad, *gradients])
    for expected, found in zip(*seen, strict=True):
        close(found, expected)
    if max(shape) > 2:
        assert all(torch.equal(*pair) for pair in zip(*seen, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, stride=3),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(8, 8, 1, padding=1),
    ],
)
def test_other_convolutions_stay(other):
    speed_small_maps(other)
    assert type(other) is nn.Conv2d


def test_a_built_network_has_them_under_its_own_names(tiny):
    network = build(edit(tiny, {"model.se_ratio": 0.25}).model, classes=10)
    assert sum(isinstance(module, SmallMapConv2d) for module in network.modules()) > 4
    images = torch.randn(4, 3, 32, 32)
    plain = build(edit(tiny, {"model.se_ratio": 0.25}).model, classes=10)
    for module in plain.modules():
        if isinstance(module, SmallMapConv2d):
            module.__class__ = nn.Conv2d
    plain.load_state_dict(network.state_dict())
    close(network(images), plain(images))
