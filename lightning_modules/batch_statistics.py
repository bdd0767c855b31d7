"""Of how many images a batch norm takes its statistics in training: `optim.bn_batch`.

Where a batch is divided over devices, each normalises its own share, which changes results; so the
number of images is part of a recipe, and means the same on any number of devices. Shares as large
as that number cost nothing; larger ones are normalised part by part. 0 is the whole batch, whose
sums the devices then exchange. (torch's SyncBatchNorm does so on GPUs only, so it cannot be tested
on a CPU: this one is the same arithmetic on both.)

Running statistics take the mean over all parts of a batch, on whichever device they were.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from recipes import RecipeError


def take_statistics_of(network: nn.Module, images: int, devices: int = 1) -> None:
    """Let the batch norms of a network normalise so many images at once; names and state stay.

    Args:
        network: whose batch norms are changed in place.
        images: per statistic; 0: the whole batch.
        devices: over which every batch is divided evenly.

    Raises:
        RecipeError: a batch norm of a type that is not known here.
    """
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        if not isinstance(module, _Divided):
            if not images and devices == 1:
                continue
            own = _TYPES.get(type(module))
            if own is None:
                raise RecipeError(
                    f"optim.bn_batch = {images} on {devices} devices: {name} is a batch norm of"
                    f" type {type(module).__name__}, which knows only the batch of one device"
                )
            module.__class__ = own
        module.images, module.devices = images, devices  # type: ignore[assignment]


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Give the batch norms of all devices the mean of their running statistics."""
    statistics = [
        buffer
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        for buffer in module.buffers(recurse=False)
        if buffer.dtype.is_floating_point
    ]
    if not statistics:
        return
    flat = torch.cat([one.flatten() for one in statistics])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    parts = flat.split([one.numel() for one in statistics])
    shaped = [part.view_as(one) for part, one in zip(parts, statistics, strict=True)]
    torch._foreach_copy_(statistics, shaped)


class _Divided(_BatchNorm):
    """A batch norm whose statistics in training are of a part of a batch, or of all devices'."""

    images: int
    devices: int

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised images, with whatever the type adds."""
        parts = 0 < self.images < len(input)
        if not self.training or not (parts or (not self.images and self.devices > 1)):
            made: Tensor = super().forward(input)
            return made
        found = _by_parts(self, input) if parts else _over_devices(self, input, self.devices)
        return self._finish(*found)

    def _finish(self, images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        if self.running_mean is not None and self.running_var is not None:
            # Rounded as the layer itself and `Averaged` round: a variance's sum in float64.
            share = float(torch.tensor(self._share()))
            self.running_mean.mul_(1.0 - share).add_(mean * share)
            kept = self.running_var.mul_(1.0 - share)
            kept.copy_(kept.double() + variance.double() * share)
        return images

    def _share(self) -> float:
        """Return the weight of a new batch, as torch counts it."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return self.momentum if self.momentum is not None else 1.0 / int(self.num_batches_tracked)


class _Divided1d(_Divided, nn.BatchNorm1d):
    pass


class _Divided2d(_Divided, nn.BatchNorm2d):
    pass


class _Divided3d(_Divided, nn.BatchNorm3d):
    pass


class _DividedAct2d(_Divided, BatchNormAct2d):
    def _finish(self, images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        made: Tensor = self.act(self.drop(super()._finish(images, mean, variance)))
        return made


_TYPES: dict[type, type[_Divided]] = {
    nn.BatchNorm1d: _Divided1d,
    nn.BatchNorm2d: _Divided2d,
    nn.BatchNorm3d: _Divided3d,
    BatchNormAct2d: _DividedAct2d,
}


def _by_parts(norm: _Divided, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return images normalised part by part, and the means of the parts' statistics."""
    made, means, variances = [], [], []
    for part in images.split(norm.images):
        mean = torch.zeros(norm.num_features, device=images.device)
        variance = torch.zeros_like(mean)  # with momentum 1 they become the part's own
        made.append(batch_norm(part, mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps))
        means.append(mean)
        variances.append(variance)
    return torch.cat(made), torch.stack(means).mean(0), torch.stack(variances).mean(0)


def _over_devices(norm: _Divided, images: Tensor, devices: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return images normalised by the statistics of all devices' images, and these statistics."""
    wide = images.float()
    others = [dimension for dimension in range(images.ndim) if dimension != 1]
    count = devices * images.numel() // images.shape[1]
    mean = _Summed.apply(wide.mean(others, keepdim=True)) / devices
    centred = wide - mean
    variance = _Summed.apply(centred.square().mean(others, keepdim=True)) / devices
    made = centred * torch.rsqrt(variance + norm.eps)
    if norm.affine:
        made = made * norm.weight.view_as(mean[:1]) + norm.bias.view_as(mean[:1])
    unbiased = variance.detach().flatten() * (count / max(count - 1, 1))
    return made.to(images.dtype), mean.detach().flatten(), unbiased


class _Summed(torch.autograd.Function):
    """The sum of a tensor over all devices; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, mine: Tensor) -> Tensor:
        total = mine.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total
