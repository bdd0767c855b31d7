"""Initial weights drawn from one random stream per parameter name.

timm's initialisers draw from one generator in the order of construction, so a network with one
more module starts from other weights everywhere. Here the random fills of construction are
recorded per storage, and replayed for every parameter from a stream of its own: adding
squeeze-and-excitation leaves the first value of every convolution as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.streams import stream_seed

_RANDOM = frozenset(
    {torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default}  # all of torch.nn.init
)
_CONSTANT = frozenset(
    {
        torch.ops.aten.fill_.Scalar,
        torch.ops.aten.zero_.default,
    }
)


class _Recorder(TorchDispatchMode):
    """Keeps, per storage, the in-place operations since its last whole random fill."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._fills: dict[int, list[tuple[Any, tuple[Any, ...]]]] = {}
        self._held: list[Any] = []  # storages, so that no address is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
            self._note(func, args[0], args[1:])
        return result

    def _note(self, func: Any, target: torch.Tensor, arguments: tuple[Any, ...]) -> None:
        storage = target.untyped_storage()
        key = storage._cdata
        whole = target.numel() * target.element_size() == storage.nbytes()
        if func in _RANDOM and whole:
            if key not in self._fills:
                self._held.append(storage)
            self._fills[key] = [(func, arguments)]
        elif key in self._fills:
            plain = not any(isinstance(argument, torch.Tensor) for argument in arguments)
            if func in _CONSTANT or not whole or not plain:
                del self._fills[key]
            else:
                self._fills[key].append((func, arguments))

    def redraw(self, network: nn.Module) -> None:
        """Draw every recorded parameter again, from the stream of its name."""
        fills, self._fills = self._fills, {}
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                generator = torch.Generator().manual_seed(
                    stream_seed(self._seed, "initialization", name)
                )
                for func, arguments in fills.get(parameter.untyped_storage()._cdata, ()):
                    if func in _RANDOM:
                        func(parameter.data, *arguments, generator=generator)
                    else:
                        func(parameter.data, *arguments)


@contextmanager
def named_initialization(seed: int) -> Iterator[_Recorder]:
    """Record the initialisation of a network built inside; call `redraw` on it before leaving.

    What is not filled in place as a whole (a few position embeddings) is drawn from the stream
    of the seed instead, in the order of construction. The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "initialization"))
        recorder = _Recorder(seed)
        with recorder:
            yield recorder
