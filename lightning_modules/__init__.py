"""The interpreter of recipes: networks, data, training. Names load torch when first used."""

from typing import TYPE_CHECKING, Any

from lightning_modules.execution import RESULTS_VERSION, Execution, Progress, Result

if TYPE_CHECKING:
    from lightning_modules.backbones import build
    from lightning_modules.capabilities import describe
    from lightning_modules.classifier import Classifier
    from lightning_modules.image_data import ImageData
    from lightning_modules.training import fit

__all__ = [
    "RESULTS_VERSION",
    "Classifier",
    "Execution",
    "ImageData",
    "Progress",
    "Result",
    "build",
    "describe",
    "fit",
]

_LAZY = {
    "Classifier": "classifier",
    "ImageData": "image_data",
    "build": "backbones",
    "describe": "capabilities",
    "fit": "training",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch (7 to 10 s on a small machine) only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
