"""Initial weights drawn from one random stream per parameter name.

timm's initialisers draw from one generator in the order of construction, so a network with one
more module starts from other weights everywhere. Here the random fills of construction are
recorded per storage, and replayed for every parameter from a stream of its own: adding
squeeze-and-excitation leaves the first value of every convolution as it was.

What is replayed need not be drawn at construction, which is most of its time for a large network.
So it is left out at first; a network for which that could make a difference is built once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_modules.streams import stream_seed

T = TypeVar("T", bound=nn.Module)
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
    """Keeps, per storage, the in-place operations since its last whole random fill.

    With `skip`, these fills are kept without being made, as long as nobody reads what they would
    have drawn and nothing else is random; `sound` says whether that was so.
    """

    def __init__(self, seed: int, *, skip: bool) -> None:
        super().__init__()
        self.sound = True
        self._seed, self._skip = seed, skip
        self._fills: dict[int, list[tuple[Any, tuple[Any, ...]]]] = {}
        self._held: list[Any] = []  # storages, so that no address is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        mutable = func._schema.is_mutable and args and isinstance(args[0], torch.Tensor)
        if self._skip:
            if func in _RANDOM and mutable and _is_whole(args[0]) and not kwargs:
                self._note(func, args[0], args[1:])
                return args[0]
            self._check(func, args[1:] if mutable else args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if mutable:
            self._note(func, args[0], args[1:])
        return result

    def _check(self, func: Any, read: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note whether an operation reads what has not been drawn, or draws on its own."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.sound = False
        if func.is_view or func is torch.ops.aten.detach.default:
            return
        for one in tree_leaves((read, kwargs)):
            if isinstance(one, torch.Tensor) and one.untyped_storage()._cdata in self._fills:
                self.sound = False

    def _note(self, func: Any, target: torch.Tensor, arguments: tuple[Any, ...]) -> None:
        storage = target.untyped_storage()
        key = storage._cdata
        whole = _is_whole(target)
        if func in _RANDOM and whole:
            if key not in self._fills:
                self._held.append(storage)
            self._fills[key] = [(func, arguments)]
        elif key in self._fills:
            plain = not any(isinstance(argument, torch.Tensor) for argument in arguments)
            if func in _CONSTANT or not whole or not plain:
                del self._fills[key]
                if not (func in _CONSTANT and whole):
                    self.sound = False
            else:
                self._fills[key].append((func, arguments))

    def redraw(self, network: nn.Module) -> None:
        """Draw every recorded parameter again, from the stream of its name."""
        fills, self._fills = self._fills, {}
        if any(buffer.untyped_storage()._cdata in fills for buffer in network.buffers()):
            self.sound = False
        if self._skip and not self.sound:
            return  # it is built once more
        self._skip = False
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


def _is_whole(target: torch.Tensor) -> bool:
    return target.numel() * target.element_size() == target.untyped_storage().nbytes()


def built_by_name(construct: Callable[[], T], seed: int, *, skip: bool = True) -> T:
    """Return what `construct` builds, its parameters drawn from one stream per name.

    Args:
        construct: called once more where the first network may depend on what was left out.
        seed: of the run.
        skip: leave out what is drawn again; the values are the same.
    """
    with named_initialization(seed, skip=skip) as recorder:
        network = construct()
        recorder.redraw(network)
    return network if recorder.sound or not skip else built_by_name(construct, seed, skip=False)


@contextmanager
def named_initialization(seed: int, *, skip: bool = False) -> Iterator[_Recorder]:
    """Record the initialisation of a network built inside; call `redraw` on it before leaving.

    What is not filled in place as a whole (a few position embeddings) is drawn from the stream
    of the seed instead, in the order of construction. The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "initialization"))
        recorder = _Recorder(seed, skip=skip)
        with recorder:
            yield recorder
