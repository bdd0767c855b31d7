from __future__ import annotations

import itertools

import numpy as np
import pytest

from ablations.plans import ESTIMANDS
from ablations.simulation.games import NULL, Games, Law, draw, published_steps

LAWS = {
    "null": NULL,
    "main": Law(main=(0.3, -0.5, 1.5)),
    "pairs": Law(main=(0.3, -0.5, 1.5), pair_sd=0.3, pair_share=0.5),
    "triples": Law(main=(0.3, -0.5), pair_sd=0.3, triple_sd=0.2, triple_share=0.5),
}


def all_subsets(components: int) -> np.ndarray:
    return np.array(list(itertools.product((False, True), repeat=components)))


def value_by_hand(games: Games, game: int, inside: set[int]) -> float:
    components = games.main.shape[1]
    total = games.base + sum(games.main[game, one] for one in inside)
    for worth, size in ((games.pairs, 2), (games.triples, 3)):
        if worth.shape[1]:
            groups = itertools.combinations(range(components), size)
            total += sum(
                worth[game, place] for place, group in enumerate(groups) if set(group) <= inside
            )
    return float(total)


def effect_by_hand(games: Games, game: int, component: int, estimand: str) -> float:
    others = [one for one in range(games.main.shape[1]) if one != component]
    contexts = {
        "alone": [set()],
        "in_recipe": [set(others)],
        "in_order": [{one for one in others if one < component}],
        "average_over_others": [
            set(context)
            for size in range(len(others) + 1)
            for context in itertools.combinations(others, size)
        ],
    }[estimand]
    gains = [
        value_by_hand(games, game, context | {component}) - value_by_hand(games, game, context)
        for context in contexts
    ]
    return sum(gains) / len(gains)


@pytest.mark.parametrize("law", LAWS)
def test_the_value_of_every_subset_is_its_sum_of_worths(law: str) -> None:
    games = draw(LAWS[law], 5, 3, np.random.default_rng(0))
    subsets = all_subsets(5)
    found = games.values(subsets)
    for game in range(3):
        expected = [
            value_by_hand(games, game, set(np.flatnonzero(one).tolist())) for one in subsets
        ]
        assert found[game] == pytest.approx(expected)


@pytest.mark.parametrize("estimand", ESTIMANDS)
@pytest.mark.parametrize("law", LAWS)
def test_every_estimand_is_the_mean_gain_over_its_contexts(law: str, estimand: str) -> None:
    games = draw(LAWS[law], 5, 3, np.random.default_rng(1))
    found = games.truth(estimand)
    for game, component in itertools.product(range(3), range(5)):
        expected = effect_by_hand(games, game, component, estimand)
        assert found[game, component] == pytest.approx(expected)


def test_a_null_game_is_worth_the_same_whatever_is_in_it() -> None:
    values = draw(NULL, 6, 4, np.random.default_rng(0)).values(all_subsets(6))
    assert np.ptp(values) == 0


def test_worths_have_the_share_and_the_sd_of_their_law() -> None:
    law = Law(pair_sd=0.3, pair_share=0.35, triple_sd=0.1, triple_share=0.125)
    games = draw(law, 11, 2000, np.random.default_rng(3))
    for worth, sd, share, count in ((games.pairs, 0.3, 0.35, 55), (games.triples, 0.1, 0.125, 165)):
        assert worth.shape == (2000, count)
        present = worth[worth != 0]
        assert present.size / worth.size == pytest.approx(share, abs=4 * 0.5 / worth.size**0.5)
        assert present.std() == pytest.approx(sd, rel=4 / present.size**0.5)


def test_the_published_steps_are_those_of_both_ladders() -> None:
    steps = published_steps()
    assert len(steps) == 10 + 12
    assert sum(steps[:10]) == pytest.approx(83.4 - 79.0)  # ResNet-RS Table 1
    assert sum(steps[10:]) == pytest.approx(80.858 - 76.130, abs=0.005)  # torchvision, rounded
