"""Which recipes can be read off one training, exactly.

Recipes of one trajectory train the same network; what differs is which average of its weights, and
which running statistics, are looked at in the end. One training serves them where it can keep all
of that beside the network, bit for bit as each alone would have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipes.identity import active, trajectory
from recipes.recipe import Recipe
from recipes.schedule import Schedule, peak

# What may differ between readings of one training; another evaluation needs other images.
READ_OFF = frozenset(
    {"optim.ema_decay", "optim.ema_warmup", "model.bn_momentum", "evaluate.weights"}
)


def together(recipes: Sequence[Recipe]) -> list[tuple[int, ...]]:
    """Return the positions of recipes that one training each serves; every one is in one group.

    Groups are in the order of their first members, members in the given order.
    """
    by_training: dict[str, list[int]] = {}
    for place, recipe in enumerate(recipes):
        by_training.setdefault(trajectory(recipe), []).append(place)
    found: list[tuple[int, ...]] = []
    for places in by_training.values():
        left = places
        while left:
            trained = max(left, key=lambda place: (_reach(recipes[place]), -place))
            group = [one for one in left if serves(recipes[trained], recipes[one])]
            found.append(tuple(group))
            left = [one for one in left if one not in group]
    return sorted(found)


def trained_for(recipes: Sequence[Recipe]) -> int:
    """Return the position of the recipe that is trained so that all the others can be read off.

    Raises:
        ValueError: there is none; `together` gives groups that have one.
    """
    for place, recipe in enumerate(recipes):
        if all(serves(recipe, other) for other in recipes):
            return place
    raise ValueError("these recipes cannot be read off one training")


def serves(trained: Recipe, reading: Recipe) -> bool:
    """Return whether a training of `trained` holds everything that `reading` is evaluated with.

    With momentum 1 the network holds the statistics of each batch, from which those of any other
    momentum follow as the layer itself computes them; but not what an average over those would be.
    A user's hook may change the layers' momenta, and then what it does is not known.
    """
    if trained == reading:
        return True
    mine, other = active(trained), active(reading)
    differ = {path for path in mine | other if mine.get(path) != other.get(path)}
    if not differ <= READ_OFF or any(hook.hook == "model" for hook in trained.custom):
        return False
    if any(isinstance(one.optim.ema_decay, Schedule) for one in (trained, reading)):
        return False  # a schedule moves the average of one recipe
    if trained.model.bn_momentum == reading.model.bn_momentum:
        return True
    return trained.model.bn_momentum == 1.0 and not peak(reading.optim.ema_decay)


def _reach(recipe: Recipe) -> tuple[bool, bool]:
    """Return how much can be read off a training, more first when compared."""
    return recipe.model.bn_momentum == 1.0, peak(recipe.optim.ema_decay) > 0
