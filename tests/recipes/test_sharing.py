"""Which recipes one training serves."""

from __future__ import annotations

import pytest

from recipes import edit, linear, load, parse, stack, trajectory
from recipes.sharing import serves, together, trained_for

BASE = load("tiny")
AVERAGED = stack(BASE, parse("ema"))


def test_an_average_is_read_off_the_training_of_its_parent():
    recipes = [BASE, stack(BASE, parse("ls")), AVERAGED, stack(BASE, parse("ls,ema"))]
    assert together(recipes) == [(0, 2), (1, 3)]


def test_every_recipe_is_in_one_group_whatever_the_order():
    recipes = [edit(AVERAGED, {"optim.ema_decay": 0.9}), BASE, stack(BASE, parse("ra")), AVERAGED]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        groups = together([recipes[place] for place in order])
        assert sorted(place for group in groups for place in group) == [0, 1, 2, 3]
        assert sorted(len(group) for group in groups) == [1, 3]
        for group in groups:
            assert len({trajectory(recipes[order[place]]) for place in group}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate.resolution": 24},  # its images would have to be prepared anew
        {"optim.ema_decay": linear(0.5, 0.9)},  # a knob moves one average
        {"optim.ema_decay": 0.9, "model.bn_momentum": 0.3},  # averages statistics nobody kept
    ],
    ids=str,
)
def test_what_the_training_does_not_hold_is_trained_alone(changes):
    other = edit(AVERAGED, changes)
    assert trajectory(other) == trajectory(BASE)
    assert not serves(AVERAGED, other)
    assert together([AVERAGED, other]) == [(0,), (1,)]


def test_the_statistics_of_any_momentum_follow_from_those_of_single_batches_only():
    other = edit(BASE, {"model.bn_momentum": 0.3})
    assert serves(AVERAGED, other)
    assert not serves(BASE, other)
    assert trained_for([BASE, other, AVERAGED]) == 2
    with pytest.raises(ValueError, match="cannot be read off one training"):
        trained_for([BASE, other])
