"""What every design says of a game without noise, against the definition of its question."""

from __future__ import annotations

import pytest

from ablations.designs import DESIGNS, lay_out
from ablations.plans import COMPONENTS, DESCRIBED, ESTIMANDS, Layout
from recipes import Component, Levels, RecipeError, parse
from tests.ablations.designs.games import (
    alternatives,
    at_levels,
    base_recipe,
    draw,
    parts,
    truth,
)

ASKED = [(name, one) for name, design in DESIGNS.items() for one in design.answers]
LEVELS: list[Component | Levels] = [at_levels(0, 1, 2, 3), *parts(3)[1:], at_levels(3, 5, 4)]


def agree(layout: Layout, components: list[Component | Levels], order: int, question: str) -> bool:
    """Return whether every declared effect is the true one in games with such interactions."""
    declared = {
        one.label: one
        for one in layout.contrasts
        if one.family == COMPONENTS and one.component is not None
    }
    everything = [one for group in alternatives(components) for one in group]
    assert set(declared) == {f"+{one}" for one in everything}
    pairs = []
    for seed in range(3):
        game = draw(components, order, seed)
        for one in everything:
            contrast = declared[f"+{one}"]
            assert contrast.estimand == question
            pairs.append((game.answer(layout, contrast), truth(game, components, one, question)))
    return all(said == pytest.approx(true, abs=1e-9) for said, true in pairs)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(("design", "question"), ASKED)
def test_every_design_is_exact_on_additive_games(design: str, question: str, count: int) -> None:
    components = parts(count)
    layout = lay_out(design, base_recipe(), components, question=question)
    assert agree(layout, [*components], 1, question)


@pytest.mark.parametrize(("design", "question"), ASKED)
def test_every_design_is_exact_on_additive_games_with_levels(design: str, question: str) -> None:
    components = LEVELS[:-1] if design == "factorial" else LEVELS
    layout = lay_out(design, base_recipe(), components, question=question, budget=200)
    assert agree(layout, components, 1, question)


@pytest.mark.parametrize(
    ("design", "question", "order"),
    [
        ("ladder", "in_order", 5),
        ("one-at-a-time", "alone", 5),
        ("leave-one-out", "in_recipe", 5),
        *(("factorial", question, 5) for question in ESTIMANDS),
        ("bracket", "alone", 5),
        ("bracket", "in_recipe", 5),
        # Mean of first and last, orders with their mirror images, a fold-over: exact up to pairs.
        ("bracket", "average_over_others", 2),
        ("shapley", "average_over_others", 2),
        ("screen", "average_over_others", 2),
    ],
)
def test_what_interactions_leave_exact(design: str, question: str, order: int) -> None:
    components = parts(5)
    layout = lay_out(design, base_recipe(), components, question=question)
    assert agree(layout, [*components], order, question)
    if order == 2:
        assert not agree(layout, [*components], 3, question)


@pytest.mark.parametrize("design", ["ladder", "one-at-a-time", "leave-one-out", "factorial"])
def test_designs_of_one_context_are_exact_with_levels(design: str) -> None:
    components = LEVELS[:-1]
    layout = lay_out(design, base_recipe(), components)
    assert agree(layout, components, 3, layout.contrasts[0].estimand)


@pytest.mark.parametrize(("design", "question"), [("ladder", "alone"), ("screen", "in_recipe")])
def test_a_design_that_cannot_answer_is_refused_with_those_that_can(
    design: str, question: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        lay_out(design, base_recipe(), parts(3), question=question)
    able = [name for name, other in DESIGNS.items() if question in other.answers]
    told = str(caught.value)
    assert told.startswith(f"--question {question}: {design} asks ")
    assert told.endswith(f"designs that answer it are {', '.join(able)}")


def test_blocks_answer_no_question_about_components() -> None:
    with pytest.raises(RecipeError, match="blocks asks for the split only"):
        lay_out("blocks", base_recipe(), parse("ls,se"), question="alone")
    layout = lay_out("blocks", base_recipe(), parse("ls,sd,se,resnetd"))
    assert [arm.name for arm in layout.arms] == [
        "base", "ls,sd", "se,resnetd", "ls,sd,se,resnetd"
    ]  # fmt: skip
    assert layout.contrasts == ()
    assert layout.split.by_blocks is not None


def test_the_bracket_shows_its_ends_and_tests_what_is_asked() -> None:
    for question in ("average_over_others", "alone", "in_recipe"):
        layout = lay_out("bracket", base_recipe(), parts(3), question=question)
        families = {one.estimand: one.family for one in layout.contrasts}
        assert len(layout.arms) == 8 and len(layout.contrasts) == 9
        assert families.pop(question) == COMPONENTS
        assert set(families.values()) == {DESCRIBED}
        assert layout.contrasts[0].estimand == question


@pytest.mark.parametrize(
    ("design", "others"),
    [
        ("ladder", {"ra(magnitude=5)": "ls", "ra(magnitude=9)": "ls"}),
        ("leave-one-out", {"ra(magnitude=5)": "ls,se", "ra(magnitude=9)": "ls,se"}),
        ("one-at-a-time", {"ra(magnitude=5)": "base", "ra(magnitude=9)": "base"}),
    ],
)
def test_levels_stand_against_one_control(design: str, others: dict[str, str]) -> None:
    components = [*parse("ls"), Levels(parse("ra(magnitude=5)") + parse("ra(magnitude=9)"))]
    layout = lay_out(design, base_recipe(), [*components, *parse("se")])
    controls = {one.label[1:]: one.control for one in layout.contrasts if one.component == "ra"}
    assert controls == others
    named = [note for note in layout.notes if "the first level named: ra(magnitude=5)" in note]
    assert bool(named) == (design != "one-at-a-time")


def test_the_ladder_goes_on_with_the_first_level() -> None:
    components = [Levels(parse("ra(magnitude=5)") + parse("ra(magnitude=9)")), *parse("ls,se")]
    layout = lay_out("ladder", base_recipe(), components)
    first = lay_out("ladder", base_recipe(), parse("ra(magnitude=5),ls,se"))
    assert layout.split == first.split
    extra = {arm.name for arm in layout.arms} - {arm.name for arm in first.arms}
    assert extra == {"ra(magnitude=9)"}


def test_orders_of_fewer_runs_are_among_those_of_more() -> None:
    def arms(budget: int) -> set[str]:
        layout = lay_out("shapley", base_recipe(), parts(6), seeds=1, budget=budget)
        return {arm.name for arm in layout.arms}

    ladder = {arm.name for arm in lay_out("ladder", base_recipe(), parts(6)).arms}
    assert ladder <= arms(12) < arms(22) < arms(60)
    assert len(arms(12)) == 12


@pytest.mark.parametrize("design", ["ladder", "bracket", "factorial"])
def test_a_budget_that_does_not_pay_a_design_is_refused(design: str) -> None:
    with pytest.raises(RecipeError, match=rf"--budget 5: {design} takes \d+ arms x 3 seeds = \d+"):
        lay_out(design, base_recipe(), parts(3), budget=5)


@pytest.mark.parametrize("budget", [7, 8, 12, 13, 16, 20, 28, 40, 64, 200])
@pytest.mark.parametrize("design", ["screen", "shapley", "auto"])
def test_no_more_runs_than_the_budget(design: str, budget: int) -> None:
    try:
        layout = lay_out(design, base_recipe(), parts(6), budget=budget)
    except RecipeError as error:
        assert budget < 12 and design == "shapley"
        assert "shapley takes at least 12 runs" in str(error)
        return
    assert budget // 2 <= sum(layout.seeds_by_arm(99).values()) <= budget
