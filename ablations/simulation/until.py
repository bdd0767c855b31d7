"""Cells of studies that decide themselves when to stop: what that saves, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import numpy as np

from ablations.sequential import VERDICTS
from ablations.simulation import claims, noises
from ablations.simulation.board import Board, lay
from ablations.simulation.cell import Cell, Columns, Measure
from ablations.simulation.coverage import any_false, covered
from ablations.simulation.figures import Figure, mean, median, share
from ablations.simulation.games import NULL, Array, Law, draw, published_steps
from ablations.simulation.noise import Noise, train
from ablations.simulation.stopping import FIRST, Ended, followed, game_of, most_seeds, stopped

FIVE, TEN = (3, 2), (8, 2)  # components of training and architecture; ten as in the paper
_UNASKED = "by_blocks interaction"  # no rule waits for it
_WIDTHS = (  # points: half-width, noise
    ("0.15", noises.PLAIN),
    ("0.1", noises.PLAIN),
    ("1.8", noises.BOTH),  # above its floor: 1.3, of the images
)


def cells() -> tuple[Cell, ...]:
    """Return the cells of `--until verdicts` against equal seeding."""
    found = []
    for design, sizes, noise in (
        ("ladder", FIVE, noises.PLAIN),
        ("ladder", TEN, noises.PLAIN),
        ("one-at-a-time", TEN, noises.PLAIN),
        ("leave-one-out", TEN, noises.PLAIN),
        ("ladder", FIVE, noises.FINE),
    ):
        column = f"{design}, {sum(sizes)}{' with images' if noise.images else ''}"
        lines = (
            ("runs against equal seeding, median", "ratio", claims.RUNS),
            ("runs, mean", "runs", None),
            ("runs with equal seeding, mean", "equal runs", None),
            ("right verdicts of all contrasts", "right", None),
            ("the same with equal seeding", "equal right", None),
            ("studies with a wrong verdict", "false", claims.FAMILY),
        )
        found.append(
            Cell(
                group="until",
                setting=column,
                play=partial(_play, design, sizes, noise, _law()),
                measures=tuple(
                    Measure(line=line, column=column, read=_READ[key], claim=claim)
                    for line, key, claim in lines
                ),
            )
        )
    return tuple(found)


def null_cells() -> tuple[Cell, ...]:
    """Return the cells of null games with adaptive seeds; lines as those with fixed seeds."""
    return tuple(
        Cell(
            group="null",
            setting=f"{design}, {noise.name}, until verdicts",
            play=partial(_play_null, design, FIVE, noise),
            measures=(
                Measure(
                    line=f"{design}, {noise.name}",
                    column="until verdicts",
                    read=_READ["false"],
                    claim=claims.FAMILY,
                ),
            ),
        )
        for design in ("ladder", "one-at-a-time", "leave-one-out", "screen")
        for noise in (noises.PLAIN, noises.BOTH)
    )


def width_cells() -> tuple[Cell, ...]:
    """Return the cells of `--until WIDTH`."""
    return tuple(
        Cell(
            group="width",
            setting=f"+-{width}, {noise.name}",
            play=partial(_play_width, width, noise),
            measures=(
                Measure(
                    line="coverage of 95 % intervals",
                    column=f"+-{width}, {noise.name}",
                    read=_READ["coverage"],
                    claim=claims.COVERAGE,
                ),
                Measure(
                    line="intervals within the width",
                    column=f"+-{width}, {noise.name}",
                    read=_READ["within"],
                ),
                Measure(line="runs, mean", column=f"+-{width}, {noise.name}", read=_READ["runs"]),
            ),
        )
        for width, noise in _WIDTHS
    )


def _read_ratio(columns: Columns) -> Figure:
    return median(columns["runs"] / columns["equal runs"], percent=True)


def _read_share(key: str, of: str, columns: Columns) -> Figure:
    return share(columns[key], columns[of])


def _read_mean(key: str, columns: Columns) -> Figure:
    return mean(columns[key])


_READ: Mapping[str, Callable[[Columns], Figure]] = {
    "ratio": _read_ratio,
    "runs": partial(_read_mean, "runs"),
    "equal runs": partial(_read_mean, "equal runs"),
    "right": partial(_read_share, "right", "contrasts"),
    "equal right": partial(_read_share, "equal right", "contrasts"),
    "false": partial(_read_share, "false", "studies"),
    "coverage": partial(_read_share, "hits", "of"),
    "within": partial(_read_share, "within", "asked"),
}


def _play(
    design: str,
    sizes: tuple[int, int],
    noise: Noise,
    law: Law,
    generator: np.random.Generator,
    games: int,
) -> Columns:
    columns = _empty(games, "runs", "equal runs", "right", "equal right", "contrasts", "false")
    for game, truth, ended in _ended(design, sizes, noise, law, VERDICTS, True, generator, games):
        adaptive, equal = ended
        columns["runs"][game] = adaptive.runs.sum()
        columns["equal runs"][game] = equal.runs.sum()
        columns["right"][game] = _right(adaptive, truth)
        columns["equal right"][game] = _right(equal, truth)
        columns["contrasts"][game] = len(truth)
        columns["false"][game] = any_false(adaptive.analysis, truth)
    return columns | {"studies": np.ones(games)}


def _play_null(
    design: str, sizes: tuple[int, int], noise: Noise, generator: np.random.Generator, games: int
) -> Columns:
    columns = _empty(games, "false")
    for game, truth, ended in _ended(design, sizes, noise, NULL, VERDICTS, False, generator, games):
        columns["false"][game] = any_false(ended[0].analysis, truth)
    return columns | {"studies": np.ones(games)}


def _play_width(width: str, noise: Noise, generator: np.random.Generator, games: int) -> Columns:
    columns = _empty(games, "hits", "of", "within", "asked", "runs")
    for game, truth, ended in _ended("ladder", FIVE, noise, _law(), width, False, generator, games):
        analysis = ended[0].analysis
        columns["hits"][game], columns["of"][game] = covered(analysis, truth)
        intervals = [analysis.estimates[name].interval for name in truth if name != _UNASKED]
        reach = [(high - low) / 2 for low, high in filter(None, intervals)]
        columns["within"][game] = sum(half <= float(width) for half in reach)
        columns["asked"][game] = len(intervals)
        columns["runs"][game] = ended[0].runs.sum()
    return columns


def _ended(
    design: str,
    sizes: tuple[int, int],
    noise: Noise,
    law: Law,
    until: str,
    both: bool,
    generator: np.random.Generator,
    games: int,
) -> Iterator[tuple[int, dict[str, float], list[Ended]]]:
    """Yield each game, its truths, and how it ended: adaptively, and with equal seeds if both."""
    on = _planned(design, sizes, until)
    drawn = draw(law, sum(sizes), games, generator)
    truths, values = on.truths(drawn), drawn.values(on.members)
    off = train(noise, games, len(on.arms), most_seeds(on), generator)
    for place in range(games):
        game = game_of(noise, values[place], off[place], generator)
        ways = (False, True) if both else (False,)
        truth = {name: float(each[place]) for name, each in truths.items()}
        yield place, truth, [followed(on, game, equal=way) for way in ways]


def _right(ended: Ended, truth: dict[str, float]) -> int:
    verdicts = {name: ended.analysis.estimates[name].verdict for name in truth}
    return sum(
        (verdicts[name] == "helps" and value > 0) or (verdicts[name] == "hurts" and value < 0)
        for name, value in truth.items()
    )


def _empty(games: int, *names: str) -> dict[str, Array]:
    return {name: np.zeros(games) for name in names}


@cache
def _law() -> Law:
    return Law(main=published_steps(), pair_sd=0.3, pair_share=0.35)  # as in `screen`


@cache
def _planned(design: str, sizes: tuple[int, int], until: str) -> Board:
    return stopped(lay(design, training=sizes[0], architecture=sizes[1], seeds=FIRST), until)
