"""3 x 3 convolutions on maps of one or two pixels, without the pixels that are not there.

A network of stride 32 ends on such maps where images are small: 32 pixels leave one, 64 leave two.
Padding then makes up most of what a convolution multiplies; on a CPU the product of matrices that
is left takes a sixth of the time on one pixel (tests/benchmarks/cpu_step.py). The sums are the same
in another order: outputs and gradients differ by about 1e-6 of their size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_LARGEST = 2  # pixels per side: from one to another there is a tap of a 3 x 3 kernel


class SmallMapConv2d(nn.Conv2d):
    """A 3 x 3 convolution, padded by 1, that multiplies small maps on a CPU as matrices."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, out, h, w) of (N, in, H, W), as `nn.Conv2d` does."""
        height, width = input.shape[-2:]
        other = input.device.type != "cpu" or torch.compiler.is_compiling()
        if other or input.ndim != 4 or max(height, width) > _LARGEST:
            return super().forward(input)
        down, across = self.stride
        pixels = input.permute(0, 2, 3, 1).flatten(1)
        kernel = self.weight.permute(0, 2, 3, 1)  # (out, 3, 3, in)
        made = [
            linear(pixels, kernel[:, top : top + height, left : left + width].flatten(1), self.bias)
            for top in range(1, 1 - height, -down)  # of the taps on the map's pixels
            for left in range(1, 1 - width, -across)
        ]
        maps = torch.stack(made, 1).unflatten(1, (-1, len(range(1, 1 - width, -across))))
        return maps.permute(0, 3, 1, 2)


def speed_small_maps(network: nn.Module) -> None:
    """Let a network's 3 x 3 convolutions be `SmallMapConv2d`; parameters and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = SmallMapConv2d


def _fits(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.padding == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and max(convolution.stride) <= _LARGEST
    )
