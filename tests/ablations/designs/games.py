"""Games with a known truth: accuracies made of main effects and interactions, without training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.plans import Contrast, Layout
from recipes import (
    Component,
    Data,
    Evaluate,
    Fact,
    Facts,
    Hook,
    Kind,
    Levels,
    Model,
    Optim,
    Recipe,
)


def base_recipe(**facts: str) -> Recipe:
    """Return a small base; `se_ratio="present"` says what the backbone knows of a model leaf."""
    found = Facts(
        family="ResNet",
        input_size=224,
        stages=4,
        batch_norm=True,
        leaves=tuple(
            Fact(path=f"model.{name}", status=status, reason=f"the backbone's {name}: {status}")
            for name, status in facts.items()
        ),
    )
    return Recipe(
        model=Model(backbone="resnet18", facts=found),
        data=Data(dataset="digits", resolution=16, interpolation="bicubic", batch_size=32),
        optim=Optim(epochs=10, optimizer="sgd", lr=0.1),
        evaluate=Evaluate(split="validation", interpolation="bicubic"),
    )


@dataclass(frozen=True)
class Part(Component):
    """Sets a leaf of its own; parts of one number at two levels contradict each other."""

    key, kind = "part", Kind.AUGMENTATION
    number: int = 0
    level: int = 1

    def edits(self, recipe: Recipe) -> Mapping[str, Any]:
        """Set the leaf."""
        arguments = (("level", self.level),)
        hook = Hook(name="", hook="batch", target="a:b", arguments=arguments, source="0")
        return {f"custom.part{self.number}": hook}


def parts(count: int) -> list[Component]:
    """Return so many components that do not know of each other."""
    return [Part(number) for number in range(count)]


def at_levels(number: int, *levels: int) -> Levels:
    """Return a part at several levels."""
    return Levels(tuple(Part(number, level) for level in levels))


@dataclass(frozen=True, kw_only=True)
class Game:
    """Main effects by component, interactions by set of components, in points."""

    effects: Mapping[str, float]
    together: Mapping[frozenset[str], float]

    def value(self, inside: Sequence[Component]) -> float:
        """Return the accuracy of an arm."""
        names = {str(one) for one in inside}
        return (
            70.0
            + sum(self.effects[name] for name in names)
            + sum(extra for group, extra in self.together.items() if group <= names)
        )

    def answer(self, layout: Layout, contrast: Contrast) -> float:
        """Return what a layout says of a contrast where there is no noise."""
        values = {arm.name: self.value(arm.components) for arm in layout.arms}
        return sum(weight * values[arm] for arm, weight in contrast.weights.items())


def draw(components: Sequence[Component | Levels], order: int, seed: int = 0) -> Game:
    """Return a game with random effects, and interactions of up to `order` components."""
    random = np.random.default_rng(seed)
    groups = alternatives(components)
    names = [str(one) for group in groups for one in group]
    effects = dict(zip(names, random.normal(0.3, 0.5, len(names)), strict=True))
    together = {
        frozenset(map(str, chosen)): float(random.normal(0, 0.3))
        for size in range(2, order + 1)
        for some in itertools.combinations(groups, size)
        for chosen in itertools.product(*some)
    }
    return Game(effects=effects, together=together)


def alternatives(components: Sequence[Component | Levels]) -> list[tuple[Component, ...]]:
    """Return the levels of each component."""
    return [one.alternatives if isinstance(one, Levels) else (one,) for one in components]


def truth(
    game: Game, components: Sequence[Component | Levels], one: Component, question: str
) -> float:
    """Return the effect that a question means, by its definition."""
    groups = alternatives(components)
    place = next(place for place, group in enumerate(groups) if one in group)
    others = [group for group in groups if one not in group]
    contexts: list[tuple[Component, ...]] = [()]
    if question == "in_recipe":
        contexts = [tuple(group[0] for group in others)]
    elif question == "in_order":
        contexts = [tuple(group[0] for group in groups[:place])]
    elif question == "average_over_others":
        contexts = [
            tuple(state for state in states if state is not None)
            for states in itertools.product(*((None, *group) for group in others))
        ]
    steps = [game.value((*context, one)) - game.value(context) for context in contexts]
    return float(np.mean(steps))
