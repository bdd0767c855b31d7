"""Real tiny runs, as few as possible: one finished study, made by the command line, for all tests.

Workers are forked from one server per test process, so torch is imported once for all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablations.cli import main
from lightning_modules import Execution

SETTINGS = ("optim.epochs=1", "optim.warmup_epochs=0")
QUICK = (*(word for text in SETTINGS for word in ("--set", text)), "--track", "none")
REQUEST = ("--base", "tiny", "--add", "ls,se", "--seeds", "2", *QUICK)
ABLATE = (sys.executable, "-c", "import sys; from ablations.cli import main; sys.exit(main())")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command of `ablate` answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A home with one finished study, and what the command that made it said."""

    home: Path
    study: str
    said: Said


def ablate(
    *words: str | Path, folder: Path, variables: dict[str, str] | None = None, timeout: float = 240
) -> Said:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*ABLATE, *map(str, words)],
        cwd=folder,
        env={**without_wandb(), "OMP_NUM_THREADS": "1", **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)


def without_wandb() -> dict[str, str]:
    """The environment less this machine's own settings of W&B."""
    return {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}


@pytest.fixture(scope="session")
def execution(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    """How observations are made here, with one cache for all of them."""
    return Execution(cache=tmp_path_factory.mktemp("cache"), threads=1)


@pytest.fixture(scope="session")
def base_seen(execution: Execution) -> Any:
    """The observation of `tiny`, by the unbroken interpreter."""
    from lightning_modules.probe import observe
    from recipes import load

    return observe(load("tiny"), execution)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Do not write into this home: take `home`, a copy."""
    folder = tmp_path_factory.mktemp("finished")
    home = folder / "a home, più"
    said = ablate(*REQUEST, "--format", "json", "--home", home, folder=folder)
    assert said.code == 0, said.err
    return Finished(home=home, study=said.json["study"], said=said)


@pytest.fixture
def home(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the home with the finished study."""
    return Path(shutil.copytree(finished.home, tmp_path / "home"))


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """The command line in this process, in an empty folder, without personal defaults."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    for variable in os.environ.keys() - without_wandb().keys():
        monkeypatch.delenv(variable)

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return Said(code=code, out=told.out, err=told.err)

    return run


def snapshot(folder: Path, names: Sequence[str] = ("runs", "studies")) -> dict[str, int]:
    """The files below a home and when each was written."""
    files = (path for name in names for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def write_folders(root: Path, train: int = 12, validation: int = 4) -> Path:
    """Write JPEG files of two classes, dark and light, of unequal sizes."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("val", validation)):
        for name, level in (("dark", 60), ("light", 190)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                size = (24 + number % 3, 28, 3)
                pixels = np.clip(random.normal(level, 20, size), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return root
