"""How a batch, and what is evaluated, are divided over the devices of a run. No torch."""

from __future__ import annotations

from recipes import Recipe, RecipeError


def share(count: int, rank: int, devices: int) -> range:
    """Return which of `count` consecutive images are one device's; the shares differ by one."""
    return range(count * rank // devices, count * (rank + 1) // devices)


def check_divided(recipe: Recipe, devices: int) -> None:
    """Check that every batch of a recipe can be divided over so many devices.

    Raises:
        RecipeError: with what would be right.
    """
    batch, per_norm = recipe.data.batch_size, recipe.optim.bn_batch
    if batch % devices:
        below = batch - batch % devices
        fitting = " or ".join(str(one) for one in (below, below + devices) if one)
        raise RecipeError(
            f"data.batch_size = {batch} cannot be divided evenly over {devices} devices: use"
            f" {fitting}, or another number of devices"
        )
    if per_norm and (batch // devices) % per_norm:
        raise RecipeError(
            f"optim.bn_batch = {per_norm} does not divide the {batch // devices} images that each"
            f" of {devices} devices has of a batch of {batch}; 0 takes statistics over all devices"
        )
