"""Cells: how far off each design is at 24 runs of 11 components.

What is wanted is the effect averaged over all combinations of the others.

The games are those of an earlier comparison of designs (400 games each), whose ladder, bracket and
fold-over are met here within its Monte Carlo error. Its figures imply that a third of the pairs
interact, and that its error is the mean over games of each game's root mean square over the
components. All components are of one side, so that a ladder has 12 arms; leave-one-out has the
base too.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from ablations.plans import COMPONENTS
from ablations.simulation import claims
from ablations.simulation.board import Board, lay
from ablations.simulation.cell import Cell, Columns, Measure
from ablations.simulation.figures import Array, Figure, mean, ratio
from ablations.simulation.games import Law, draw, published_steps
from ablations.simulation.noise import Noise, train

SIZE, RUNS = 11, 24
AUTO, FOLD = "auto", "fold-over"  # the latter: a screen whose runs are all other arms
AVERAGE = "average_over_others"
_SEEDS = {"ladder": 2, "one-at-a-time": 2, "leave-one-out": 2, "bracket": 1}
_DESIGNS = (*_SEEDS, "shapley", FOLD, "screen", AUTO)
_SHARE = 0.35  # of pairs that interact: so the comparison's ladder has 0.285 and 0.340
_NOISE, _LOUD = 0.1, 0.2  # sd between seeds, points

# column: pairwise sd, share of pairs, three-way sd, sd between seeds
_COLUMNS: dict[str, tuple[float, float, float, float]] = {
    "no pairs": (0.0, _SHARE, 0.0, _NOISE),
    "pairs 0.15": (0.15, _SHARE, 0.0, _NOISE),
    "pairs 0.3": (0.3, _SHARE, 0.0, _NOISE),
    "pairs 0.3, seeds 0.2": (0.3, _SHARE, 0.0, _LOUD),
    "all pairs 0.3": (0.3, 1.0, 0.0, _NOISE),
    "and triples 0.1": (0.3, _SHARE, 0.1, _NOISE),
}
# Of triples: so the comparison's ladder and leave-one-out have 0.308 and 0.330.
_TRIPLES = 1 / 8
_EARLIER = {  # error in the comparison, points, by design and column
    "ladder": {"no pairs": 0.095, "pairs 0.15": 0.167, "pairs 0.3": 0.285,
               "pairs 0.3, seeds 0.2": 0.340},
    "bracket": {"no pairs": 0.093, "pairs 0.15": 0.097, "pairs 0.3": 0.093,
                "pairs 0.3, seeds 0.2": 0.184},
    FOLD: {"no pairs": 0.040, "pairs 0.15": 0.041, "pairs 0.3": 0.040,
               "pairs 0.3, seeds 0.2": 0.080},
}  # fmt: skip


def cells() -> tuple[Cell, ...]:
    """Return one cell for each kind of game; every design plays the same games."""
    return tuple(_cell(column) for column in _COLUMNS)


def _cell(column: str) -> Cell:
    measures = []
    for design in _DESIGNS:
        earlier = _EARLIER.get(design, {}).get(column)
        claim = None if earlier is None else claims.as_earlier(earlier)
        line = f"{design}, {_board(design).runs.sum()} runs"
        read = partial(_error, design)
        measures.append(Measure(line=line, column=column, read=read, claim=claim))
    claim = claims.RMSE if "pairs 0.3" in column else None
    claim = claims.NEVER_WORSE if column == "no pairs" else claim
    line = "auto / ladder"
    measures.append(Measure(line=line, column=column, read=_against_ladder, claim=claim))
    return Cell(
        group="screen", setting=column, play=partial(_play, column), measures=tuple(measures)
    )


def _play(column: str, generator: np.random.Generator, games: int) -> Columns:
    pair_sd, share, triple_sd, seed_sd = _COLUMNS[column]
    law = Law(
        main=published_steps(),
        pair_sd=pair_sd,
        pair_share=share,
        triple_sd=triple_sd,
        triple_share=_TRIPLES,
    )
    drawn = draw(law, SIZE, games, generator)
    truth = drawn.truth(AVERAGE)
    noise = Noise(name=column, seed_sd=seed_sd)
    found: dict[str, Array] = {}
    for design in _DESIGNS:
        on = _board(design)
        off = train(noise, games, len(on.arms), int(on.runs.max()), generator)
        values = drawn.values(on.members)[:, :, None] + off
        effects = np.array([_effects(on, game) for game in values])
        found[design] = np.sqrt(((effects - truth) ** 2).mean(axis=1))
    return found


def _effects(on: Board, values: Array) -> list[float]:
    """Return what a design says of every component: of the average where it asks for that."""
    estimates = on.analysed(values, None).estimates
    found: dict[str | None, float] = {}
    for name, contrast in zip(on.names, on.layout.contrasts, strict=True):
        delta = estimates[name].delta
        assert delta is not None
        if contrast.family == COMPONENTS:  # the others are only shown
            found[contrast.component] = delta
    return [found[component] for component in on.components]


def _error(design: str, columns: Columns) -> Figure:
    return mean(columns[design])


def _against_ladder(columns: Columns) -> Figure:
    return ratio(columns[AUTO], columns["ladder"])


@cache
def _board(design: str) -> Board:
    if design in _SEEDS:
        return lay(design, training=SIZE, seeds=_SEEDS[design])
    if design == FOLD:
        on = lay("screen", training=SIZE, seeds=1)
        return on.with_runs(np.ones_like(on.runs))
    return lay(design, training=SIZE, seeds=1, question=AVERAGE, budget=RUNS)
