"""Auto: within the budget, for the question, by the error that is to be expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ablations.designs import lay_out
from ablations.designs.expected import alias_matrices, error_df, expected_error, variances
from ablations.designs.inquiry import Inquiry
from ablations.designs.stacks import Stacks
from ablations.plans import ESTIMANDS, Layout
from ablations.priors import INTERACTION_SD, SEED_SD
from ablations.randomised_block import fit_blocks
from recipes import Component, Levels, RecipeError, load, parse, trajectory
from tests.ablations.designs.games import (
    Game,
    Part,
    alternatives,
    at_levels,
    base_recipe,
    parts,
    truth,
)


def root_mean_square_errors(
    layout: Layout, count: int, seeds: int, *, pairwise: float, noise: float, games: int
) -> float:
    """Return a layout's error over random games of `count` parts: no code of its own side.

    Games have effects of sd 0.5 and interactions of all pairs of sd `pairwise`; the true effect
    over all combinations of the others is the main effect and half of each interaction.
    """
    random = np.random.default_rng(7)
    names = [str(one) for one in parts(count)]
    inside = np.array(
        [[name in map(str, arm.components) for name in names] for arm in layout.arms], dtype=float
    )
    runs = np.array(list(layout.seeds_by_arm(seeds).values()))
    together = random.normal(0, pairwise, (games, count, count))
    together = np.triu(together, 1) + np.triu(together, 1).transpose(0, 2, 1)
    effects = random.normal(0, 0.5, (games, count))
    values = effects @ inside.T + np.einsum("ai,gij,aj->ga", inside, together, inside) / 2
    values += random.normal(0, 1, values.shape) * noise / np.sqrt(runs)
    true = effects + together.sum(axis=2) / 2
    places = {arm.name: place for place, arm in enumerate(layout.arms)}
    weights = np.zeros((count, len(places)))
    for row, contrast in enumerate(layout.contrasts[:count]):
        for arm, weight in contrast.weights.items():
            weights[row, places[arm]] = weight
    return float(np.sqrt(np.mean((values @ weights.T - true) ** 2)))


def runs(layout: Layout, seeds: int = 3) -> int:
    return sum(layout.seeds_by_arm(seeds).values())


def test_eleven_components_and_24_runs() -> None:
    # The ladder's error is half of every pair with the components before it, less half of those
    # after: sd 0.3 * sqrt(10) / 2 = 0.47, and the noise of 2 seeds.
    base, components = base_recipe(), parts(11)
    auto = lay_out("auto", base, components, question="average_over_others", budget=24, noise=0.1)
    ladder = lay_out("ladder", base, components, seeds=2)
    assert runs(auto) == runs(ladder, 2) == 24
    for pairwise in (0.0, 0.15, 0.3):
        ours, theirs = (
            root_mean_square_errors(one, 11, 2, pairwise=pairwise, noise=0.1, games=400)
            for one in (auto, ladder)
        )
        assert ours < 0.05
        assert ours < theirs
        if pairwise == 0.3:
            assert ours < theirs / 3
    assert any("24 runs leave 1 error degrees of freedom" in note for note in auto.notes)
    assert any("--budget 34 would do" in note for note in auto.notes)


@pytest.mark.parametrize("budget", [6, 12, 18, 24, 36])
def test_the_choice_is_never_worse_than_the_ladder(budget: int) -> None:
    base, components = base_recipe(), parts(5)
    auto = lay_out("auto", base, components, budget=budget)
    ladder = lay_out("ladder", base, components, seeds=budget // 6)
    for pairwise in (0.0, 0.3):
        ours, theirs = (
            root_mean_square_errors(one, 5, budget // 6, pairwise=pairwise, noise=0.15, games=2000)
            for one in (auto, ladder)
        )
        assert ours < 1.02 * theirs


@pytest.mark.parametrize(
    ("design", "seeds", "budget"),
    [("ladder", 2, None), ("bracket", 1, None), ("screen", 3, 14), ("shapley", 2, None)],
)
def test_the_expected_error_is_that_of_games(design: str, seeds: int, budget: int | None) -> None:
    base, components = base_recipe(), parts(6)
    layout = lay_out(design, base, components, seeds=seeds, budget=budget)
    expected = expected_error(inquiry(components, "average_over_others", seeds), layout)
    found = root_mean_square_errors(
        layout, 6, seeds, pairwise=INTERACTION_SD, noise=SEED_SD, games=20_000
    )
    assert expected == pytest.approx(found, rel=0.02)


MIXED: list[Component | Levels] = [at_levels(0, 1, 2), Part(1), Part(2), at_levels(3, 1, 2, 3)]


@pytest.mark.parametrize(
    ("design", "question"),
    [("ladder", "in_order"), ("one-at-a-time", "alone"), ("leave-one-out", "in_recipe"),
     *(("factorial", question) for question in ESTIMANDS), ("shapley", "average_over_others")],
)  # fmt: skip
def test_a_pair_moves_an_effect_as_the_matrix_says(design: str, question: str) -> None:
    layout = lay_out(design, base_recipe(), MIXED, question=question)
    everything = [one for group in alternatives(MIXED) for one in group]
    matrices = alias_matrices(inquiry(MIXED, question, 3), layout, layout.contrasts)
    for a, b in ((0, 2), (1, 3), (2, 5), (0, 6)):
        pair = {frozenset((str(everything[a]), str(everything[b]))): 1.0}
        game = Game(effects={str(one): 0.0 for one in everything}, together=pair)
        for one, contrast, matrix in zip(everything, layout.contrasts, matrices, strict=True):
            moved = game.answer(layout, contrast) - truth(game, MIXED, one, question)
            assert matrix[a, b] == matrix[b, a] == pytest.approx(moved, abs=1e-12)


@pytest.mark.parametrize("budget", [12, 14, 18, 40])
def test_variances_and_degrees_of_freedom_are_those_of_the_fit(budget: int) -> None:
    components: list[Component | Levels] = [*parts(4), at_levels(5, 1, 2)]
    layout = lay_out("screen", base_recipe(), components, budget=budget)
    cells = {arm: dict.fromkeys(range(n), 0.0) for arm, n in layout.seeds_by_arm(1).items()}
    fit = fit_blocks(cells, {})
    found = variances(layout, layout.contrasts, 1)
    for contrast, variance in zip(layout.contrasts, found, strict=True):
        loads = fit.loads(contrast.weights)
        assert loads is not None and loads.variance == pytest.approx(float(variance))
    assert error_df(layout, 1) == fit.spread.error_df


def test_arms_of_one_training_have_one_error() -> None:
    tiny = load("tiny")
    layout = lay_out("auto", tiny, parse("ls,ema"), question="average_over_others", budget=12)
    trainings = {arm.name: trajectory(arm.recipe) for arm in layout.arms}
    assert len(set(trainings.values())) < len(layout.arms)
    cells = {
        arm: {seed: 80.0 + seed * place for seed in range(n)}
        for place, (arm, n) in enumerate(layout.seeds_by_arm(1).items())
    }
    assert error_df(layout, 1) == fit_blocks(cells, trainings).spread.error_df
    assert any("a verdict needs 6: --budget 16 would do" in note for note in layout.notes)


@pytest.mark.parametrize(
    ("question", "design"),
    [("alone", "one-at-a-time"), ("in_recipe", "leave-one-out"), ("in_order", "ladder")],
)
def test_a_question_about_one_context_gets_its_design_and_its_seeds(
    question: str, design: str
) -> None:
    layout = lay_out("auto", base_recipe(), parts(8), question=question, seeds=4)
    assert (layout.design, layout.seeds, layout.contrasts[0].estimand) == (design, 4, question)


def test_the_average_costs_no_more_than_the_ladder() -> None:
    for seeds in (1, 2, 3, 5):
        layout = lay_out("auto", base_recipe(), parts(5), seeds=seeds)
        assert runs(layout) <= 6 * seeds
        assert layout.contrasts[0].estimand == "average_over_others"


def test_verdicts_are_preferred_where_they_cost_little() -> None:
    layout = lay_out("auto", base_recipe(), parts(4), budget=20)
    assert error_df(layout, 3) >= 6
    enough = lay_out("auto", base_recipe(), parts(11), budget=36)
    assert set(enough.replicates.values()) == {7}
    assert not any("a verdict needs" in note for note in enough.notes)


def test_why_is_told_with_the_numbers_of_each_design() -> None:
    layout = lay_out("auto", base_recipe(), parts(11), budget=30)
    why, *others = [note for note in layout.notes if "auto" in note or "within" in note]
    assert why.startswith("auto chose screen: error to expect of average_over_others within 30 run")
    for words in ("screen 0.06 (24 arms, 30 runs, 3 error df)", "shapley 0.", "bracket 0."):
        assert words in why
    assert others == ["not within 30 runs: factorial of 11 components has 2048 arms"]


@pytest.mark.parametrize(
    ("question", "least", "design"),
    [("average_over_others", 12, "screen"), ("alone", 12, "one-at-a-time"),
     ("in_recipe", 13, "leave-one-out"), ("in_order", 12, "ladder")],
)  # fmt: skip
def test_too_few_runs_are_told_with_the_least_number(
    question: str, least: int, design: str
) -> None:
    words = rf"--budget 11: {question} of these components takes at least {least} runs \({design}\)"
    with pytest.raises(RecipeError, match=words):
        lay_out("auto", base_recipe(), parts(11), question=question, budget=11)
    layout = lay_out("auto", base_recipe(), parts(11), question=question, budget=least)
    assert (layout.design, runs(layout)) == (design, least)


def test_components_that_never_meet_leave_the_designs_in_which_they_need_not() -> None:
    components: list[Component | Levels] = [Part(0), Part(0, 2), Part(1)]
    assert lay_out("auto", base_recipe(), components).design == "screen"
    assert lay_out("auto", base_recipe(), components, question="alone").design == "one-at-a-time"
    with pytest.raises(RecipeError, match="keep one of them"):
        lay_out("auto", base_recipe(), components, question="in_recipe")


def inquiry(components: Sequence[Component | Levels], question: str, seeds: int) -> Inquiry:
    stacks = Stacks(base_recipe(), alternatives(components))
    return Inquiry(stacks=stacks, question=question, seeds=seeds)
