"""Declared interactions: what two are worth together beyond each by itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ablations.designs import lay_out
from ablations.plans import Contrast, Layout
from recipes import Component, Levels, RecipeError, parse
from tests.ablations.designs.games import (
    Game,
    alternatives,
    at_levels,
    base_recipe,
    draw,
    parts,
)

SPEC = "ls,sd,ra,se,resnetd"
PLACES = {  # design: contexts in which the pair is seen
    "ladder": "base",
    "one-at-a-time": "base",
    "leave-one-out": "full",
    "factorial": "all",
    "bracket": "ends",
    "shapley": "ends",
}


def asked(layout: Layout) -> list[Contrast]:
    return [one for one in layout.contrasts if one.component is None]


def beyond(game: Game, components: list[Component], where: str) -> float:
    """Return the interaction of the first and the third component, by its definition."""
    a, b = components[0], components[2]
    others = [one for one in components if one not in (a, b)]
    subsets = [
        subset for size in range(len(others) + 1) for subset in itertools.combinations(others, size)
    ]
    contexts = {
        "base": [()],
        "full": [tuple(others)],
        "ends": [(), tuple(others)],
        "all": subsets,
    }[where]
    return float(
        np.mean(
            [
                game.value((*c, a, b)) - game.value((*c, a)) - game.value((*c, b)) + game.value(c)
                for c in contexts
            ]
        )
    )


@pytest.mark.parametrize(("design", "where"), PLACES.items())
def test_an_interaction_is_seen_where_the_design_looks(design: str, where: str) -> None:
    components = list(parse(SPEC))
    layout = lay_out(design, base_recipe(), components, interactions=["ra:ls"])
    (one,) = asked(layout)
    assert (one.label, one.component, one.kind, one.outcome) == ("ls x ra", None, None, "applied")
    assert (one.control, one.treatment) == (None, None)
    assert one.estimand == layout.contrasts[0].estimand
    assert sum(one.weights.values()) == pytest.approx(0)
    for seed in range(3):
        game = draw(components, 4, seed)
        assert game.answer(layout, one) == pytest.approx(beyond(game, components, where))


@pytest.mark.parametrize("design", PLACES)
def test_the_other_contrasts_are_the_same_with_and_without(design: str) -> None:
    components = parse(SPEC)
    layout = lay_out(design, base_recipe(), components, interactions=["ls:ra", "se:sd"])
    without = lay_out(design, base_recipe(), components)
    assert [one.label for one in asked(layout)] == ["ls x ra", "sd x se"]
    assert [one for one in layout.contrasts if one.component is not None] == list(without.contrasts)


def test_of_levels_every_pair_is_asked_for() -> None:
    components: list[Component | Levels] = [at_levels(0, 1, 2), *parse("ls,se")]
    layout = lay_out("one-at-a-time", base_recipe(), components, interactions=["part:ls"])
    assert [one.label for one in asked(layout)] == [
        f"{part} x ls" for part in alternatives(components)[0]
    ]


def test_a_screen_answers_where_its_arms_can_tell() -> None:
    components = parts(4)  # 16 arms: every combination
    layout = lay_out("screen", base_recipe(), components, interactions=[pair(0, 2)])
    (one,) = asked(layout)
    game = draw(components, 2)
    assert game.answer(layout, one) == pytest.approx(beyond(game, components, "all"))


def test_a_screen_refuses_what_its_arms_cannot_tell() -> None:
    words = "the 24 arms of this screen cannot tell it from other interactions: ask fact"
    with pytest.raises(RecipeError, match=words):
        lay_out("screen", base_recipe(), parts(11), interactions=[pair(0, 2)])


def test_auto_leaves_out_what_cannot_tell_it() -> None:
    layout = lay_out("auto", base_recipe(), parts(11), interactions=[pair(0, 2)], budget=30)
    assert layout.design in ("bracket", "shapley")
    assert any("cannot tell it from other interactions" in note for note in layout.notes)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["ra:sdd"], ["'ra:sdd': 'sdd' not among the components of the request, ls, sd, ra, se,"]),
        (["ra"], ["'ra': give two of the components ls, sd, ra, se, resnetd, as A:B"]),
        (["ra:ra"], ["--interaction 'ra:ra': give two different components"]),
        (["do:cos", "ra:"], ["'do' and 'cos' not among", "'' not among"]),
    ],
)  # fmt: skip
def test_pairs_that_are_none_are_told_together(texts: list[str], told: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        lay_out("ladder", base_recipe(), parse(SPEC), interactions=texts)
    assert len(caught.value.problems) == len(told)
    for problem, words in zip(caught.value.problems, told, strict=True):
        assert words in problem


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(RecipeError, match="did you mean 'resnetd'"):
        lay_out("ladder", base_recipe(), parse(SPEC), interactions=["resnet:ls"])


def test_blocks_refuse_single_components() -> None:
    with pytest.raises(RecipeError, match="blocks asks about the two sides"):
        lay_out("blocks", base_recipe(), parse(SPEC), interactions=["ls:se"])


def test_two_that_never_meet_have_no_interaction() -> None:
    components = [*parts(2), *at_levels(0, 2, 3).alternatives[:1]]
    with pytest.raises(RecipeError, match="they are never in one arm: .*keep one of them"):
        lay_out("one-at-a-time", base_recipe(), components, interactions=[pair(0, 0, 2)])


def test_what_is_not_trained_is_told() -> None:
    base = base_recipe(se_ratio="present")
    layout = lay_out("ladder", base, parse(SPEC), interactions=["se:ls"])
    (one,) = asked(layout)
    assert (one.outcome, dict(one.weights)) == ("already_present", {})
    assert one.reason == "se: the backbone's se_ratio: present"


def pair(first: int, second: int, level: int = 1) -> str:
    """Return two parts as a user with components of his own writes them."""
    a = parts(first + 1)[-1]
    b = at_levels(second, level, 99).alternatives[0]
    return f"{a}:{b}"
