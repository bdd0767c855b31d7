"""W&B's client without this machine's account, as a fixture of whoever imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_modules.tracking import leave_wandb


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of this machine's own settings, and none left behind for the next test."""
    for variable in {"WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_SILENT", *os.environ}:
        if variable.startswith("WANDB_"):
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    leave_wandb()  # the client forgets its settings with its process
