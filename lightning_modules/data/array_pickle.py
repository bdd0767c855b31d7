"""Read the pickles of CIFAR without trusting them: an array or plain values, nothing else.

A pickle names the functions that build its objects. Here every name that an array needs is
answered by a class of this file that only collects; any other name is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.errors import DataError


def read_pickle(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle: text, numbers, lists, and uint8 arrays."""
    try:
        with path.open("rb") as file:
            value = _PlainUnpickler(file, encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle raises a dozen types
        raise DataError(
            f"{path} is not a readable pickle ({error}). Unpack the archive again."
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__}; expected a dictionary.")
    named = {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in value.items()}
    return {k: v.array(path) if isinstance(v, _Array) else v for k, v in named.items()}


class _Type:
    """Stands for `numpy.dtype`."""

    def __init__(self, text: object = "", *_: object) -> None:
        self.text = text

    def __setstate__(self, state: object) -> None:
        """Take no notice: byte order and fields do not matter to uint8."""


class _Array:
    """Stands for `numpy.ndarray` and `_reconstruct`: keeps shape, type and bytes."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def array(self, path: Path) -> NDArray[np.uint8]:
        """Return the array itself; raise where it is not made of uint8."""
        try:
            _, shape, kind, fortran, data = self.state
            data = data.encode("latin1") if isinstance(data, str) else bytes(data)
            if kind.text not in ("u1", "|u1", "uint8"):
                raise ValueError(f"type {kind.text!r}")
            flat = np.frombuffer(data, dtype=np.uint8)
            return flat.reshape(tuple(shape), order="F" if fortran else "C")
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"{path} holds an array that is not of uint8 ({error}).") from error


class _Buffer(_Array):
    """Stands for numpy's `_frombuffer`, which pickle protocol 5 uses."""

    def __init__(self, data: object, kind: object, shape: object, order: object = "C") -> None:
        self.state = (1, shape, kind, order == "F", data)


class _Latin1:
    """Stands for `_codecs.encode`: how old pickle protocols write bytes."""

    def __new__(cls, text: str, encoding: str = "latin1") -> bytes:  # type: ignore[misc]
        if encoding != "latin1":
            raise DataError(f"asks for the encoding {encoding!r}; expected latin1.")
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"asks to load {module}.{name}, which is no part of an image array: refused, as "
                "it could run any code. Get the file from its publisher again."
            )
        return _ALLOWED[module, name]
