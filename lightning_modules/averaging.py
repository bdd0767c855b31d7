"""The exponential moving average of weights and statistics, as tensorflow/tpu takes it.

Lightning's and timm's averages do not fit: this one is warmed up by (1 + k) / (10 + k), averages
batch-norm statistics of single batches (BN momentum 1 in torch's sense) and leaves the raw
network, raw statistics included, bit for bit what it would be without an average. Both can be
evaluated at any time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Averaged:
    """The running average of one network, updated after every optimiser step.

    With `statistics_momentum` m, the network's batch norms hold the statistics of the last batch
    (their momentum is 1), and the raw running statistics are kept here: `old * (1 - m) + m *
    batch`, bit-equal to what the layer itself would do with momentum m on a CPU in float32.

    Without `average` only those statistics are kept: what another recipe needs to be read off the
    same training.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        raw_momenta: dict[str, float] | None = None,
        average: bool = True,
    ) -> None:
        self._network = network
        kept = dict(network.named_parameters()) if average else {}
        self._names = list(kept)
        self._sources = [parameter.detach() for parameter in kept.values()]
        floating = [
            (name, buffer)
            for name, buffer in network.named_buffers()
            if average and buffer.dtype.is_floating_point
        ]
        self._names += [name for name, _ in floating]
        self._sources += [buffer for _, buffer in floating]
        self._average = [source.clone() for source in self._sources]
        self._momenta = raw_momenta or {}
        buffers = dict(network.named_buffers())
        self._raw_names = list(self._momenta)
        self._raw = [buffers[name].clone() for name in self._raw_names]
        self._batch = [buffers[name] for name in self._raw_names]
        # As torch's CPU kernel rounds: the momentum to float32, a mean's sum in float32, and a
        # variance's in float64.
        momenta = [float(torch.tensor(self._momenta[name])) for name in self._raw_names]
        self._taken = momenta
        self._kept = [1.0 - momentum for momentum in momenta]
        self._wide = [
            buffer.clone() if name.endswith("mean") else buffer.double()
            for name, buffer in zip(self._raw_names, self._raw, strict=True)
        ]
        self.updates = 0

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move the average towards the network: `average = decay * average + (1 - decay) * new`."""
        self.updates += 1
        torch._foreach_lerp_(self._average, self._sources, 1.0 - decay)

    @torch.no_grad()
    def follow_statistics(self) -> None:
        """Take the last forward pass of training into the raw running statistics."""
        if not self._raw:
            return
        torch._foreach_mul_(self._raw, self._kept)
        torch._foreach_copy_(self._wide, self._batch)
        torch._foreach_mul_(self._wide, self._taken)
        torch._foreach_add_(self._wide, self._raw)
        torch._foreach_copy_(self._raw, self._wide)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the averaged parameters and buffers by name (not copied)."""
        return dict(zip(self._names, self._average, strict=True))

    def raw_statistics(self) -> dict[str, torch.Tensor]:
        """Return the raw running statistics by name; empty where the network holds them itself."""
        return dict(zip(self._raw_names, self._raw, strict=True))

    def save(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"average": self.state(), "raw": self.raw_statistics(), "updates": self.updates}

    @torch.no_grad()
    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` returned, in place."""
        for name, tensor in self.state().items():
            tensor.copy_(saved["average"][name])
        for name, tensor in self.raw_statistics().items():
            tensor.copy_(saved["raw"][name])
        self.updates = saved["updates"]


def batch_norm_momenta(network: nn.Module) -> dict[str, float]:
    """Return the momentum behind every running mean and variance, by buffer name."""
    found: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            momentum = 0.1 if module.momentum is None else module.momentum
            prefix = f"{name}." if name else ""
            found |= {f"{prefix}running_mean": momentum, f"{prefix}running_var": momentum}
    return found
