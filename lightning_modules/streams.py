"""Random streams addressed by name and position (design 6: "Seeds are streams").

A number is a pure function of (seed, stream, epoch, position), so it does not depend on batch size,
workers, devices, ranks, resumption, or on which other streams an arm reads. NumPy only: plans and
data loaders use it without torch, which only `seed_torch` loads.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Stream = str | tuple[str | int, ...]

_BLOCK = 4  # 64-bit words per counter value of Philox4x64 (Salmon et al. 2011)


def stream_key(seed: int, *names: str | int) -> int:
    """Return the 128-bit Philox key of a named stream: sha256 over the seed and the typed names."""
    digest = hashlib.sha256()
    for part in (seed, *names):
        if isinstance(part, bool) or not isinstance(part, str | int | np.integer):
            kind = type(part).__name__
            raise TypeError(f"a stream is named by str and int, got {part!r} ({kind})")
        text = f"s{len(part.encode())}:{part};" if isinstance(part, str) else f"i{int(part)};"
        digest.update(text.encode())
    return int.from_bytes(digest.digest()[:16], "little")


def stream_seed(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2**63) for `torch.manual_seed`, one per named stream."""
    return stream_key(seed, "seed", *names) & (2**63 - 1)


def seed_torch(device: torch.device, seed: int) -> None:
    """Seed torch's generators that a computation on `device` draws from, and no others.

    `torch.manual_seed` seeds those of every kind of accelerator too; where there is none, each call
    keeps a stack trace in case one appears: 2 ms a step (measured), and memory that grows.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def redrawn(seed: int, redraw: int) -> int:
    """Return the seed that all streams of a run are drawn from: its own where `redraw` is 0."""
    return stream_seed(seed, "redraw", redraw) if redraw else seed


def draws(
    seed: int, stream: Stream, epoch: int, start: int, count: int, width: int
) -> npt.NDArray[np.float64]:
    """Return uniform numbers in [0, 1), shape (count, width), of positions start ... start+count-1.

    Each position owns ceil(width / 4) counter values, so any slicing of the positions gives the
    same rows. Another `width` is another layout: give each stream one width and keep it.

    Raises:
        ValueError: start or count below 0, or width below 1.
    """
    if start < 0 or count < 0 or width < 1:
        raise ValueError(
            f"draws needs start >= 0, count >= 0 and width >= 1; got {start}, {count}, {width}"
        )
    blocks = -(-width // _BLOCK)
    key = stream_key(seed, "draws", *_parts(stream), epoch)
    words = _words(key, int(start) * blocks, count * blocks * _BLOCK)
    rows = words.reshape(count, blocks * _BLOCK)[:, :width]
    uniforms: npt.NDArray[np.float64] = (rows >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniforms  # from the 53 high bits, as many as a float64 holds


def permutation(seed: int, stream: Stream, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """Return a random order of 0 ... n-1, shape (n,).

    It sorts Philox words instead of calling `Generator.permutation`, whose algorithm NumPy may
    change between versions (NEP 19).
    """
    if n < 0:
        raise ValueError(f"permutation needs n >= 0, got {n}")
    key = stream_key(seed, "permutation", *_parts(stream), epoch)
    return np.argsort(_words(key, 0, n), kind="stable").astype(np.int64, copy=False)


def _parts(stream: Stream) -> tuple[str | int, ...]:
    return (stream,) if isinstance(stream, str) else stream


def _words(key: int, counter: int, count: int) -> npt.NDArray[np.uint64]:
    return np.random.Philox(counter=counter, key=key).random_raw(count)
