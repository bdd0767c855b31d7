"""Cells: do 95 % intervals hold the truth, and is nothing called helpful where nothing is?"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np

from ablations.attribution import Analysis
from ablations.simulation import claims, noises
from ablations.simulation.board import Board, lay
from ablations.simulation.cell import Cell, Columns, Measure
from ablations.simulation.figures import Claim, Figure, share
from ablations.simulation.games import NULL, Array, Law, draw, published_steps
from ablations.simulation.noise import Noise, answers, difficulty, train

SEEDS, NULL_SEEDS = (3, 5, 10), (3, 10)
ALONE = (1,)  # of a screen: its noise comes from more runs of the base and the full arm
_SIZES = {"factorial": (2, 2)}  # training, architecture; 16 arms there
_USUAL = (3, 2)
DESIGNS = (
    "ladder",
    "one-at-a-time",
    "leave-one-out",
    "bracket",
    "shapley",
    "screen",
    "factorial",
    "blocks",
)

_PAIRS = Law(main=published_steps(), pair_sd=0.3)
_TRIPLES = replace(_PAIRS, triple_sd=0.3)  # as strong as pairs, which nobody has seen


def cells() -> tuple[Cell, ...]:
    """Return the cells of coverage: every design, number of seeds and mixture of noise."""
    return _of_every_design("coverage", _PAIRS, claims.COVERAGE, SEEDS)


def null_cells() -> tuple[Cell, ...]:
    """Return the cells in which every component is worth exactly nothing."""
    return _of_every_design("null", NULL, claims.FAMILY, NULL_SEEDS)


def _of_every_design(
    group: str, law: Law, claim: Claim, counts: tuple[int, ...]
) -> tuple[Cell, ...]:
    found = [
        _cell(group, design, seeds, noise, law, claim)
        for design in DESIGNS
        for noise in noises.MIXTURES
        for seeds in (ALONE + counts if design == "screen" else counts)
    ]
    return (*found, *_strained(group, law, claim, counts))


def _strained(group: str, law: Law, claim: Claim, seeds: tuple[int, ...]) -> list[Cell]:
    """Return cells of other noise; without a claim where an assumption does not hold."""
    noised = ((noises.PLAIN, claim), (noises.CORRELATED, claim))
    unequal = ((noises.SLIGHTLY_UNEQUAL, None), (noises.UNEQUAL, None))
    found = [
        _cell(group, "ladder", count, noise, law, held)
        for noise, held in (*noised, *unequal)
        for count in seeds
    ]
    if group == "coverage":
        found += [
            _cell(group, design, count, noises.PLAIN, _TRIPLES, None)
            for design in ("screen", "bracket")
            for count in seeds
        ]
    return found


def _cell(group: str, design: str, seeds: int, noise: Noise, law: Law, claim: Claim | None) -> Cell:
    training, architecture = _SIZES.get(design, _USUAL)
    read = {"coverage": _covered, "null": _false}[group]
    line = f"{design}, {noise.name}{', triples 0.3' if law.triple_sd else ''}"
    column = f"{seeds} seeds" if seeds > 1 else "1 seed, base and full 7"
    return Cell(
        group=group,
        setting=f"{line}, {column}",
        play=partial(_play, design, training, architecture, seeds, noise, law),
        measures=(Measure(line=line, column=column, read=read, claim=claim),),
    )


def _play(
    design: str,
    training: int,
    architecture: int,
    seeds: int,
    noise: Noise,
    law: Law,
    generator: np.random.Generator,
    games: int,
) -> Columns:
    board = _board(design, training, architecture, seeds)
    drawn = draw(law, board.members.shape[1], games, generator)
    truths, values = board.truths(drawn), drawn.values(board.members)
    off = train(noise, games, len(board.arms), int(board.runs.max()), generator)
    columns = {name: np.zeros(games) for name in ("hits", "of", "false")}
    for game in range(games):
        found = one_game(board, noise, values[game], off[game], generator)
        truth = {name: float(each[game]) for name, each in truths.items()}
        columns["hits"][game], columns["of"][game] = covered(found, truth)
        columns["false"][game] = any_false(found, truth)
    return columns


def one_game(
    board: Board, noise: Noise, truth: Array, off: Array, generator: np.random.Generator
) -> Analysis:
    """Return the analysis of one game: percent by arm, and points by arm and seed, are given."""
    if not noise.images:
        return board.analysed(truth[:, None] + off, None)
    hard = difficulty(noise, len(board.arms), generator)
    right = answers(noise, truth, off, hard, generator)
    return board.analysed(100 * right.mean(axis=2), right)


def covered(analysis: Analysis, truth: dict[str, float]) -> tuple[int, int]:
    """Return how many pointwise intervals hold the truth, and how many there are."""
    intervals = {name: analysis.estimates[name].interval for name in truth}
    known = {name: limits for name, limits in intervals.items() if limits is not None}
    return sum(low <= truth[name] <= high for name, (low, high) in known.items()), len(known)


def any_false(analysis: Analysis, truth: dict[str, float]) -> bool:
    """Return whether any verdict says helps or hurts of what does not, by its sign."""
    verdicts = {name: analysis.estimates[name].verdict for name in truth}
    return any(
        (verdicts[name] == "helps" and value <= 0) or (verdicts[name] == "hurts" and value >= 0)
        for name, value in truth.items()
    )


def _covered(columns: Columns) -> Figure:
    return share(columns["hits"], columns["of"])


def _false(columns: Columns) -> Figure:
    return share(columns["false"], np.ones_like(columns["false"]))


@cache
def _board(design: str, training: int, architecture: int, seeds: int) -> Board:
    return lay(design, training=training, architecture=architecture, seeds=seeds)
