"""`--recipe-of`: a family's recipe on another network, its regularisation scaled by the rules.

What does not scale is read from one recipe of the family in the library; what does, from
`recipes.scaling`. The network, the images and the hardware stay the base's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from recipes import scaling
from recipes.errors import RecipeError
from recipes.kind import Kind
from recipes.leaf import nearest
from recipes.library import load
from recipes.recipe import Recipe
from recipes.tree import declarations, defaults, edit, leaves, value_at
from recipes.validate import is_on, show


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the rules read of a network and its images."""

    backbone: str
    layers: tuple[int, ...]  # blocks per stage; empty where nobody knows
    resolution: int  # pixels per side, on the scale of the paper's images
    pixels: int  # of the base itself

    def __str__(self) -> str:
        """Return it in words."""
        blocks = f"{sum(self.layers)} blocks, " if self.layers else ""
        scaled = "" if self.pixels == self.resolution else f" of the paper's for {self.pixels}"
        return f"{self.backbone}, {blocks}{self.resolution} pixels{scaled}"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Recipes that differ in their networks, their resolutions and what rules scale by those."""

    reference: str  # the recipe of the library that holds what does not scale
    scaled: tuple[str, ...]  # the leaves that rules give
    rules: Callable[[Shape], dict[str, Any]]  # their values, less those that it does not tell
    notes: Callable[[Shape], list[str]]  # what lies beyond or between what was published
    unknown: str  # why a rule may have no answer


def _resnet_rs(shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {
        "augment.randaug_magnitude": scaling.resnet_rs_randaugment(shape.resolution)
    }
    depths = [scaling.depth(shape.layers)] if shape.layers else list(scaling.BLOCKS)
    rates = {scaling.resnet_rs_drop_path(depth) for depth in depths}
    dropouts = {scaling.resnet_rs_dropout(depth, shape.resolution) for depth in depths}
    if len(rates) == 1:
        found["model.drop_path"] = rates.pop()
    if len(dropouts) == 1:  # below 320 pixels every depth has the same
        found["model.dropout"] = dropouts.pop()
    return found


def _resnet_rs_notes(shape: Shape) -> list[str]:
    depths = [scaling.depth(shape.layers)] if shape.layers else []
    return [
        *(scaling.RESNET_RS_DEPTHS.note(depth) for depth in depths),
        scaling.RESNET_RS_RESOLUTIONS.note(shape.resolution),
        scaling.resnet_rs_gap(shape.layers, shape.resolution) if shape.layers else "",
    ]


def _efficientnet_rs(shape: Shape) -> dict[str, Any]:
    named = re.search(r"(?:^|_)efficientnet_b([0-7])(?![0-9])", shape.backbone)
    dropout = {"model.dropout": scaling.EFFICIENTNET_DROPOUT[int(named[1])]} if named else {}
    magnitude = scaling.efficientnet_rs_randaugment(shape.resolution)
    return {"augment.randaug_magnitude": magnitude} | dropout


def _efficientnet_rs_notes(shape: Shape) -> list[str]:
    return [scaling.EFFICIENTNET_RS_RESOLUTIONS.note(shape.resolution)]


FAMILIES: dict[str, Family] = {
    "resnet_rs": Family(
        reference="resnet_rs_200_256",
        scaled=("augment.randaug_magnitude", "model.drop_path", "model.dropout"),
        rules=_resnet_rs,
        notes=_resnet_rs_notes,
        unknown="neither model.layers nor its facts hold blocks to tell its depth by",
    ),
    "efficientnet_rs": Family(
        reference="efficientnet_rs_b4_224",
        scaled=("augment.randaug_magnitude", "model.dropout"),
        rules=_efficientnet_rs,
        notes=_efficientnet_rs_notes,
        unknown="it is none of EfficientNet-B0 to B7",
    ),
}

# The base's own, whatever the recipe: the network, the images, what hardware and profiles decide.
_KEPT = {
    "task",
    "model.backbone",
    "model.layers",
    "model.width",
    "data.dataset",
    "data.resolution",
    "data.stored_size",
    "data.decode",
    "data.train_fraction",
    "data.minival_fraction",
    "augment.randaug_pixel_scale",
    "optim.precision",
    "optim.bn_batch",
    "evaluate.split",
}
# Of a base that was written for other images than the family was: what made it fit them, too.
_FITTED = {
    *(path for path in declarations() if path.startswith("data.")),
    "optim.epochs",
    "optim.warmup_epochs",
    "evaluate.crop_fraction",
}


def recipe_of(
    family: str, base: Recipe, resolution: int, chosen: Collection[str] = ()
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the base with a family's recipe, and what a person should know of it.

    Parts that the backbone cannot take are left out, and those that it has are left as they are;
    both are told.

    Args:
        family: One of `FAMILIES`.
        base: With the facts of its backbone.
        resolution: Pixels per side that the rules read, on the scale of the paper's images.
        chosen: Leaves that are set afterwards; no rule is needed for them.

    Raises:
        RecipeError: no such family, or a rule that the base does not tell enough for.
    """
    known = check_family(family)
    facts = base.model.facts
    layers = base.model.layers or (facts.layers if facts is not None else ())
    scaled_from = base.data.resolution if base.augment.randaug_pixel_scale != 1.0 else resolution
    shape = Shape(
        backbone=base.model.backbone, layers=layers, resolution=resolution, pixels=scaled_from
    )
    ruled = known.rules(shape)
    fixed = {path: value for path, value in _fixed(known, base).items() if path not in known.scaled}
    given, notes = _possible(base, fixed | ruled)
    told = {path for path in known.scaled if path in ruled or _stays(base, path)}
    missing = [path for path in known.scaled if path not in told and path not in chosen]
    if missing:
        settings = " ".join(f"--set {path}=..." for path in missing)
        raise RecipeError(
            f"--recipe-of {family}: no rule gives {' and '.join(missing)} for {shape.backbone},"
            f" since {known.unknown}: choose with {settings}"
        )
    given |= _drop_path_rule(base, given, free="model.drop_path" in chosen)
    ruling = [path for path in known.scaled if path in given and path not in chosen]
    said = ", ".join(f"{path} = {show(given[path])}" for path in ruling) or "no rule is needed"
    beyond = [note for note in known.notes(shape) if note]
    return edit(base, given), (f"recipe of {family} for {shape}: {said}", *notes, *beyond)


def check_family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        RecipeError: there is none, with the choices and the nearest.
    """
    if name not in FAMILIES:
        raise RecipeError(
            f"--recipe-of {name!r}: choose from {', '.join(FAMILIES)}{nearest(name, FAMILIES)}"
        )
    return FAMILIES[name]


def _fixed(family: Family, base: Recipe) -> dict[str, Any]:
    """Return the leaves that every recipe of a family has, less those that stay the base's."""
    reference = load(family.reference)
    kept = _KEPT | (_FITTED if base.data.dataset != reference.data.dataset else set())
    return {
        path: value
        for path, value in leaves(reference).items()
        if path not in kept and not _is_missing_part(reference, path)
    }


def _is_missing_part(reference: Recipe, path: str) -> bool:
    """Return whether a leaf is a part that the family's network lacks: none is taken away."""
    leaf = declarations()[path]
    if Kind.ARCHITECTURE not in leaf.kinds:
        return False
    if leaf.switch is not None:  # its default may be one of several ways to have the part
        return not is_on(reference, path)
    return bool(value_at(reference, path) == defaults()[path])


def _possible(base: Recipe, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the leaves that the backbone can take, and what is said of the others."""
    given, notes = dict(wanted), []
    for path, value in wanted.items():
        if base.model.facts is None or value == value_at(base, path):
            continue
        fact = base.model.facts.of(path, value)
        if fact.status != "can":
            how = "is left out" if fact.status == "cannot" else "is left as it is"
            notes.append(f"{path} {how}: {fact.reason}")
            del given[path]
    return given, notes


def _stays(base: Recipe, path: str) -> bool:
    """Return whether a leaf cannot be moved on this backbone, so that no rule is needed."""
    return base.model.facts is not None and base.model.facts.of(path).status == "cannot"


def _drop_path_rule(base: Recipe, given: Mapping[str, Any], *, free: bool) -> dict[str, str]:
    """Return how the rate of stochastic depth grows, as far as there is one."""
    if _stays(base, "model.drop_path"):
        return {"model.drop_path_rule": base.model.drop_path_rule}
    if given.get("model.drop_path") == 0 and not free:
        return {"model.drop_path_rule": ""}
    facts = base.model.facts
    if facts is not None and facts.stages == 0:
        return {"model.drop_path_rule": "linear"}
    return {}
