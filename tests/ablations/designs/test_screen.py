"""Screens: fold-overs that pairs do not bias, D-optimal rows of legal arms, replicates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ablations.designs import lay_out
from ablations.designs.aliases import of_folded
from ablations.designs.rows import folded, plackett_burman_size
from ablations.designs.stacks import Stacks
from ablations.plans import Layout
from ablations.randomised_block import fit_blocks
from recipes import Component, Kind, Levels, Recipe, RecipeError, parse
from tests.ablations.designs.games import (
    Part,
    alternatives,
    at_levels,
    base_recipe,
    draw,
    parts,
    truth,
)

# 0 and 1 write one leaf; a fourth has levels.
MIXED: list[Component | Levels] = [Part(0), Part(0, 2), Part(2), at_levels(3, 1, 2, 3), Part(4)]


@dataclass(frozen=True)
class SameDropout(Component):
    """Set what dropout sets, and nothing else."""

    key, kind = "same", Kind.REGULARIZATION

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Set the leaf."""
        return parse("do")[0].edits(recipe)


def signs(rows: tuple[tuple[int, ...], ...]) -> np.ndarray:
    return 2 * np.array(rows) - 1


@pytest.mark.parametrize("factors", [*range(1, 13), 16, 20, 24, 27])
def test_a_fold_over_of_plackett_and_burman_is_balanced_and_clear(factors: int) -> None:
    rows = folded(factors, min(plackett_burman_size(factors), 2 ** (factors - 1)))
    table = signs(rows)
    assert len(set(rows)) == len(rows)
    assert rows[0] == (0,) * factors and rows[1] == (1,) * factors
    assert np.array_equal(table.T @ table, len(rows) * np.eye(factors))
    pairs = [table[:, a] * table[:, b] for a, b in itertools.combinations(range(factors), 2)]
    assert not any((table.T @ pair).any() for pair in pairs)


def test_the_smallest_size_is_taken() -> None:
    sizes = {factors: plackett_burman_size(factors) for factors in (3, 4, 7, 8, 11, 12, 19, 23)}
    assert sizes == {3: 4, 4: 8, 7: 8, 8: 12, 11: 12, 12: 16, 19: 20, 23: 24}
    assert plackett_burman_size(27) == 32  # pydoe has none of 28


@pytest.mark.parametrize(("factors", "half"), [(5, 5), (5, 6), (7, 7), (11, 11), (3, 3)])
def test_a_smaller_fold_over_is_clear_too(factors: int, half: int) -> None:
    rows = folded(factors, half)
    table = signs(rows)
    assert len(set(rows)) == 2 * half
    assert np.linalg.matrix_rank(table) == factors
    effects = np.linalg.pinv(np.column_stack([np.ones(len(rows)), table]))[1:]
    for a, b in itertools.combinations(range(factors), 2):
        assert np.allclose(effects @ (table[:, a] * table[:, b]), 0)


def test_a_fold_over_of_four_rows_finds_hadamard_s() -> None:
    table = signs(folded(4, 4))
    assert np.array_equal(table.T @ table, 8 * np.eye(4))  # the largest determinant that there is


@pytest.mark.parametrize("count", [3, 6, 10, 11])
def test_base_and_full_are_arms_and_every_arm_has_its_mirror_image(count: int) -> None:
    components = parts(count)
    layout = lay_out("screen", base_recipe(), components)
    inside = [frozenset(map(str, arm.components)) for arm in layout.arms]
    everything = frozenset(map(str, components))
    assert inside[:2] == [frozenset(), everything]
    assert set(inside) == {everything - one for one in inside}


def test_eleven_components_take_24_arms_and_weigh_them_alike() -> None:
    layout = lay_out("screen", base_recipe(), parts(11))
    assert len(layout.arms) == 24
    for one in layout.contrasts:
        assert np.allclose(np.abs(list(one.weights.values())), 1 / 12)
        assert len(one.weights) == 24
    assert layout.aliases[0].startswith("every effect is clear of every two-way interaction")
    assert "990 pairs of two-way interactions overlap by 0.33" in layout.aliases[1]


def test_the_alias_table_names_what_cannot_be_told_apart() -> None:
    # Columns a, b, c and abc in 8 runs, the textbook's 2^(4-1) of resolution IV.
    half = np.array(list(itertools.product((-1, 1), repeat=3)))
    table = np.column_stack([half, half.prod(axis=1)]).astype(float)
    _, line = of_folded(table, ["a", "b", "c", "d"])
    assert line == (
        "interactions that cannot be told apart: a x b = c x d; a x c = b x d; a x d = b x c"
    )
    full = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    assert of_folded(full, "abc")[1] == "two-way interactions are clear of each other"


@pytest.mark.parametrize("budget", [8, 9, 12, 16, 20, 200])
def test_every_arm_is_legal(budget: int) -> None:
    base = base_recipe()
    layout = lay_out("screen", base, MIXED, budget=budget)
    groups = alternatives(MIXED)
    for arm in layout.arms:
        assert all(sum(one in group for one in arm.components) <= 1 for group in groups)
        numbers = [one.number for one in arm.components if isinstance(one, Part)]
        assert len(set(numbers)) == len(numbers)
    assert layout.arms[0].components == ()
    assert len({arm.name for arm in layout.arms}) == len(layout.arms) <= budget
    game = draw(MIXED, 1)
    for one, contrast in zip((x for group in groups for x in group), layout.contrasts, strict=True):
        assert game.answer(layout, contrast) == pytest.approx(game.effects[str(one)])
    told = " ".join([*layout.notes, *layout.aliases])
    assert "not of resolution IV" in told and "(fold-over, resolution IV)" not in told


def test_what_is_present_beside_others_is_not_beside_them() -> None:
    components = [*parse("do,ls"), Part(0), SameDropout()]
    stacks = Stacks(base_recipe(), [(one,) for one in components])
    assert "already present" in stacks.apart(components[0], components[3])
    layout = lay_out("screen", base_recipe(), components)
    for arm in layout.arms:
        assert not {"do", "same"} <= {one.key for one in arm.components}
        assert stacks.is_legal(arm.components)
    assert any("do" in {one.key for one in arm.components} for arm in layout.arms)
    assert any("beside do is already present" in note for note in layout.notes)


def test_the_alias_matrix_is_what_an_interaction_does() -> None:
    layout = lay_out("screen", base_recipe(), MIXED, budget=10)
    pair = (Part(2), Part(4))
    game = draw(MIXED, 1)
    with_pair = draw(MIXED, 1)
    with_pair = type(game)(effects=game.effects, together={frozenset(map(str, pair)): 1.0})
    label = f"{pair[0]} x {pair[1]}"
    for one, line in zip(
        (x for group in alternatives(MIXED) for x in group), layout.aliases[1:], strict=True
    ):
        contrast = next(found for found in layout.contrasts if found.label == f"+{one}")
        moved = with_pair.answer(layout, contrast) - truth(
            with_pair, MIXED, one, "average_over_others"
        )
        assert line.startswith(f"+{one}: ")
        if abs(moved) > 0.01:
            assert f"{moved:+.2f} {label}" in line or " more of at most " in line
        else:
            assert label not in line


def test_a_design_of_all_legal_arms_is_found() -> None:
    layout = lay_out("screen", base_recipe(), [Part(0), Part(0, 2), Part(1)], budget=100)
    assert len(layout.arms) == 6  # off or one of two, times off or on


def errors(layout: Layout) -> int:
    """Return the degrees of freedom of the error in the fit that will be made."""
    cells = {arm: dict.fromkeys(range(n), 0.0) for arm, n in layout.seeds_by_arm(3).items()}
    return fit_blocks(cells, {}).spread.error_df


def test_one_seed_reserves_replicates_of_base_and_full() -> None:
    layout = lay_out("screen", base_recipe(), parts(11), seeds=1)
    full = layout.arms[1].name
    assert (layout.seeds, dict(layout.replicates)) == (1, {"base": 7, full: 7})
    assert errors(layout) == 6
    assert lay_out("screen", base_recipe(), parts(11), seeds=2).replicates == {}


@pytest.mark.parametrize(
    ("budget", "again", "told"), [(36, 7, None), (40, 7, None), (28, 3, "--budget 36 would do")]
)
def test_the_budget_pays_replicates(budget: int, again: int, told: str | None) -> None:
    layout = lay_out("screen", base_recipe(), parts(11), budget=budget)
    assert set(layout.replicates.values()) == {again}
    assert errors(layout) == again - 1
    assert any("a verdict needs 6" in note for note in layout.notes) == (told is not None)
    assert told is None or any(told in note for note in layout.notes)


def test_fewer_runs_than_effects_and_base_are_refused() -> None:
    with pytest.raises(RecipeError, match="--budget 11: screen takes at least 12 runs"):
        lay_out("screen", base_recipe(), parts(11), budget=11)
    assert len(lay_out("screen", base_recipe(), parts(11), budget=12).arms) == 12
