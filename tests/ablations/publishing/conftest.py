"""A study that nobody trained, W&B's real client, and a server that records what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ablations.ledger import Ledger
from ablations.plans import Plan, Run
from ablations.publishing.publisher import Publisher
from ablations.publishing.targets import Target, targets_of
from lightning_modules.tracking import Patience, leave_wandb
from tests.ablations.made_up import frozen
from tests.no_account import account
from tests.stub_wandb import StubServer

__all__ = ["account"]  # a fixture
EPOCHS = 3


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubServer]:
    """A server at which this process is logged in."""
    with StubServer() as made:
        for variable, value in made.environment(tmp_path).items():
            monkeypatch.setenv(variable, value)
        yield made
        leave_wandb()


@dataclass(frozen=True)
class Study:
    """A frozen plan whose runs a test begins, goes on with and ends."""

    plan: Plan
    ledger: Ledger

    @property
    def runs(self) -> list[Run]:
        return list({run.id: run for run in self.plan.runs}.values())

    def begin(self, run: Run, rows: int = 0) -> None:
        self.ledger.begin(run.id, self.plan.layout.arm(run.arm).recipe, run.seed, self.plan.data)
        self.go_on(run, rows)

    def go_on(self, run: Run, rows: int) -> None:
        """Have a curve of so many rows, the first of which are always the same."""
        text = "".join(json.dumps(row_of(run, number)) + "\n" for number in range(rows))
        (self.ledger.run_folder(run.id) / "metrics.jsonl").write_text(text)

    def end(self, run: Run, status: str = "finished", message: str = "") -> None:
        result = {"top1": 50.0 + run.seed, "status": status, "seconds": 1.5, "loss": None}
        done = status == "finished"
        self.ledger.finish(run.id, status, result if done else None, message)

    def make(self, *runs: Run) -> None:
        """Make runs, or all, from the beginning to the end."""
        for run in runs or self.runs:
            self.begin(run, EPOCHS)
            self.end(run)

    def publisher(self, track: str = "wandb", **more: Any) -> Publisher:
        """The one who publishes it: offline, unless said otherwise; with little patience."""
        given = {"online": False, "patience": Patience(opening=1.5, closing=2.0)}
        return Publisher(self.ledger, self.plan.study, targets(track), **(given | more))

    def publish(self, track: str = "wandb", **more: Any) -> Publisher:
        """Look once, as at the end of a command."""
        made = self.publisher(track, **more)
        made.look()
        made.close()
        return made

    def folders(self) -> list[Path]:
        """The offline runs of W&B in the home."""
        return sorted((self.ledger.home / "tracking/wandb").glob("*"))


def targets(track: str) -> Sequence[Target]:
    return targets_of(track, None, None)


def row_of(run: Run, number: int) -> dict[str, Any]:
    """A row of a curve, other in every run and epoch; losses may be no number at all."""
    loss = None if number == 1 else 2.0 / (number + 1)
    top1 = 10.0 * run.seed + number
    return {"epoch": number + 1, "step": 6 * (number + 1), "train/loss": loss, "val/top1": top1}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = frozen(tmp_path / "home", until=None, design="ladder", seeds=1)
    return Study(*made)
