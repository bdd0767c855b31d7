"""One game with a stopping rule: looks at minival, more runs, and one answer from validation.

The rule, its looks and what comes next are the code of real studies. Equal seeding is the same rule
and the same looks, but a stage adds its seeds to every arm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablations.attribution import Analysis
from ablations.plans import Plan, Stopping
from ablations.request import Request
from ablations.sequential import first_error, next_runs, spent, stopping_of
from ablations.simulation.board import Board, Kept
from ablations.simulation.changes import BASE
from ablations.simulation.games import Array
from ablations.simulation.noise import Noise, answers, difficulty

FIRST = 3  # seeds of the first stage, as --seeds has it


class Evaluation:
    """One game's runs on one set of images, drawn as they are asked for.

    The training is given: it is the same on other images. Without images, accuracy itself is seen.
    """

    def __init__(
        self, noise: Noise, truth: Array, off: Array, generator: np.random.Generator
    ) -> None:
        """Take percent by arm, points by arm and seed, and the source of the images."""
        self._noise, self._truth, self._off, self._generator = noise, truth, off, generator
        self._hard = difficulty(noise, len(truth), generator) if noise.images else None
        self._right = np.zeros((len(truth), 0, noise.images), dtype=bool)

    def seen(self, seeds: int) -> tuple[Array, NDArray[np.bool_] | None]:
        """Return the values of so many seeds, arms x seeds, and what was right on each image."""
        if self._hard is None:
            return self._truth[:, None] + self._off[:, :seeds], None
        has = self._right.shape[1]
        if seeds > has:
            off = self._off[:, has:seeds]
            more = answers(self._noise, self._truth, off, self._hard, self._generator)
            self._right = np.concatenate([self._right, more], axis=1)
        right = self._right[:, :seeds]
        return 100 * right.mean(axis=2), right


@dataclass(frozen=True, kw_only=True)
class Game:
    """One game's runs on minival and on validation.

    Without images the two are equal, the hardest case: what a look was lucky in, so is the report.
    """

    minival: Evaluation
    validation: Evaluation


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a game ended."""

    analysis: Analysis
    runs: NDArray[np.intp]  # by arm


def game_of(noise: Noise, truth: Array, off: Array, generator: np.random.Generator) -> Game:
    """Return one game's trainings, to be evaluated on two sets of images, or on none.

    Args:
        noise: of the game.
        truth: percent by arm.
        off: points by arm and seed.
        generator: source of the images and of luck.
    """
    minival, validation = (Evaluation(noise, truth, off, one) for one in generator.spawn(2))
    return Game(minival=minival, validation=validation)


def stopped(on: Board, until: str) -> Board:
    """Return a board with a stopping rule, as `--until` declares it; its runs are the first stage.

    Args:
        on: with at least one seed per arm.
        until: `verdicts`, or a half-width in points.
    """
    request = Request(base=BASE, add="ls", seeds=FIRST, until=until)
    arms, runs = len(on.arms), int(on.runs.sum())
    rule = stopping_of(
        request,
        arms,
        seeds=int(on.runs.min()),
        runs=runs,
        error_df=runs - arms - int(on.runs.max()) + 1,
    )
    return replace(on, plan=replace(on.plan, stopping=rule))


def most_seeds(on: Board) -> int:
    """Return the most seeds that one arm of a board can come to have."""
    return max(_rule(on.plan).stages[-1], int(on.runs.max()))


def followed(on: Board, game: Game, *, equal: bool) -> Ended:
    """Play a game to its end: stage by stage on minival, then answer from validation."""
    closed, first = dict[str, str](), on.plan.runs
    rows = {arm: row for row, arm in enumerate(on.arms)}
    stage = 0
    while True:
        values, right = game.minival.seen(int(on.runs.max()))
        images = None if right is None else Kept(on.arms, right)
        table = on.table(values)
        error = first_error(on.plan, first, table)
        closed, more = next_runs(on.plan, stage, table, (), images, closed=closed, error=error)
        if not more:
            break
        stage += 1
        runs = on.runs.copy()
        for arm, seed in more:
            assert seed == runs[rows[arm]]  # seeds come in order
            runs[rows[arm]] += 1
        on = on.with_runs(np.full_like(runs, _rule(on.plan).stages[stage]) if equal else runs)
    values, right = game.validation.seen(int(on.runs.max()))
    error = first_error(on.plan, first, on.table(values))
    analysis = on.analysed(values, right, spent=spent(on.plan, stage), error=error)
    return Ended(analysis=analysis, runs=on.runs)


def _rule(plan: Plan) -> Stopping:
    assert plan.stopping is not None
    return plan.stopping
