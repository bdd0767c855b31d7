from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from ablations.designs import DESIGNS, FACTORIAL_LIMIT, lay_out
from ablations.plans import COMPONENTS, Contrast, Layout
from recipes import Component, RecipeError, edit, fingerprint, parse, stack
from tests.ablations.designs.games import base_recipe

SPECS = ("ls", "se", "ls,se", "se,ls", "ls,sd,ra,se,resnetd", "se,ls,resnetd,sd", "cos,epochs,ema")
MEETING = tuple(name for name in DESIGNS if name not in ("one-at-a-time", "screen", "auto"))


def names(layout: Layout) -> list[str]:
    return [arm.name for arm in layout.arms]


def contrast(layout: Layout, component: str) -> Contrast:
    return next(one for one in layout.contrasts if one.component == component)


def all_weights(layout: Layout) -> list[dict[str, float]]:
    split = layout.split
    groups = [split.by_ladder, split.by_blocks or {}]
    return [
        *(dict(one.weights) for one in layout.contrasts),
        *(dict(weights) for group in groups for weights in group.values()),
    ]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("design", DESIGNS)
def test_laws_of_every_design(design: str, spec: str) -> None:
    base, components = base_recipe(), parse(spec)
    if design == "blocks" and len({one.kind.side for one in components}) == 1:
        with pytest.raises(RecipeError, match="all that applies here is"):
            lay_out(design, base, components)
        return
    layout = lay_out(design, base, components)
    assert layout.design == design or design == "auto"
    assert layout.arms[0].name == "base" and layout.arms[0].recipe == base
    # An arm is what its name says, and no two arms are one recipe or have one name.
    for arm in layout.arms:
        assert arm.name == (",".join(map(str, arm.components)) or "base")
        assert arm.recipe == stack(base, arm.components)
    assert len({fingerprint(arm.recipe) for arm in layout.arms}) == len(layout.arms)
    assert len(set(names(layout))) == len(layout.arms)
    # One declared contrast per component, in the order of the request, over arms of the layout.
    declared = [one for one in layout.contrasts if one.family == COMPONENTS]
    if design != "blocks":  # which asks for the split only
        assert [one.label for one in declared] == [f"+{one}" for one in components]
        assert [one.kind for one in declared] == [one.kind for one in components]
    for weights in all_weights(layout):
        assert set(weights) <= set(names(layout))
        assert sum(weights.values()) == pytest.approx(0, abs=1e-12)
        # A contrast is in the unit of one difference: 1 on each side (interaction: 2).
        total = sum(abs(one) for one in weights.values())
        assert any(total == pytest.approx(size) for size in (0, 2, 4))
    for one in layout.contrasts:
        if one.control is not None:
            assert one.weights == {one.control: -1.0, one.treatment: 1.0}


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_are_pure(design: str) -> None:
    base, components = base_recipe(), parse("ls,sd,se")
    assert lay_out(design, base, components) == lay_out(design, base, components)
    assert base == base_recipe()


def test_ladder_puts_each_on_top_of_those_before() -> None:
    layout = lay_out("ladder", base_recipe(), parse("ls,sd,se"))
    assert names(layout)[:4] == ["base", "ls", "ls,sd", "ls,sd,se"]
    assert [(one.control, one.treatment) for one in layout.contrasts] == [
        ("base", "ls"),
        ("ls", "ls,sd"),
        ("ls,sd", "ls,sd,se"),
    ]
    assert {one.estimand for one in layout.contrasts} == {"in_order"}
    assert layout.split.by_ladder == {
        "training": {"base": -1.0, "ls,sd": 1.0},
        "architecture": {"ls,sd": -1.0, "ls,sd,se": 1.0},
    }


@pytest.mark.parametrize(
    ("spec", "added"),
    [
        ("ls,sd,se,resnetd", ["se,resnetd"]),  # training first: none, T and both are rungs
        ("ls,se,sd,resnetd", ["ls,sd", "se,resnetd"]),
        ("se,resnetd,ls,sd", ["ls,sd"]),  # architecture first: A is a rung
        ("ls,sd", []),
        ("se,resnetd", []),
    ],
)
def test_blocks_add_the_arms_that_the_ladder_lacks(spec: str, added: list[str]) -> None:
    components = parse(spec)
    layout = lay_out("ladder", base_recipe(), components)
    assert names(layout)[len(components) + 1 :] == added
    assert (layout.split.by_blocks is None) == (not added)


def test_ladder_sides_sum_to_last_minus_base_in_any_order() -> None:
    for order in itertools.permutations(parse("ls,sd,se,resnetd")):
        layout = lay_out("ladder", base_recipe(), order)
        total: dict[str, float] = {}
        for side in layout.split.by_ladder.values():
            for arm, weight in side.items():
                total[arm] = total.get(arm, 0.0) + weight
        last = layout.contrasts[-1].treatment
        assert {arm: one for arm, one in total.items() if one} == {"base": -1.0, last: 1.0}


def test_blocks_are_the_two_by_two_of_none_training_architecture_and_both() -> None:
    layout = lay_out("ladder", base_recipe(), parse("ls,sd,se,resnetd"))
    means = {"base": 70.0, "ls,sd": 73.0, "se,resnetd": 71.0, "ls,sd,se,resnetd": 75.0}
    assert layout.split.by_blocks is not None
    effects = {
        name: sum(weight * means[arm] for arm, weight in weights.items())
        for name, weights in layout.split.by_blocks.items()
    }
    assert effects == {"training": 3.5, "architecture": 1.5, "interaction": 1.0}


def test_one_at_a_time_compares_with_the_base() -> None:
    layout = lay_out("one-at-a-time", base_recipe(), parse("ls,sd,se"))
    assert names(layout) == ["base", "ls", "sd", "se"]
    assert {one.control for one in layout.contrasts} == {"base"}
    assert {one.estimand for one in layout.contrasts} == {"alone"}
    assert layout.split.by_blocks is None


def test_leave_one_out_shares_the_full_arm() -> None:
    layout = lay_out("leave-one-out", base_recipe(), parse("ls,sd,se"))
    assert sorted(names(layout)) == sorted(["base", "ls,sd,se", "sd,se", "ls,se", "ls,sd"])
    assert {one.treatment for one in layout.contrasts} == {"ls,sd,se"}
    assert contrast(layout, "sd").control == "ls,se"
    assert {one.estimand for one in layout.contrasts} == {"in_recipe"}


def test_leave_one_out_of_one_of_each_side_has_the_blocks_for_nothing() -> None:
    layout = lay_out("leave-one-out", base_recipe(), parse("ls,se"))
    assert len(layout.arms) == 4
    assert layout.split.by_blocks is not None


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_factorial_trains_every_subset(count: int) -> None:
    layout = lay_out("factorial", base_recipe(), parse("ls,sd,se,resnetd")[:count])
    assert len(layout.arms) == 2**count
    for one in layout.contrasts:
        assert len(one.weights) == 2**count
        assert (one.control, one.treatment) == (None, None)
        for arm in layout.arms:
            inside = one.component in {component.key for component in arm.components}
            assert one.weights[arm.name] == (1 if inside else -1) / 2 ** (count - 1)


def test_a_factorials_arms_stand_in_the_order_that_names_older_studies() -> None:
    # The default name of a study digests its runs in order: another order opens a second study.
    names = [arm.name for arm in lay_out("factorial", base_recipe(), parse("ls,sd,se")).arms]
    assert names == ["base", "ls", "sd", "se", "ls,sd", "ls,se", "sd,se", "ls,sd,se"]


def test_factorial_refuses_more_arms_than_anybody_trains() -> None:
    spec = "cos,epochs,ls,sd,ra,do,se"
    with pytest.raises(RecipeError, match="factorial of 7 components has 128 arms; at most 64"):
        lay_out("factorial", base_recipe(), parse(spec))
    assert FACTORIAL_LIMIT == 2**6


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("status", ["present", "cannot"])
def test_what_cannot_be_added_is_told_and_not_trained(design: str, status: str) -> None:
    base = base_recipe(se_ratio=status)
    layout = lay_out(design, base, parse("ls,se,sd,resnetd"))
    without = lay_out(design, base, parse("ls,sd,resnetd"))
    assert set(names(layout)) == set(names(without))
    told = contrast(layout, "se")
    assert told.outcome == {"present": "already_present", "cannot": "not_applicable"}[status]
    assert told.reason == f"the backbone's se_ratio: {status}"
    assert (told.control, told.treatment, dict(told.weights)) == (None, None, {})
    others = [one for one in layout.contrasts if one.component != "se"]
    assert others == list(without.contrasts)


def test_a_component_that_the_recipe_has_is_already_present() -> None:
    base = edit(base_recipe(), {"loss.label_smoothing": 0.1})
    layout = lay_out("ladder", base, parse("ls,sd"))
    assert contrast(layout, "ls").outcome == "already_present"
    assert names(layout) == ["base", "sd"]


def test_two_orders_of_components_that_commute_are_one_arm() -> None:
    forward = lay_out("ladder", base_recipe(), parse("ls,sd"))
    backward = lay_out("ladder", base_recipe(), parse("sd,ls"))
    assert forward.arms[-1].name == "ls,sd" and backward.arms[-1].name == "sd,ls"
    assert fingerprint(forward.arms[-1].recipe) == fingerprint(backward.arms[-1].recipe)


def test_edits_are_those_of_the_component_in_its_context() -> None:
    layout = lay_out("ladder", base_recipe(), parse("ls(0.2),se"))
    assert contrast(layout, "ls").label == "+ls(epsilon=0.2)"
    assert contrast(layout, "ls").edits == {"loss.label_smoothing": 0.2}


@pytest.mark.parametrize("design", MEETING)
def test_two_components_that_contradict_each_other_are_refused(design: str) -> None:
    components: Sequence[Component] = [*parse("ls"), *parse("ls(epsilon=0.2)")]
    with pytest.raises(
        RecipeError,
        match=r"ls sets loss.label_smoothing = 0.1 and ls\(epsilon=0.2\) sets it to 0.2",
    ):
        lay_out(design, base_recipe(), components)


def test_an_unknown_design_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no design 'lader': .*ladder.*did you mean 'ladder'"):
        lay_out("lader", base_recipe(), parse("ls"))
