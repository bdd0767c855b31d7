"""The smallest real run, for all tests of the interpreter: `tiny` on a tenth of the digits."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import pytorch_lightning as pl
import timm
import torch
from torch import nn

import recipes
from lightning_modules import Execution, build
from recipes import Model, Recipe, edit

# What these tests count on; the library may tune the rest of `tiny` as it likes.
SMALLEST = {
    "data.resolution": 16,
    "data.stored_size": 8,
    "data.batch_size": 32,
    "data.train_fraction": 0.1,
    "data.minival_fraction": 0.1,
    "optim.epochs": 1,
    "optim.lr": 0.4,
    "optim.warmup_epochs": 0.0,
}


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Three steps of 32 images an epoch, one epoch, no warm-up."""
    return edit(recipes.load("tiny"), SMALLEST)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of decoded digits for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def on_cpu(cache: Path) -> Execution:
    return Execution(device="cpu", threads=1, cache=cache)


@pytest.fixture
def user_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], ModuleType]]:
    """Write a user's module and import it; forgotten again after the test."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written = []

    def write(name: str, text: str) -> ModuleType:
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        written.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


class Watch(pl.Callback):
    """The learning rate of every step, the norm of every clipped gradient, the batches."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.batches: list[torch.Tensor] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch.images)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        gradients = [one.grad for one in pl_module.parameters() if one.grad is not None]
        if gradients:  # still those of this step: they are cleared by the next
            norms = torch.stack([gradient.norm() for gradient in gradients])
            self.norms.append(float(norms.norm()))


def plain_trainer(*callbacks: pl.Callback, **changes: object) -> pl.Trainer:
    """Return a Trainer as anybody would write it."""
    arguments = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "callbacks": list(callbacks),
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**arguments | changes)  # type: ignore[arg-type]


def on_meta(classes: int = 1000, **leaves: object) -> nn.Module:
    with torch.device("meta"):
        return build(Model(**leaves), classes=classes)  # type: ignore[arg-type]


def timm_on_meta(backbone: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(backbone, **arguments)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
