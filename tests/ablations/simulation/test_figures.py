from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.simulation.figures import LEVEL, Claim, Figure, mean, median, ratio, share


@pytest.mark.parametrize(("hits", "games"), [(0, 50), (7, 200), (190, 200), (50, 50)])
def test_a_share_of_single_cases_has_the_exact_binomial_interval(hits: int, games: int) -> None:
    cases = np.array([1.0] * hits + [0.0] * (games - hits))
    figure = share(cases, np.ones(games))
    # n - 1 in the variance between games: as if there were one game fewer.
    reference = stats.binomtest(hits, games).proportion_ci(LEVEL, method="exact")
    assert figure.value == hits / games
    assert (figure.low, figure.high) == pytest.approx(tuple(reference), abs=0.004)


def test_cases_that_share_their_fate_count_once() -> None:
    one = np.random.default_rng(0).random(400) < 0.9
    single = share(one.astype(float), np.ones(400))
    tenfold = share(10.0 * one, np.full(400, 10.0))
    assert (tenfold.low, tenfold.high) == pytest.approx((single.low, single.high))


@pytest.mark.parametrize("kind", ["share", "mean", "ratio", "median"])
def test_intervals_hold_the_truth_as_often_as_they_say(kind: str) -> None:
    generator, held, rounds = np.random.default_rng(1), 0, 600
    for _ in range(rounds):
        if kind == "share":  # five cases a game, alike within it
            chance = generator.beta(8, 2, 300)
            figure, truth = share(generator.binomial(5, chance) * 1.0, np.full(300, 5.0)), 0.8
        elif kind == "mean":
            figure, truth = mean(generator.gamma(4, 1, 300)), 4.0
        elif kind == "ratio":
            reference = generator.gamma(4, 1, 300)
            figure, truth = ratio(0.3 * reference + generator.gamma(1, 1, 300), reference), 0.55
        else:
            figure, truth = median(generator.exponential(1, 301)), math.log(2)
        held += figure.low <= truth <= figure.high
    assert stats.binomtest(held, rounds, LEVEL).pvalue > 0.001


def test_a_claim_fails_only_when_the_interval_excludes_it() -> None:
    claim = Claim(words="93 to 97 %", low=0.93, high=0.97)
    inside, touching, outside = (
        Figure(value=(low + high) / 2, low=low, high=high, games=10)
        for low, high in ((0.94, 0.96), (0.9, 0.93), (0.98, 0.99))
    )
    assert claim.holds(inside)
    assert claim.holds(touching)
    assert not claim.holds(outside)


def test_nothing_counted_is_no_figure() -> None:
    figure = share(np.zeros(3), np.zeros(3))
    assert figure.games == 0
    assert math.isnan(figure.value)
