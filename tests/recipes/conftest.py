"""One explicit recipe for all tests of `recipes`, independent of the library."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from recipes import Data, Evaluate, Model, Optim, Recipe, edit

# The same examples on every machine, nothing written beside the tests.
settings.register_profile("recipes", database=None, deadline=None, derandomize=True)
settings.load_profile("recipes")

# Everything that a switch may need, so that one more edit gives another legal recipe.
EVERYTHING = {
    "model.drop_path": 0.1,
    "model.drop_path_rule": "stage",
    "augment.randaug_layers": 2,
    "augment.randaug_magnitude": 10.0,
    "augment.randaug_space": "timm",
    "optim.second_moment": 0.9,
    "optim.epsilon": 1e-8,
    "optim.decay_epochs": 2.4,
    "optim.ema_decay": 0.99,
}


@pytest.fixture(scope="session")
def base() -> Recipe:
    return Recipe(
        model=Model(backbone="resnet18"),
        data=Data(
            dataset="digits",
            resolution=16,
            interpolation="bicubic",
            batch_size=32,
            minival_fraction=0.1,
        ),
        optim=Optim(
            epochs=9,
            optimizer="sgd",
            lr=0.1,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="step",
            milestones=(0.5, 0.75),
            decay_factor=0.1,
            warmup_epochs=1,
        ),
        evaluate=Evaluate(split="validation", interpolation="bicubic"),
    )


@pytest.fixture(scope="session")
def rich(base: Recipe) -> Recipe:
    return edit(base, EVERYTHING)


@pytest.fixture
def user_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], ModuleType]]:
    """Write a user's module and import it; forgotten again after the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
