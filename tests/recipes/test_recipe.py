"""What kind of value a recipe is: frozen, comparable, hashable, declared leaf by leaf."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from recipes import Fact, Facts, Hook, Model, Optim, Recipe, edit, linear
from recipes.leaf import Leaf
from recipes.tree import SECTIONS, declarations, defaults, leaf_types
from recipes.validate import check

_FACTS = Facts(
    family="ResNet",
    input_size=224,
    stages=4,
    batch_norm=True,
    leaves=(Fact(path="model.se_ratio", status="present", reason="it has SE"),),
)


def _full(base: Recipe) -> Recipe:
    blur = Hook(name="blur", hook="batch", target="mine:blur", arguments=(("k", 3),), source="0")
    changed = edit(base, {"custom.blur": blur, "optim.weight_decay": linear(1e-4, 4e-5)})
    return dataclasses.replace(changed, model=dataclasses.replace(changed.model, facts=_FACTS))


def test_a_recipe_is_frozen(base: Recipe) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.task = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.optim.lr = 1.0  # type: ignore[misc]


def test_a_recipe_survives_pickle_and_copies(base: Recipe) -> None:
    recipe = _full(base)
    for other in (
        pickle.loads(pickle.dumps(recipe)),
        copy.copy(recipe),
        copy.deepcopy(recipe),
        dataclasses.replace(recipe),
    ):
        assert other == recipe
        assert hash(other) == hash(recipe)


def test_equal_recipes_are_one_key(base: Recipe) -> None:
    twin = edit(edit(base, {"optim.lr": 0.7}), {"optim.lr": 0.1})
    assert twin == base
    assert len({twin, base, _full(base)}) == 2


def test_lists_become_tuples_so_that_every_recipe_can_be_hashed(base: Recipe) -> None:
    recipe = edit(base, {"model.layers": [1, 1, 1, 1], "optim.milestones": [1]})
    assert recipe.model.layers == (1, 1, 1, 1)
    assert recipe.optim.milestones == (1.0,)
    assert isinstance(recipe.optim.milestones[0], float)
    hash(recipe)


def test_whole_numbers_become_floats_where_fractions_are_meant(base: Recipe) -> None:
    recipe = edit(base, {"optim.lr": 1, "model.dropout": 0, "optim.warmup_epochs": 2})
    values = (recipe.optim.lr, recipe.model.dropout, recipe.optim.warmup_epochs)
    assert values == (1.0, 0.0, 2.0)
    assert all(isinstance(value, float) for value in values)


def test_sections_take_keywords_only() -> None:
    with pytest.raises(TypeError):
        Model("resnet18")  # type: ignore[misc]


def test_an_unknown_field_raises() -> None:
    with pytest.raises(TypeError, match="learning_rate"):
        Optim(epochs=1, optimizer="sgd", lr=0.1, learning_rate=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_a_section_is_a_declared_leaf(section: str) -> None:
    for entry in dataclasses.fields(SECTIONS[section]):
        if entry.name != "facts":
            assert isinstance(entry.metadata.get("leaf"), Leaf), entry.name
            assert entry.metadata["leaf"].doc


@pytest.mark.parametrize("path", [path for path in defaults() if path != "task"])
def test_every_default_is_a_value_the_leaf_may_hold(path: str) -> None:
    assert check(path, defaults()[path], declarations()[path]) is None


@pytest.mark.parametrize("path", [p for p, leaf in declarations().items() if leaf.switch])
def test_every_switch_is_a_leaf_that_stands_by_itself(path: str) -> None:
    switch = declarations()[path].switch
    assert switch is not None
    on = declarations()[switch.path]
    assert on.switch is None
    assert set(switch.values) <= set(on.choices)


@pytest.mark.parametrize("path", [p for p, leaf in declarations().items() if leaf.switch])
def test_a_dependent_leaf_has_a_default(path: str) -> None:
    assert path in defaults()


def test_a_switch_with_values_is_never_on_by_default() -> None:
    for path, leaf in declarations().items():
        if leaf.switch is not None and leaf.switch.path in defaults():
            default = defaults()[leaf.switch.path]
            assert not default or default not in leaf.switch.values, path
            assert default or not leaf.switch.values


def test_every_leaf_has_a_type_that_can_be_checked() -> None:
    assert set(leaf_types()) == set(declarations())


def test_a_leaf_that_no_component_may_write_is_protocol_or_data_or_profile() -> None:
    free = {path for path, leaf in declarations().items() if not leaf.kinds}
    assert {path.partition(".")[0] for path in free} == {
        "task", "model", "data", "augment", "optim", "evaluate",
    }  # fmt: skip
    assert "model.backbone" in free
    assert {p for p in free if p.startswith("optim.")} == {
        "optim.precision",
        "optim.bn_batch",
    }


def test_a_fact_that_was_not_probed_says_can() -> None:
    assert _FACTS.of("model.se_ratio").status == "present"
    assert _FACTS.of("model.dropout").status == "can"
