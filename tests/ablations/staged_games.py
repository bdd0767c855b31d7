"""Games of made-up runs, played by a stopping rule stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations import plan
from ablations.plans import Plan, Stopping
from ablations.request import Request
from ablations.sequential import next_runs, stopping_of

Values = dict[str, dict[int, float]]
ADD = "ls,se,do"


def planned(home: Path, until: str = "verdicts", **more: Any) -> Plan:
    return plan("tiny", ADD, design="one-at-a-time", until=until, home=home, **more).plan


def rule_of(arms: int, **more: Any) -> Stopping:
    found = stopping_of(Request(**({"base": "b", "add": "a", "until": "verdicts"} | more)), arms)
    assert found is not None
    return found


class Kept:
    """Which images the runs of a game got right."""

    def __init__(self, right: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> None:
        self._right = right

    def of(self, arm: str, seed: int) -> NDArray[np.floating]:
        return self._right[arm][seed].astype(np.float64)


class Game:
    """A game of made-up runs: the accuracy of an arm and seed is the same whenever it is asked."""

    def __init__(self, truth: Mapping[str, float], sd: float = 0.15, seed: int = 0) -> None:
        self._truth = dict(truth)
        noise = np.random.default_rng(seed).normal(0, sd, (len(truth), 2000))
        self._noise = dict(zip(truth, noise, strict=True))

    def value(self, arm: str, seed: int) -> float:
        return 80 + self._truth[arm] + float(self._noise[arm][seed])

    def play(self, of: Plan) -> tuple[Values, list[list[tuple[str, int]]], dict[str, str]]:
        """Return all values, the runs of every stage and what was closed."""
        values: Values = {arm.name: {} for arm in of.layout.arms}
        runs = [(run.arm, run.seed) for run in of.runs]
        stages, closed = [], dict[str, str]()
        while runs:
            for arm, seed in runs:
                assert seed not in values[arm]  # no run twice
                values[arm][seed] = self.value(arm, seed)
            before, (closed, runs) = closed, next_runs(of, len(stages), values, closed=closed)
            assert before.items() <= closed.items()  # what is closed stays so
            stages.append(runs)
        return values, stages, closed
