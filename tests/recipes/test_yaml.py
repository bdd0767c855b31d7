"""Recipes as YAML: nothing is lost on the way, and all that is wrong is told together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recipes import (
    Fact,
    Facts,
    Hook,
    Recipe,
    RecipeError,
    Schedule,
    dumps,
    edit,
    fingerprint,
    load,
    loads,
)
from recipes.leaf import Leaf
from recipes.schedule import SHAPES
from recipes.tree import declarations, leaf_types
from recipes.yaml import load_file, read_facts

_NAMES = st.text(min_size=1, max_size=9).filter(lambda text: text.strip() and "${" not in text)


def _fractions(leaf: Leaf) -> st.SearchStrategy[float]:
    low = leaf.low if leaf.low is not None else leaf.above
    return st.floats(low, leaf.high if leaf.high is not None else 1e6).filter(
        lambda number: leaf.above is None or number > leaf.above
    )


@st.composite
def _schedules(draw: st.DrawFn, leaf: Leaf) -> Schedule:
    places = sorted(draw(st.sets(st.floats(0, 1), min_size=1, max_size=3)))
    points = tuple((place, draw(_fractions(leaf))) for place in places)
    return Schedule(draw(st.sampled_from(SHAPES)), points)


def _values(path: str) -> st.SearchStrategy[Any]:
    leaf, kind = declarations()[path], leaf_types()[path]
    if kind is str:
        return st.sampled_from(leaf.choices) if leaf.choices else _NAMES
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(int(leaf.low or 0), int(leaf.high or 10**6))
    if kind == tuple[int, ...]:
        return st.lists(st.integers(1, 99), max_size=4).map(tuple)
    if kind == tuple[float, ...]:
        return st.sets(_fractions(leaf), max_size=4).map(sorted).map(tuple)
    if kind == float | None:
        return st.none() | _fractions(leaf)
    if "Schedule" in str(kind):
        return _fractions(leaf) | _schedules(leaf)
    return _fractions(leaf)


_CHANGES = st.lists(st.sampled_from(sorted(declarations())), max_size=6, unique=True).flatmap(
    lambda paths: st.fixed_dictionaries({path: _values(path) for path in paths})
)
_WORDS = st.text(max_size=9).filter(lambda text: "${" not in text)
_HOOKS = st.builds(
    Hook,
    name=st.sampled_from(["a", "b", "no", "_1"]),
    hook=st.sampled_from(["model", "batch", "loss", "optimizer"]),
    target=st.just("mine:f"),
    arguments=st.dictionaries(
        st.from_regex(r"[a-z]{1,4}", fullmatch=True),
        _WORDS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ).map(lambda found: tuple(sorted(found.items()))),
    source=st.text("0123456789abcdef", min_size=20, max_size=20),
)


@settings(max_examples=150)
@given(_CHANGES, st.lists(_HOOKS, max_size=2))
def test_any_legal_recipe_reads_back(
    rich: Recipe, changes: dict[str, Any], hooks: list[Hook]
) -> None:
    try:
        recipe = edit(rich, changes | {f"custom.{hook.name}": hook for hook in hooks})
    except RecipeError:  # two leaves that contradict each other
        assume(False)
    text = dumps(recipe)
    read = loads(text)
    assert read == recipe
    assert fingerprint(read) == fingerprint(recipe)
    assert dumps(read) == text


@pytest.mark.parametrize("source", ["12345678901234567890", "1234e678901234567890", "0" * 20])
def test_a_digest_that_looks_like_a_number_reads_back(base: Recipe, source: str) -> None:
    hook = Hook(name="", hook="loss", target="mine:f", source=source)
    recipe = edit(base, {"custom.a": hook})
    assert loads(dumps(recipe)) == recipe


def test_facts_read_back(base: Recipe) -> None:
    facts = Facts(
        family="VisionTransformer",
        input_size=224,
        stages=0,
        batch_norm=False,
        leaves=(
            Fact(path="model.resnet_d", status="cannot", reason="a ViT: no stem of convolutions"),
            Fact(path="model.drop_path", status="can"),
            Fact(path="model.resnet_d_parts", status="present", reason="r", values=("a", "b")),
        ),
        layers=(3, 4, 6, 3),
    )
    recipe = dataclasses.replace(base, model=dataclasses.replace(base.model, facts=facts))
    assert loads(dumps(recipe)) == recipe


def test_facts_from_before_there_were_layers_are_read(base: Recipe) -> None:
    old = {"family": "ResNet", "input_size": 224, "stages": 4, "batch_norm": True, "leaves": {}}
    assert read_facts(old, "here") == Facts(
        family="ResNet", input_size=224, stages=4, batch_norm=True
    )


def test_what_is_off_is_not_written(base: Recipe) -> None:
    assert "dropout" not in dumps(base)
    assert "custom" not in dumps(base)


def test_what_a_recipe_says_of_itself_comes_first_and_is_not_part_of_it(base: Recipe) -> None:
    text = dumps(base, about={"source": "here"})
    assert text.startswith("about:\n  source: here\n")
    assert loads(text) == base


@pytest.mark.parametrize("written", ["1e-4", "0.0001", "1.0E-4", "1.0e-04"])
def test_numbers_as_people_write_them(base: Recipe, written: str) -> None:
    text = dumps(base).replace("weight_decay: 0.0001", f"weight_decay: {written}")
    assert loads(text) == base


def test_schedules_are_text(base: Recipe) -> None:
    moving = "weight_decay: linear(1e-4, 4e-5)"
    text = dumps(base).replace("weight_decay: 0.0001", moving)
    assert str(loads(text).optim.weight_decay) == "linear(0.0001, 4e-05)"


def test_yaml_s_own_readings_are_taken_as_meant(base: Recipe) -> None:
    text = dumps(base).replace("optim:", "optim:\n  precision: 32")
    text = text.replace("model:", "model:\n  bn_momentum: none\n  dropout: 0")
    assert loads(text) == base
    assert loads(dumps(base).replace("digits", "2024")).data.dataset == "2024"


def test_a_byte_order_mark_and_other_line_ends_do_not_matter(base: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + dumps(base).replace("\n", "\r\n").encode())
    assert load(path) == load(str(path)) == base


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mine is empty; it should hold the sections model, data, augment"),
        ("# only a comment\n", "mine is empty"),
        ("null", "mine is empty"),
        ("{}", "mine is empty"),
        ("- model\n- data\n", "mine does not hold a mapping; it should hold the sections model"),
        ("resnet50", "mine does not hold a mapping; it should hold the sections model"),
        ("5", "mine is not well-formed YAML: a value stands where sections should"),
        ("model: [1", "mine is not well-formed YAML in line 2: did not find expected ',' or ']'"),
        ("model:\n\tbackbone: x", "mine is not well-formed YAML in line 2: found character"),
        ("model: {}\nmodel: {}", "in line 2: found duplicate key model"),
        ("data:\n  flip: true\n  flip: false", "in line 3: found duplicate key flip"),
        ("model: {}\n---\ndata: {}", "in line 2: but found another document"),
        ("a: *b", "in line 1: found undefined alias"),
        ("model: &m {backbone: *m}", "recursive aliases are not supported"),
        ("model: !!python/object:os.system {}", "in line 1: could not determine a constructor"),
        ("? [1, 2]\n: 3", "in line 1: found unhashable key"),
        ("\0", "mine is not well-formed YAML: unacceptable character"),
        ("model: {backbone: '${'}", "mine is not well-formed YAML"),
    ],
)
def test_what_is_no_recipe_at_all_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        loads(text, "mine")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("optim:", "optimm:", "mine: there is no section 'optimm'; did you mean 'optim'?"),
        ("optim:", "optimm:", "optim.epochs is missing: passes over the training images"),
        ("epochs: 9", "epoch: 9", "no leaf 'optim.epoch' in a recipe; did you mean 'optim.epochs'"),
        ("epochs: 9", "epochs: ten", "mine: optim.epochs = 'ten' is not a whole number"),
        ("epochs: 9", "epochs: 9.0", "optim.epochs = 9.0 is not a whole number"),
        ("epochs: 9", "epochs: true", "optim.epochs = True is not a whole number"),
        ("epochs: 9", "epochs:", "optim.epochs = None is not a whole number"),
        ("epochs: 9", "epochs: '9'", "optim.epochs = '9' is not a whole number"),
        ("epochs: 9", "epochs: [9]", r"optim.epochs = \[9\] is not a whole number"),
        ("epochs: 9", "epochs: {a: 9}", r"optim.epochs = {'a': 9} is not a whole number"),
        ("epochs: 9", "epochs: -1", "optim.epochs = -1 must be at least 1"),
        ("epochs: 9", f"epochs: {'9' * 400}", "must be at least 1"),
        ("lr: 0.1", "lr: .nan", "optim.lr = nan is not a finite number"),
        ("lr: 0.1", "lr: .inf", "optim.lr = inf is not a finite number"),
        ("lr: 0.1", "lr: 1e999", "optim.lr = inf is not a finite number"),
        ("lr: 0.1", "lr: linear(0.1, 0)", r"optim.lr = 'linear\(0.1, 0\)' is not a number"),
        ("momentum: 0.9", "momentum: bend(1, 0)", "optim.momentum: .* write 0.1 or one of linear"),
        ("momentum: 0.9", "momentum: linear(1, .nan)", "optim.momentum: '.nan' is not a number"),
        ("schedule: step", "schedule: steps", "'steps' is not one of constant, .* mean 'step'"),
        ("milestones:", "milestones: 0.5\n  decay_epochs:", "optim.milestones = 0.5 is not a list"),
        ("resnet18", "''", "mine: model.backbone is empty"),
        ("resnet18", "${oc.env:HOME}", "model.backbone = '\\${oc.env:HOME}': interpolations are n"),
        ("momentum: 0.9", "momentum: ${oc.env:HOME}", "optim.momentum: '\\${oc.env:HOME}' is not"),
        ("epochs: 9", "epochs: ${optim.lr}", "optim.epochs = '\\${optim.lr}' is not a whole"),
        ("interpolation: bicubic", "x: 1", "interpolation is missing: .* one of bilinear, bicubic"),
        ("optim:", "task: detection\noptim:", "mine: task = 'detection' is not one of classifica"),
        ("optim:", "task: [1]\noptim:", r"mine: task = \[1\] is not a word"),
        ("optim:", "augment: 3\noptim:", "mine: augment = 3 is not a mapping of leaves"),
        ("optim:", "custom: 3\noptim:", "mine: custom = 3 is not a mapping of hooks"),
        ("optim:", "custom: {a: 3, 1: 4}\noptim:", "custom.a needs hook, target and source"),
        ("optim:", "custom: {a: {hook: loss, target: m:f}}\noptim:", "custom.a needs hook, target"),
        ("optim:", "custom: {a: {hook: lss, target: 'm:f', source: x}}\noptim:", "no hook 'lss'"),
        ("optim:", "custom: {a: {hook: [1], target: 5, source: x}}\noptim:", "no hook"),
        ("optim:", "custom: {a: {hook: loss, target: 5, source: x}}\noptim:", "not of the form"),
        ("optim:", "custom: {a: {hook: loss, target: 'm:f', source: 5}}\noptim:", "digest in quo"),
        ("optim:",
         "custom: {a: {hook: loss, target: 'm:f', source: x, arguments: [1]}}\noptim:",
         r"custom.a: arguments = \[1\] is not a mapping of names"),
        ("optim:",
         "custom: {a: {hook: loss, target: 'm:f', source: x, arguments: {k: [1]}}}\noptim:",
         r"custom.a: k = \[1\] is not a word, a finite number"),
        ("resnet18", "resnet18\n  facts: 3", "model.facts is not as describe"),
        ("resnet18", "resnet18\n  facts: {family: X}", "model.facts is not as describe"),
        ("resnet18",
         "resnet18\n  facts: {family: X, input_size: 1, stages: 1, batch_norm: true,"
         " leaves: {model.dropout: {status: perhaps}}}",
         "there is no status 'perhaps'"),
    ],
)  # fmt: skip
def test_what_a_user_reads(base: Recipe, old: str, new: str, words: str) -> None:
    text = dumps(base)
    assert old in text
    with pytest.raises(RecipeError, match=words):
        loads(text.replace(old, new), "mine")


def test_several_mistakes_are_told_together_each_with_its_path(base: Recipe) -> None:
    text = (
        dumps(base)
        .replace("resnet18", "18.5")
        .replace("epochs: 9", "epochs: ten\n  learning: 1")
        .replace("lr: 0.1", "lr: -1")
        .replace("data:", "extra: {}\ndata:\n  flip: 2")
        .replace("split: validation", "splitt: validation")
    )
    with pytest.raises(RecipeError) as caught:
        loads(text, "mine")
    told = str(caught.value)
    paths = ["section 'extra'", "model.backbone", "data.flip", "optim.epochs", "optim.learning",
             "optim.lr", "evaluate.splitt", "evaluate.split is missing"]  # fmt: skip
    assert len(caught.value.problems) == len(paths)
    assert all(problem.startswith("mine: ") for problem in caught.value.problems)
    for path in paths:
        assert path in told


def test_an_empty_section_misses_its_required_leaves_only(base: Recipe) -> None:
    text = dumps(base)
    head, tail = text.index("optim:"), text.index("evaluate:")
    with pytest.raises(RecipeError) as caught:
        loads(text[:head] + "optim:\n" + text[tail:])
    assert len(caught.value.problems) == 3


def test_contradictions_carry_the_source_too(base: Recipe) -> None:
    text = dumps(base).replace("epochs: 9", "epochs: 9\n  warmup_epochs: 99", 1)
    text = text.replace("  warmup_epochs: 1.0\n", "")
    with pytest.raises(RecipeError, match="^mine: optim.warmup_epochs = 99 is longer than"):
        loads(text, "mine")


def test_secrets_are_never_read(base: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_TEST_WORD", "sesame")
    for place in ("resnet18", "bicubic", "0.9", "step"):
        with pytest.raises(RecipeError) as caught:
            loads(dumps(base).replace(place, "${oc.env:ABLATE_TEST_WORD}", 1))
        assert "sesame" not in str(caught.value)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="none.yaml cannot be read: No such file"):
        load_file(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_file(tmp_path)
    with pytest.raises(RecipeError, match="cannot be read: embedded null byte"):
        load("a\0.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="x.yaml is not a text file in UTF-8"):
        load_file(tmp_path / "x.yaml")
