"""What a recipe may hold: types, limits and contradictions, all problems told together."""

from __future__ import annotations

import functools
import math
import typing
from types import NoneType, UnionType
from typing import Any

from recipes.leaf import Leaf, nearest
from recipes.recipe import HOOKS, Hook, Recipe
from recipes.schedule import Schedule, peak
from recipes.tree import SECTIONS, declarations, leaf_types, value_at, values

_PLAIN = (float, int, bool, str, NoneType)  # types whose equal values are the same value


def problems(recipe: Recipe) -> list[str]:
    """Return one line per thing that is wrong; empty where all is well."""
    for section, owner in SECTIONS.items():
        if not isinstance(getattr(recipe, section), owner):
            return [f"{section} = {getattr(recipe, section)!r} is not a {owner.__name__}"]
    found = []
    for (path, leaf), value in zip(declarations().items(), values(recipe), strict=True):
        known = type(value) in _PLAIN
        wrong = _check_plain(path, value) if known else check(path, value, leaf)
        if wrong:
            found.append(wrong)
    found += _check_hooks(recipe.custom)
    return found or _contradictions(recipe)


def check(path: str, value: Any, leaf: Leaf) -> str | None:
    """Return what is wrong with the value of one leaf, or None."""
    kind = leaf_types()[path]
    if isinstance(value, Schedule) and Schedule not in typing.get_args(kind):
        return f"{path} = {value} cannot move during training: give one number"
    if not _is(value, kind):
        given = list(value) if isinstance(value, tuple) else value
        return f"{path} = {given!r} is not {type_name(kind)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} = {value!r} is not a finite number"
    if isinstance(value, str):
        return _check_word(path, value, leaf)
    wrong = [number for number in _numbers(value) if not _within(number, leaf)]
    return f"{path} = {show(value)} must be {_limits(leaf)}" if wrong else None


@functools.lru_cache(maxsize=4096, typed=True)
def _check_plain(path: str, value: Any) -> str | None:
    # The arms of a plan differ in a few leaves: the others are checked once for all of them.
    return check(path, value, declarations()[path])


def normalized(recipe: Recipe) -> None:
    """Turn whole numbers in fields that take fractions into floats, and lists into tuples.

    So equal means identical, and every recipe can be hashed.

    Called once from the recipe's construction, before anybody else has seen it.
    """
    for section, name, number in _numeric():
        owner = getattr(recipe, section)
        value = getattr(owner, name)
        if isinstance(value, list | tuple):
            object.__setattr__(owner, name, tuple(number(part) for part in value))
        elif number is float and isinstance(value, int | float):
            object.__setattr__(owner, name, float(value) + 0.0)  # no -0.0
    object.__setattr__(recipe, "custom", tuple(sorted(recipe.custom, key=lambda hook: hook.name)))


def is_on(recipe: Recipe, path: str) -> bool:
    """Return whether a leaf means anything here: the switch it depends on, if any, is on."""
    switch = declarations()[path].switch
    if switch is None:
        return True
    value = value_at(recipe, switch.path)
    if switch.values:
        return value in switch.values
    return peak(value) > 0 if isinstance(value, int | float | Schedule) else bool(value)


def type_name(kind: Any) -> str:
    """Return how a message calls a type."""
    names = {
        int: "a whole number",
        float: "a number",
        str: "a word",
        bool: "true or false",
        tuple[int, ...]: "a list of whole numbers",
        tuple[float, ...]: "a list of numbers",
    }
    if kind in names:
        return names[kind]
    if Schedule in typing.get_args(kind):
        return "a number or a schedule such as linear(0.1, 0)"
    return "a number or none"


def wanted(path: str) -> str:
    """Return what a leaf takes, as a message says it."""
    leaf = declarations()[path]
    return f"one of {', '.join(leaf.choices)}" if leaf.choices else type_name(leaf_types()[path])


def show(value: Any) -> str:
    """Return a value as a user would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(show(part) for part in value)}]"
    if isinstance(value, Hook):
        words = ", ".join(f"{name}={show(part)}" for name, part in value.arguments)
        return f"{value.target}({words}) at {value.hook}"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(
            _is(part, typing.get_args(kind)[0]) for part in value
        )
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return any(_is(value, part) for part in typing.get_args(kind))
    return isinstance(value, NoneType if kind is None else kind)


@functools.cache
def _numeric() -> tuple[tuple[str, str, type], ...]:
    """Return section, name and type of number of the leaves that take fractions or lists."""
    found = []
    for path, kind in leaf_types().items():
        section, dot, name = path.partition(".")
        if dot and typing.get_origin(kind) is tuple:
            found.append((section, name, typing.get_args(kind)[0]))
        elif dot and float in (kind, *typing.get_args(kind)):
            found.append((section, name, float))
    return tuple(found)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, Schedule):
        return [number for _, number in value.points]
    if isinstance(value, list | tuple):
        return [part for part in value if isinstance(part, int | float)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _within(number: float, leaf: Leaf) -> bool:
    return (
        abs(number) < 1e300  # also where a whole number is too large for a float
        and (leaf.low is None or number >= leaf.low)
        and (leaf.above is None or number > leaf.above)
        and (leaf.high is None or number <= leaf.high)
    )


def _limits(leaf: Leaf) -> str:
    words = []
    if leaf.low is not None:
        words.append(f"at least {leaf.low:g}")
    if leaf.above is not None:
        words.append(f"above {leaf.above:g}")
    if leaf.high is not None:
        words.append(f"at most {leaf.high:g}")
    return " and ".join(words)


def _check_word(path: str, value: str, leaf: Leaf) -> str | None:
    if "${" in value:
        return f"{path} = {value!r}: interpolations are not read; write the value itself"
    if leaf.choices and value not in leaf.choices and not (value == "" and leaf.switch):
        return (
            f"{path} = {value!r} is not one of {', '.join(leaf.choices)}"
            f"{nearest(value, leaf.choices)}"
        )
    return f"{path} is empty" if not value.strip() and not leaf.switch else None


def _check_hooks(hooks: Any) -> list[str]:
    if not isinstance(hooks, list | tuple):
        return [f"custom = {hooks!r} is not a list of hooks"]
    found = [wrong for hook in hooks for wrong in _check_hook(hook)]
    names = [hook.name for hook in hooks if isinstance(hook, Hook)]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    return found + [f"custom.{name} is there twice" for name in twice]


def _check_hook(hook: Any) -> list[str]:
    if not isinstance(hook, Hook):
        return [f"custom leaf {hook!r} is not a hook; make it with recipes.hook(...)"]
    name: Any = hook.name
    target: Any = hook.target
    source: Any = hook.source
    if not isinstance(name, str) or not name.isidentifier():
        return [f"custom.{name}: a hook's name is one word of letters, digits and _"]
    if hook.hook not in tuple(HOOKS):
        return [f"custom.{name}: there is no hook {hook.hook!r}; the hooks are {', '.join(HOOKS)}"]
    if not isinstance(target, str) or ":" not in target:
        return [f"custom.{name} = {target!r} is not of the form package.module:function"]
    if not isinstance(source, str):
        return [f"custom.{name}: source = {source!r} is not a digest in quotes"]
    return [
        f"custom.{name}: {argument} = {value!r} is not a word, a finite number, true or false"
        for argument, value in hook.arguments
        if not isinstance(value, str | int | float)
        or (isinstance(value, float) and not math.isfinite(value))
    ]


def _contradictions(recipe: Recipe) -> list[str]:
    optim, found = recipe.optim, []
    needed = (
        ("model.drop_path_rule", "stage or linear"),
        ("augment.randaug_space", "resnet_rs, timm or torchvision"),
        ("optim.milestones", "the places of its steps, as [0.33, 0.67]"),
        ("optim.decay_epochs", "the epochs between its steps, as 2.4"),
        ("optim.second_moment", "the decay of the squared gradients, as 0.999; 0.9 for rmsprop_tf"),
        ("optim.epsilon", "a small number, as 1e-8"),
    )
    for path, example in needed:
        leaf = declarations()[path]
        if is_on(recipe, path) and not value_at(recipe, path):
            assert leaf.switch is not None
            on = show(value_at(recipe, leaf.switch.path))
            found.append(f"{leaf.switch.path} = {on} needs {path}: {example}")
    facts, layers = recipe.model.facts, recipe.model.layers
    if facts is not None and facts.stages and layers and len(layers) != facts.stages:
        found.append(
            f"model.layers = {show(layers)} needs {facts.stages} numbers, one per stage of"
            f" {recipe.model.backbone}"
        )
    augment, data = recipe.augment, recipe.data
    wraps = augment.randaug_layers > 0 and augment.randaug_solarize_wrap
    if wraps and augment.randaug_space not in ("", "resnet_rs"):
        found.append(
            "augment.randaug_solarize_wrap = true is the resnet_rs space's; in"
            f" {augment.randaug_space} it must be false"
        )
    if data.crop == "shift" and data.crop_padding >= data.resolution:
        found.append(
            f"data.crop_padding = {data.crop_padding} must be below"
            f" data.resolution = {data.resolution}"
        )
    if data.decode == "scaled" and data.stored_size:
        found.append(
            "data.decode = scaled needs data.stored_size = 0: what is decoded once and stored is"
            " decoded exactly"
        )
    if optim.bn_batch and (
        optim.bn_batch in (1, data.batch_size) or data.batch_size % optim.bn_batch
    ):
        found.append(
            f"optim.bn_batch = {optim.bn_batch} must divide data.batch_size = {data.batch_size}"
            " into equal parts of 2 images or more; 0 is the whole batch"
        )
    if recipe.evaluate.weights == "ema" and not peak(optim.ema_decay) > 0:
        found.append("evaluate.weights = ema needs optim.ema_decay above 0")
    if recipe.evaluate.split == "minival" and not recipe.data.minival_fraction > 0:
        found.append("evaluate.split = minival needs data.minival_fraction above 0")
    if optim.warmup_epochs > optim.epochs:
        found.append(
            f"optim.warmup_epochs = {optim.warmup_epochs:g} is longer than"
            f" optim.epochs = {optim.epochs}"
        )
    if optim.nesterov and optim.optimizer == "sgd" and not peak(optim.momentum) > 0:
        found.append("optim.nesterov = true needs optim.momentum above 0")
    if list(optim.milestones) != sorted(set(optim.milestones)):
        found.append(f"optim.milestones = {show(optim.milestones)} must increase")
    return found
