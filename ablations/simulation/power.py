"""Cells: is an effect of the size that a plan calls the smallest found as often as it says?"""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from ablations.detectable import Detectable, prospect
from ablations.noise import Noise as Expected
from ablations.simulation import claims, noises
from ablations.simulation.board import Board, lay
from ablations.simulation.cell import Cell, Columns, Measure
from ablations.simulation.coverage import one_game
from ablations.simulation.figures import Figure, share
from ablations.simulation.games import BASE_TOP1, Array, Games
from ablations.simulation.noise import Noise, image_variance, luck_variance, train

TRAINING, ARCHITECTURE = 3, 2
_DESIGNS = {"ladder": 3, "one-at-a-time": 5, "screen": 3}  # seeds
_NOISES = (noises.PLAIN, noises.BOTH)
_LEVEL = 0.95


def cells() -> tuple[Cell, ...]:
    """Return the cells of power; only the first component is worth anything."""
    return tuple(_cell(design, noise) for design in _DESIGNS for noise in _NOISES)


def _cell(design: str, noise: Noise) -> Cell:
    column = f"{design}, {_DESIGNS[design]} seeds"
    # Of images a plan knows only the worst case: that a component moves the same ones in all arms.
    bound = design == "screen" and noise.images
    lines = (
        ("interval without 0", "found", claims.AT_LEAST if bound else claims.POWER),
        ("verdict is helps", "helps", claims.AT_LEAST),
    )
    return Cell(
        group="power",
        setting=f"{column}, {noise.name}",
        play=partial(_play, design, noise),
        measures=tuple(
            Measure(
                line=f"{line}, {noise.name}", column=column, read=partial(_share, key), claim=claim
            )
            for line, key, claim in lines
        ),
    )


def _play(design: str, noise: Noise, generator: np.random.Generator, games: int) -> Columns:
    """Play games at each of the two smallest effects, that of an interval and that of a verdict."""
    on, smallest = _board(design), _smallest(design, noise)
    assert smallest.pointwise is not None and smallest.verdict is not None
    return {
        "found": _played(on, noise, smallest.pointwise, "found", generator, games),
        "helps": _played(on, noise, smallest.verdict, "helps", generator, games),
    }


def _played(
    on: Board, noise: Noise, effect: float, key: str, generator: np.random.Generator, games: int
) -> Array:
    main = np.zeros((games, len(on.components)))
    main[:, 0] = effect
    drawn = Games(
        base=BASE_TOP1 - effect / 2,  # about which the noise is told
        main=main,
        pairs=np.zeros((games, 0)),
        triples=np.zeros((games, 0)),
    )
    values = drawn.values(on.members)
    off = train(noise, games, len(on.arms), int(on.runs.max()), generator)
    found = np.zeros(games)
    for game in range(games):
        estimate = one_game(on, noise, values[game], off[game], generator).estimates[on.names[0]]
        if key == "helps":
            found[game] = estimate.verdict == "helps"
        else:
            found[game] = estimate.p is not None and estimate.p <= 1 - _LEVEL
    return found


def _share(key: str, columns: Columns) -> Figure:
    return share(columns[key], np.ones_like(columns[key]))


@cache
def _board(design: str) -> Board:
    return lay(design, training=TRAINING, architecture=ARCHITECTURE, seeds=_DESIGNS[design])


@cache
def _smallest(design: str, noise: Noise) -> Detectable:
    """Return what the plan says of the first component, given the true noise."""
    images = max(noise.images, 1)
    luck = luck_variance(noise) / images if noise.images else 0.0
    expected = Expected(
        seed_variance=noise.seed_sd**2 + luck,
        seed_df=None,
        image_variance=image_variance(noise) if noise.images else 0.0,
        images=images,
        source="known",
    )
    found = prospect(_board(design).plan, expected, _LEVEL).contrasts[0]
    assert found is not None
    return found
