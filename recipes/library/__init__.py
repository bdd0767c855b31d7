"""The library: complete base recipes as YAML, and data profiles that fit them to a data set.

What a recipe says of itself (`about`): `title`, `source`, `expected` (a sentence), `expected_top1`
(percent: the published `value`, and the band `low` to `high` outside which a reproduction should be
doubted), `parameters` and `macs` (counted, for 1000 classes at the training resolution; a test
counts again), `cost` and `command`. The band of a published ImageNet number is 1 point on either
side: public reproductions fall 0.3 to 1.1 short (timm #209, #1399; torchvision #5593, #7605).

The published ImageNet recipes train on all 1,281,167 images, as the official runs did (312 steps of
4,096 an epoch, 109,200 in 350 epochs), so nothing is held out for curves and choices.
`--set data.minival_fraction=0.02` holds out the paper's share for them (section 4.2).
"""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Any

from recipes.errors import RecipeError
from recipes.leaf import nearest
from recipes.recipe import Recipe
from recipes.tree import leaf_types
from recipes.yaml import from_tree, load_file, read_plain, read_tree


def names() -> tuple[str, ...]:
    """Return the names of the library's recipes."""
    entries = files("recipes.library").iterdir()
    return tuple(sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml")))


def load(name: str | Path) -> Recipe:
    """Return a recipe of the library by name, or from a YAML file by path.

    Raises:
        RecipeError: no such name (with the nearest) or file, or a file with mistakes.
    """
    if is_file_name(name):
        return load_file(Path(name))
    found = full_name(str(name))
    if found is None:
        raise RecipeError(
            f"there is no recipe {name!r} in the library{nearest(str(name), names())};"
            f" it holds {', '.join(names())}"
        )
    return from_tree(_tree(found), f"{found}.yaml")


def full_name(name: str) -> str | None:
    """Return the recipe that a name means, itself or its beginning up to a `_`; None: no recipe.

    Raises:
        RecipeError: it is the beginning of several, with the choices.
    """
    if name in names():
        return name
    meant = [one for one in names() if one.startswith(f"{name}_")]
    if len(meant) > 1:
        raise RecipeError(f"{name!r} may be {', '.join(meant)}: name one of them")
    return meant[0] if meant else None


def about(name: str) -> dict[str, Any]:
    """Return what a library recipe says of itself, as the docstring of this module has it."""
    return dict(_tree(name)["about"])


def is_file_name(name: str | Path) -> bool:
    """Return whether a base names a YAML file rather than a recipe or a model."""
    return isinstance(name, Path) or name.endswith((".yaml", ".yml"))


@functools.cache
def _tree(name: str) -> dict[str, Any]:
    text = files("recipes.library").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return read_tree(text, f"{name}.yaml")


def profile(dataset: str) -> dict[str, Any]:
    """Return the leaves that fit a recipe to a data set that it was not written for.

    Raises:
        RecipeError: there is no profile of that name.
    """
    entry = files("recipes.library").joinpath("profiles", f"{dataset}.yaml")
    if not entry.is_file():
        raise RecipeError(f"there is no data profile for {dataset!r}")
    tree = read_tree(entry.read_text(encoding="utf-8"), f"profiles/{dataset}.yaml")
    return {
        f"{section}.{name}": read_plain(value, leaf_types()[f"{section}.{name}"])
        for section, leaves in tree.items()
        if section != "about"
        for name, value in leaves.items()
    }
