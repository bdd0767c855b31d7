from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ablations.attribution import analyse
from ablations.families import Family, adjusted, holm, shares

P = st.lists(st.floats(0, 1), min_size=1, max_size=4)


@settings(max_examples=6, deadline=None)  # multipletests collects garbage: up to a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_counts_the_untested_members_of_a_family() -> None:
    assert holm([0.01, 0.02], size=4) == pytest.approx(holm([0.01, 0.02, 1.0, 1.0])[:2])


def closed(first: list[float], second: list[float]) -> list[float]:
    """Adjusted p values by closed testing: every intersection by weighted Bonferroni.

    In an intersection each family that has a member in it weighs a half (all, where it is alone),
    shared equally by its members there (Bretz et al. 2009, section 3).
    """
    p = first + second
    family = [0] * len(first) + [1] * len(second)
    found = [0.0] * len(p)
    places = range(len(p))
    for size in range(1, len(p) + 1):
        for inside in itertools.combinations(places, size):
            present = {family[place] for place in inside}
            bound = min(
                p[place] * len(present) * sum(family[other] == family[place] for other in inside)
                for place in inside
            )
            for place in inside:
                found[place] = max(found[place], min(bound, 1.0))
    return found


@settings(max_examples=150, deadline=None)
@given(P, P)
def test_two_families_are_the_closed_test_of_their_graph(p: list[float], q: list[float]) -> None:
    first, second = adjusted(Family(p=p), Family(p=q))
    assert first + second == pytest.approx(closed(p, q))


def test_an_untested_member_keeps_its_family_from_passing_its_share_on() -> None:
    first, second = adjusted(Family(p=[0.0], untested=1), Family(p=[0.04]))
    assert (first, second) == ([0.0], [pytest.approx(0.08)])
    whole = adjusted(Family(p=[0.0, 1.0]), Family(p=[0.04]))
    assert whole[1] == second
    assert adjusted(Family(p=[0.0]), Family(p=[0.04]))[1] == [pytest.approx(0.04)]


def test_a_family_without_tests_takes_no_share() -> None:
    empty, one = Family(p=[]), Family(p=[0.03, 0.2])
    assert adjusted(empty, one) == ([], holm([0.03, 0.2]))
    assert adjusted(one, empty) == (holm([0.03, 0.2]), [])
    assert shares([empty, one]) == [0.0, 1.0]
    assert shares([one, one]) == [0.5, 0.5]


def test_any_false_verdict_in_a_null_study_is_rarer_than_alpha() -> None:
    """Two families over seven arms, of which the first may be a true effect that passes on."""
    generator = np.random.default_rng(7)
    games, false = 1500, {"null": 0, "one effect": 0}
    steps = {f"c{arm}": {str(arm): -1.0, str(arm + 1): 1.0} for arm in range(6)}
    split = {"t": {"0": -1.0, "3": 1.0}, "a": {"3": -1.0, "6": 1.0}}
    for case in false:
        for _ in range(games // 2):
            values = 80 + generator.normal(0, 0.3, 3) + generator.normal(0, 0.2, (7, 3))
            if case == "one effect":
                values[1:] += 9.0  # c0 and t are real
            table = {str(arm): dict(enumerate(row.tolist())) for arm, row in enumerate(values)}
            found = analyse(table, split, steps).estimates
            real = {"c0", "t"} if case == "one effect" else set()
            false[case] += any(
                one.verdict in ("helps", "hurts") for name, one in found.items() if name not in real
            )
    for count in false.values():  # above 0.05 by less than three standard errors
        assert count / (games // 2) < 0.05 + 3 * (0.05 * 0.95 / (games // 2)) ** 0.5
