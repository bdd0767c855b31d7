"""What the base becomes with each subset of the components, worked out once for all designs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from recipes import Applied, Component, Outcome, Recipe, RecipeError, apply
from recipes.component import check_conflicts

Factor: TypeAlias = tuple[Component, ...]  # the levels of one component: an arm has one at most


class Stacks:
    """A base and its factors. Components are always applied in the order of the request."""

    def __init__(self, base: Recipe, factors: Sequence[Factor]) -> None:
        self.base = base
        self.factors = tuple(factors)
        self.order = tuple(component for factor in factors for component in factor)
        self._made: dict[tuple[int, ...], tuple[Recipe, tuple[Component, ...]]] = {(): (base, ())}
        self._met: dict[tuple[int, int], str] = {}
        self._became: dict[tuple[int, tuple[int, ...]], Outcome] = {}

    @property
    def firsts(self) -> tuple[Component, ...]:
        """Return the first level of every factor: what the full recipe has."""
        return tuple(factor[0] for factor in self.factors)

    @functools.cached_property
    def live(self) -> tuple[Factor, ...]:
        """Return the factors with those of their levels that change the base."""
        found = [tuple(one for one in factor if self.changes(one)) for factor in self.factors]
        return tuple(factor for factor in found if factor)

    def recipe(self, subset: Iterable[Component]) -> tuple[Recipe, tuple[Component, ...]]:
        """Return the recipe with these components and those of them that changed it."""
        return self._stack(self._places(subset))

    def outcome(self, component: Component, context: Iterable[Component]) -> Outcome:
        """Return what becomes of a component beside others."""
        place, others = self.order.index(component), self._places(context)
        if (place, others) not in self._became:
            self._became[place, others] = apply(component, self._stack(others)[0])
        return self._became[place, others]

    def changes(self, component: Component) -> bool:
        """Return whether a component alone changes the base."""
        return isinstance(self.outcome(component, ()), Applied)

    def others(self, *components: Component) -> tuple[Component, ...]:
        """Return the first levels of the factors that none of these components is of."""
        return tuple(
            factor[0] for factor in self.factors if not any(one in factor for one in components)
        )

    def before(self, component: Component) -> tuple[Component, ...]:
        """Return the first levels of the factors before that of a component."""
        place = next(place for place, factor in enumerate(self.factors) if component in factor)
        return self.firsts[:place]

    def apart(self, first: Component, second: Component) -> str:
        """Return why two components cannot be in one arm; empty where they can.

        They write different values to one leaf, make a recipe that cannot be, or one changes
        nothing beside the other.
        """
        places = sorted((self.order.index(first), self.order.index(second)))
        key = (places[0], places[1])
        if key not in self._met:
            pair = [self.order[place] for place in key]
            self._met[key] = self._why_apart(pair)
        return self._met[key]

    def is_legal(self, subset: Sequence[Component]) -> bool:
        """Return whether each component of the subset applies in it, none against another."""
        if any(self.apart(*pair) for pair in itertools.combinations(subset, 2)):
            return False
        try:
            return len(self.recipe(subset)[1]) == len(subset)
        except RecipeError:  # together they make a recipe that cannot be
            return False

    def all_meet(self) -> bool:
        """Return whether the full recipe can be, none of its components against another."""
        try:
            self.check_conflicts()
            self.recipe(self.firsts)
        except RecipeError:
            return False
        return True

    def check_conflicts(self) -> None:
        """Raise where components that are to meet write different values to one leaf.

        Raises:
            RecipeError: one line per contradiction.
        """
        found: dict[str, None] = {}
        for place, factor in enumerate(self.factors):
            for other in self.factors[:place]:
                for pair in ((first, second) for first in other for second in factor):
                    try:
                        check_conflicts(self.base, pair)
                    except RecipeError as error:
                        found |= dict.fromkeys(error.problems)
        if found:
            raise RecipeError(tuple(found))

    def _why_apart(self, pair: Sequence[Component]) -> str:
        try:
            check_conflicts(self.base, pair)
            outcome = self.outcome(pair[1], pair[:1])
        except RecipeError as error:
            return error.problems[0]
        if isinstance(outcome, Applied):
            return ""
        return (
            f"{pair[1]} beside {pair[0]} is {outcome.outcome.replace('_', ' ')}: {outcome.reason}"
        )

    def _places(self, subset: Iterable[Component]) -> tuple[int, ...]:
        wanted = list(subset)
        return tuple(place for place, one in enumerate(self.order) if one in wanted)

    def _stack(self, places: tuple[int, ...]) -> tuple[Recipe, tuple[Component, ...]]:
        if places not in self._made:
            recipe, inside = self._stack(places[:-1])
            component = self.order[places[-1]]
            outcome = apply(component, recipe)
            if isinstance(outcome, Applied):
                recipe, inside = outcome.recipe, (*inside, component)
            self._made[places] = (recipe, inside)
        return self._made[places]
