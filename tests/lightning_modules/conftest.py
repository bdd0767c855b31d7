"""The smallest real run, for all tests of the interpreter: `tiny` on a tenth of the digits."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import recipes
from lightning_modules import Execution
from recipes import Recipe, edit

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
