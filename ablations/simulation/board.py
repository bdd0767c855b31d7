"""A board: a plan, as any study gets it from a design, on which games are played.

The arms' true values come from the game; their runs go through the analysis of real studies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.attribution import Analysis
from ablations.designs import lay_out
from ablations.plans import Layout, Outcome, Plan, Run
from ablations.report.analysis import analysis_of
from ablations.simulation.changes import BASE, base, changes
from ablations.simulation.games import Array, Games


@dataclass(frozen=True, kw_only=True)
class Board:
    """A plan with made-up components. Rows of arrays are its arms, in their order."""

    plan: Plan
    components: tuple[str, ...]  # keys, in the order of the request
    members: NDArray[np.bool_]  # arms x components
    runs: NDArray[np.intp]  # by arm

    @property
    def layout(self) -> Layout:
        """Return the layout of the plan."""
        return self.plan.layout

    @property
    def arms(self) -> list[str]:
        """Return the names of the arms."""
        return [arm.name for arm in self.layout.arms]

    @property
    def names(self) -> list[str]:
        """Return the names that the analysis has for the contrasts."""
        return [f"{place} {contrast.label}" for place, contrast in enumerate(self.layout.contrasts)]

    def truths(self, games: Games) -> dict[str, Array]:
        """Return by contrast what is true of it, one number per game.

        A component's is the closed form of what the contrast says it asks for; the split's is the
        split of the true values of its arms.
        """
        values = games.values(self.members)
        found = {
            name: values @ self._vector(weights)
            for name, weights in self.layout.split.sides.items()
            if weights
        }
        for name, contrast in zip(self.names, self.layout.contrasts, strict=True):
            place = self.components.index(str(contrast.component))
            found[name] = games.truth(contrast.estimand)[:, place]
        return found

    def with_runs(self, runs: NDArray[np.intp]) -> Board:
        """Return the board with so many runs by arm, seeds 0, 1, ..."""
        made = tuple(
            Run(id=f"{arm} {seed}", arm=arm, seed=seed)
            for arm, count in zip(self.arms, runs.tolist(), strict=True)
            for seed in range(count)
        )
        seeds = tuple(range(int(runs.max())))
        return replace(self, runs=runs, plan=replace(self.plan, runs=made, seeds=seeds))

    def table(self, values: Array) -> dict[str, dict[int, float]]:
        """Return `{arm: {seed: value}}` of the board's runs, of arms x seeds in percent."""
        return {
            arm: dict(enumerate(row[:count].tolist()))
            for arm, row, count in zip(self.arms, values, self.runs.tolist(), strict=True)
        }

    def analysed(self, values: Array, right: NDArray[np.bool_] | None, **options: Any) -> Analysis:
        """Return the analysis of one game's runs.

        Args:
            values: arms x seeds, percent; read only where an arm has the run.
            right: arms x seeds x images; None: which images were right is not kept.
            options: further arguments of `analysis_of`.
        """
        table = self.table(values)
        outcomes = [
            Outcome(run=run, status="finished", value=table[run.arm][run.seed])
            for run in self.plan.runs
        ]
        images = None if right is None else Kept(self.arms, right)
        return analysis_of(self.plan, outcomes, images=images, **options).analysis

    def _vector(self, weights: Mapping[str, float]) -> Array:
        return np.array([weights.get(arm, 0.0) for arm in self.arms])


class Kept:
    """Which images each run of a game got right, as the ledger of a study keeps it."""

    def __init__(self, arms: list[str], right: NDArray[np.bool_]) -> None:
        """Take arms x seeds x images."""
        self._arms, self._right = {arm: row for row, arm in enumerate(arms)}, right

    def of(self, arm: str, seed: int) -> NDArray[np.floating]:
        """Return one number per image."""
        found: NDArray[np.floating] = self._right[self._arms[arm], seed].astype(np.float64)
        return found


def lay(design: str, *, training: int, architecture: int = 0, seeds: int, **options: Any) -> Board:
    """Return the board of a design over made-up components of both sides.

    Args:
        design: by name.
        training: components of that side, before those of the other.
        architecture: components of the other side.
        seeds: runs per arm, where the layout does not say otherwise.
        options: further arguments of `lay_out`.
    """
    components = changes(training, architecture)
    layout = lay_out(design, base(), components, seeds=seeds, **options)
    keys = tuple(component.key for component in components)
    inside = [{component.key for component in arm.components} for arm in layout.arms]
    plan = Plan(
        study="game",
        base=BASE,
        layout=layout,
        seeds=(),
        runs=(),
        data="game",
        data_fingerprint="",
    )
    on = Board(
        plan=plan,
        components=keys,
        members=np.array([[key in held for key in keys] for held in inside]),
        runs=np.zeros(len(layout.arms), dtype=np.intp),
    )
    by_arm = layout.seeds_by_arm(seeds)
    return on.with_runs(np.array([by_arm[arm] for arm in on.arms]))
