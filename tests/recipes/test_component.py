"""How one component meets one recipe: the three outcomes, kinds, conflicts, stacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from recipes import (
    AlreadyPresent,
    Applied,
    Component,
    Fact,
    Facts,
    Kind,
    NotApplicable,
    Recipe,
    RecipeError,
    apply,
    edit,
    fingerprint,
    hook,
    leaves,
    linear,
    parse,
    stack,
)
from recipes.component import check_conflicts
from recipes.components import (
    CosineLR,
    Dropout,
    LabelSmoothing,
    LongerTraining,
    RandAugment,
    ResNetD,
    SqueezeExcite,
    StochasticDepth,
    WeightAveraging,
    WeightDecay,
)


@dataclass(frozen=True)
class Writes(Component):
    """Set whatever the test says."""

    key, kind = "writes", Kind.REGULARIZATION
    what: tuple[tuple[str, Any], ...] = ()

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        return dict(self.what)


@dataclass(frozen=True)
class Forgets(Component):
    """Forget to return."""

    key, kind = "forgets", Kind.TRAINING

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:  # type: ignore[empty-body]
        pass


def _with_facts(recipe: Recipe, *facts: Fact, stages: int = 4, norm: bool = True) -> Recipe:
    probed = Facts(family="X", input_size=224, stages=stages, batch_norm=norm, leaves=facts)
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, facts=probed))


def test_applied_tells_exactly_the_leaves_that_changed(base: Recipe) -> None:
    outcome = apply(RandAugment(), edit(base, {"augment.randaug_magnitude": 15}))
    assert isinstance(outcome, Applied)
    assert set(outcome.edits) == {
        "augment.randaug_layers",
        "augment.randaug_space",
        "augment.randaug_solarize_wrap",
    }
    assert outcome.outcome == "applied"


def test_apply_leaves_the_input_alone(base: Recipe) -> None:
    before = leaves(base)
    apply(LabelSmoothing(), base)
    assert leaves(base) == before


def test_what_the_recipe_has_is_already_present(base: Recipe) -> None:
    outcome = apply(LabelSmoothing(), edit(base, {"loss.label_smoothing": 0.1}))
    assert outcome == AlreadyPresent(reason="the recipe has loss.label_smoothing = 0.1")
    assert outcome.outcome == "already_present"


@pytest.mark.parametrize(
    "component",
    [
        LongerTraining(factor=1.0),  # other provenance, same epochs
        RandAugment(layers=0),  # dependents of a switch that stays off
        StochasticDepth(rate=0.0),
        LabelSmoothing(epsilon=linear(0, 0)),
        WeightDecay(value=linear(1e-4, 1e-4)),
        WeightDecay(value=1e-4),
    ],
    ids=str,
)
def test_a_change_without_effect_is_never_called_applied(
    base: Recipe, component: Component
) -> None:
    assert isinstance(apply(component, base), AlreadyPresent)


def test_a_leaf_that_means_nothing_here_is_told_with_its_switch(base: Recipe) -> None:
    @dataclass(frozen=True)
    class Floor(Component):
        key, kind = "floor", Kind.TRAINING

        def edits(self, recipe: Recipe) -> dict[str, float]:
            return {"optim.epsilon": 0.5}

    found = apply(Floor(), base)
    assert isinstance(found, NotApplicable)
    assert found.reason == "optim.epsilon means nothing while optim.optimizer = sgd"


def test_another_strength_of_the_same_component_is_applied(base: Recipe) -> None:
    smoothed = edit(base, {"loss.label_smoothing": 0.1})
    assert isinstance(apply(LabelSmoothing(epsilon=0.2), smoothed), Applied)


def test_what_the_backbone_has_is_already_present(base: Recipe) -> None:
    fact = Fact(path="model.se_ratio", status="present", reason="its blocks have SE")
    outcome = apply(SqueezeExcite(), _with_facts(base, fact))
    assert outcome == AlreadyPresent(reason="its blocks have SE")


def test_what_the_backbone_cannot_take_is_not_applicable(base: Recipe) -> None:
    fact = Fact(path="model.resnet_d", status="cannot", reason="a ViT has no such stem")
    recipe = _with_facts(base, fact)
    outcome = apply(ResNetD(), recipe)
    assert outcome == NotApplicable(reason="a ViT has no such stem")
    assert outcome.outcome == "not_applicable"
    with pytest.raises(RecipeError, match="resnetd is not applicable: a ViT has no such stem"):
        stack(recipe, parse("ls,resnetd"))


def test_a_fact_about_another_leaf_does_not_matter(base: Recipe) -> None:
    fact = Fact(path="model.resnet_d", status="cannot", reason="no")
    assert isinstance(apply(SqueezeExcite(), _with_facts(base, fact)), Applied)


def test_cannot_is_stronger_than_present(base: Recipe) -> None:
    facts = (
        Fact(path="model.drop_path", status="present", reason="p"),
        Fact(path="model.drop_path_rule", status="cannot", reason="c"),
    )
    assert apply(StochasticDepth(), _with_facts(base, *facts)) == NotApplicable(reason="c")


def test_a_fact_may_be_about_some_values_of_a_leaf(base: Recipe) -> None:
    held = Fact(path="model.resnet_d_parts", status="present", reason="it has", values=("stem",))
    recipe = _with_facts(base, held)
    assert apply(ResNetD(parts="stem"), recipe) == AlreadyPresent(reason="it has")
    assert isinstance(apply(ResNetD(parts="pool"), recipe), Applied)
    assert isinstance(apply(ResNetD(), recipe), Applied)


def test_facts_about_what_is_asked_refine_those_about_its_switch(base: Recipe) -> None:
    whole = Fact(path="model.resnet_d", status="present", reason="all of it")
    parts = Fact(path="model.resnet_d_parts", status="present", reason="this", values=("stem",))
    recipe = _with_facts(base, whole, parts)
    assert apply(ResNetD(), recipe) == AlreadyPresent(reason="all of it")
    assert apply(ResNetD(parts="stem"), recipe) == AlreadyPresent(reason="this")
    assert isinstance(apply(ResNetD(parts="stem+stride"), recipe), Applied)
    cannot = Fact(path="model.resnet_d", status="cannot", reason="a ViT")
    assert apply(ResNetD(parts="pool"), _with_facts(base, cannot, parts)) == NotApplicable(
        reason="a ViT"
    )


def test_depth_without_stages_grows_block_by_block(base: Recipe) -> None:
    for stages, rule in ((0, "linear"), (4, "stage")):
        outcome = apply(StochasticDepth(), _with_facts(base, stages=stages))
        assert isinstance(outcome, Applied)
        assert outcome.recipe.model.drop_path_rule == rule
    outcome = apply(StochasticDepth(rule="linear"), base)
    assert isinstance(outcome, Applied)
    assert outcome.recipe.model.drop_path_rule == "linear"


def test_averaging_touches_norm_statistics_only_where_there_are_some(base: Recipe) -> None:
    for norm in (False, True):
        outcome = apply(WeightAveraging(), _with_facts(base, norm=norm))
        assert isinstance(outcome, Applied)
        assert ("model.bn_momentum" in outcome.edits) == norm


def test_longer_training_counts_from_the_base(base: Recipe) -> None:
    once = stack(base, [LongerTraining()])
    assert once.optim.epochs == round(9 * 350 / 90) == 35
    assert isinstance(apply(LongerTraining(), once), AlreadyPresent)
    twice = stack(once, [LongerTraining(factor=2.0)])
    assert twice.optim.epochs == 18


def test_longer_training_takes_the_paper_s_90_to_350(base: Recipe) -> None:
    assert stack(edit(base, {"optim.epochs": 90}), [LongerTraining()]).optim.epochs == 350


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ((), r"sets no leaf: edits\(\) must return at least one path"),
        ((("model.se_ratio", 0.25),), "is of kind regularization and may not write model.se_rat"),
        ((("model.se_ratio", 0.25),), "that kind may write .*loss.label_smoothing"),
        ((("data.resolution", 8),), "may not write data.resolution"),
        ((("loss.label_smothing", 0.1),), "no leaf 'loss.label_smothing'.*'loss.label_smoothing'"),
        ((("loss.label_smoothing", 2.0),), "loss.label_smoothing = 2 must be at least 0"),
        ((("custom.x", 3),), "custom leaf 3 is not a hook; make it with recipes.hook"),
    ],
)
def test_a_component_that_writes_wrongly_is_named(
    base: Recipe, what: tuple[tuple[str, Any], ...], words: str
) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        apply(Writes(what), base)
    assert "test_component:Writes" in str(caught.value)


def test_a_component_that_returns_nothing_is_told(base: Recipe) -> None:
    with pytest.raises(RecipeError, match="Forgets sets no leaf"):
        apply(Forgets(), base)
    with pytest.raises(RecipeError, match="Forgets sets no leaf"):
        stack(base, [Forgets()])


def test_all_wrong_values_of_a_component_are_told_together(base: Recipe) -> None:
    wrong = Writes((("loss.label_smoothing", 2), ("model.dropout", -1), ("optim.ema_decay", "x")))
    with pytest.raises(RecipeError) as caught:
        apply(wrong, base)
    assert len(caught.value.problems) == 3


def test_a_component_may_be_abstract_only_in_a_table() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Component()  # type: ignore[abstract]


def test_two_values_for_one_leaf_are_a_conflict(base: Recipe) -> None:
    both = [LabelSmoothing(), Writes((("loss.label_smoothing", 0.2), ("model.dropout", 0.1)))]
    with pytest.raises(RecipeError) as caught:
        stack(base, both)
    words = str(caught.value)
    assert words.startswith("ls sets loss.label_smoothing = 0.1 and ")
    assert words.endswith("sets it to 0.2: keep one of them")
    assert "Writes" in words


def test_every_conflict_is_told(base: Recipe) -> None:
    with pytest.raises(RecipeError) as caught:
        check_conflicts(
            base,
            [
                LabelSmoothing(),
                Dropout(),
                Writes((("loss.label_smoothing", 0.2), ("model.dropout", 0.1))),
            ],
        )
    assert len(caught.value.problems) == 2


def test_the_same_value_twice_is_no_conflict(base: Recipe) -> None:
    twice = stack(base, [LabelSmoothing(), Writes((("loss.label_smoothing", 0.1),))])
    assert twice == stack(base, [LabelSmoothing()])


def test_a_stack_is_the_components_in_turn(base: Recipe) -> None:
    recipe = base
    for component in (CosineLR(), LabelSmoothing(), SqueezeExcite()):
        outcome = apply(component, recipe)
        assert isinstance(outcome, Applied)
        recipe = outcome.recipe
    assert stack(base, parse("cos,ls,se")) == recipe
    assert stack(base, []) is base


def test_a_stack_passes_over_what_is_present(base: Recipe) -> None:
    once = stack(base, parse("ls,se"))
    assert stack(once, parse("ls,se")) == once


def test_components_are_values(base: Recipe) -> None:
    assert LabelSmoothing() == LabelSmoothing(0.1)
    assert LabelSmoothing() != Dropout(0.1)
    assert len({LabelSmoothing(), LabelSmoothing(0.1), LabelSmoothing(0.2)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        LabelSmoothing().epsilon = 0.2  # type: ignore[misc]


def test_only_arguments_that_differ_are_written() -> None:
    assert str(RandAugment(magnitude=10.0)) == "ra(magnitude=10)"
    assert str(RandAugment()) == "ra"


def test_a_hook_of_another_kind_is_refused(base: Recipe) -> None:
    blur = hook("batch", _blur, k=3)
    with pytest.raises(RecipeError, match="is of kind regularization and may not write custom.b"):
        apply(Writes((("custom.blur", blur),)), base)
    loss = hook("loss", _blur)
    outcome = apply(Writes((("custom.mine", loss),)), base)
    assert isinstance(outcome, Applied)
    assert fingerprint(outcome.recipe) != fingerprint(base)


def _blur(images: Any, targets: Any, k: int = 3) -> Any:
    return images, targets


def test_a_mistake_in_a_users_edits_names_the_component(base: Recipe) -> None:
    @dataclass(frozen=True)
    class Broken(Component):
        key, kind = "broken", Kind.TRAINING

        def edits(self, recipe: Recipe) -> Mapping[str, Any]:
            return {"optim.lr": recipe.optim.learning_rate}  # type: ignore[attr-defined]

    with pytest.raises(RecipeError, match=r"Broken: its edits\(\) failed with AttributeError"):
        apply(Broken(), base)
