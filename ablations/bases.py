"""From the words of a request to complete recipes: bases, facts, data profiles, hardware.

Facts of backbones are remembered in the home, so that a finished study answers without torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablations.ledger import recall
from lightning_modules.data import DataFacts
from lightning_modules.files import write_json
from lightning_modules.shares import check_divided
from recipes import Facts, Recipe, RecipeError, diff, edit, load
from recipes.families import recipe_of
from recipes.identity import active
from recipes.leaf import nearest
from recipes.library import full_name, is_file_name, names, profile
from recipes.recipe import Model
from recipes.scaling import BLOCKS
from recipes.text import plain_value, read_settings
from recipes.tree import value_at
from recipes.validate import show
from recipes.yaml import plain_facts, read_facts

_GENERIC = "resnet50"  # the library's bare baseline, on another backbone
_MINIVAL = 0.02  # of training, for choices: ResNet-RS section 4.2, 20 of 1,024 shards
# Depths that timm has no name for, as longer ResNet-200s: one backbone, so one family of facts.
_DEEPER = {f"resnet{depth}": blocks.layers for depth, blocks in BLOCKS.items() if depth > 200}
_FACTS_VERSION = 2  # of what is probed: older facts in a home are probed anew
_NETWORK = ("model.backbone", "model.layers", "model.width")
_AS_FOLDERS = ("wds", "hf")  # images of any size: the data profile of class folders
_CACHE_LIMIT = 8 << 30  # bytes of decoded images that a data profile will store

Probe = Callable[[str], Facts]  # from a backbone of timm to its facts


def probed_here(backbone: str) -> Facts:
    """Return the facts of a timm model; this process imports torch for it.

    Raises:
        RecipeError: timm has no such model.
    """
    from lightning_modules import describe

    facts = describe(backbone).facts
    assert facts is not None
    return facts


def resolve(name: str | Path, memory: Path | None = None, probe: Probe = probed_here) -> Recipe:
    """Return the complete recipe that a base names: a library name, a YAML file, a timm model.

    A timm model gets the bare baseline recipe of ResNet-50, less what it cannot take. Nothing was
    published for it that used all images, so it holds out the paper's 2 % for choices. ResNet-270
    to 420, which timm does not have, are ResNet-200's recipe on more blocks.

    Raises:
        RecipeError: the name is none of these, or the file has mistakes.
    """
    if is_file_name(name) or full_name(str(name)) is not None:
        return with_facts(load(name), memory, probe)
    backbone = str(name)
    if backbone in _DEEPER:
        return edit(load("resnet200"), {"model.layers": _DEEPER[backbone]})
    try:
        facts = facts_of(backbone, memory, probe)
    except RecipeError as error:
        raise RecipeError(
            f"--base {backbone!r}: the library holds {', '.join(names())}"
            f"{nearest(backbone, names())}; a YAML file ends in .yaml; and {error}"
        ) from None
    recipe = load(_GENERIC)
    taken = {
        f"model.{leaf}": getattr(recipe.model, leaf)
        for leaf in ("zero_init_last",)
        if facts.of(f"model.{leaf}").status == "can"
    }
    bare = _with_model(recipe, Model(backbone=backbone, facts=facts))
    images = {"data.resolution": facts.input_size, "data.minival_fraction": _MINIVAL}
    return edit(bare, taken | images)


def with_facts(recipe: Recipe, memory: Path | None, probe: Probe = probed_here) -> Recipe:
    """Return the recipe with the facts of its backbone, probed where it has none."""
    if recipe.model.facts is not None:
        return recipe
    facts = facts_of(recipe.model.backbone, memory, probe)
    return _with_model(recipe, dataclasses.replace(recipe.model, facts=facts))


def facts_of(backbone: str, memory: Path | None, probe: Probe = probed_here) -> Facts:
    """Return the facts of a timm model, probed once per timm version where there is a memory.

    Raises:
        RecipeError: timm has no such model.
    """
    path = None if memory is None else memory / "facts.json"
    known = {} if path is None else recall(path)
    key = f"timm {version('timm')} facts {_FACTS_VERSION} {backbone}"
    if key not in known:
        facts = probe(backbone)
        if path is not None:
            with contextlib.suppress(OSError):  # a memory that cannot be written: probe again
                write_json(path, known | {key: plain_facts(facts)})
        return facts
    return read_facts(known[key], str(path))


def fit_to_data(recipe: Recipe, facts: DataFacts) -> tuple[Recipe, str]:
    """Return the recipe as its data profile makes it for a data set, and what that changed.

    A recipe that was written for the data set stays as it is.
    """
    if recipe.data.dataset == facts.name:
        return recipe, ""
    of_images = facts.name in ("imagefolder", *_AS_FOLDERS)
    changes = profile("imagefolder" if of_images else facts.name) | {"data.dataset": facts.name}
    if of_images:
        changes |= _sizes(recipe, facts)
    resolution = changes["data.resolution"]
    backbone = recipe.model.facts
    if backbone is not None:  # smaller images are enlarged to what the network can take
        resolution = _fixed_size(recipe) or max(resolution, backbone.smallest_size)
        changes["data.resolution"] = resolution
    # The paper's constants in pixels are meant for its 256-pixel images.
    changes["augment.randaug_pixel_scale"] = resolution / 256
    fitted = edit(recipe, changes)
    words = [
        f"{path} {show(old)} -> {show(new)}" for path, (old, new) in diff(recipe, fitted).items()
    ]
    note = f"data profile {facts.name} (the base was written for {recipe.data.dataset})"
    return fitted, f"{note}: {', '.join(words)}"


def apply_settings(recipe: Recipe, settings: Sequence[str]) -> tuple[Recipe, str]:
    """Return the recipe with the command line's `--set` texts applied, and what followed of itself.

    Where a profile has scaled RandAugment's constants in pixels, they follow the resolution.
    """
    changes = read_settings(settings)
    scale = "augment.randaug_pixel_scale"
    now = recipe.augment.randaug_pixel_scale
    edited = edit(recipe, changes)
    if now == 1.0 or scale in changes or now != recipe.data.resolution / 256:
        return edited, ""
    wanted = edited.data.resolution / 256
    if wanted == now:
        return edited, ""
    note = f"{scale} {show(now)} -> {show(wanted)} (it follows data.resolution)"
    return edit(edited, {scale: wanted}), note


def with_recipe_of(
    family: str,
    base: Recipe,
    settings: Sequence[str],
    dataset: str | None,
    memory: Path | None,
    probe: Probe = probed_here,
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the base with a family's recipe, before any data profile, and what to tell of it.

    The rules see the network and the resolution that the settings leave; the settings themselves
    are applied later and win. Where a profile will fit the base to other images, the rules read
    the resolution of the base before it: sixteen-pixel digits are no reason for the magnitude of
    small ImageNet crops, since the profile scales RandAugment's pixels down with the images. For
    the same reason a base with scaled pixels counts at the resolution that they are scaled from.

    Args:
        family: As `recipes.families` has it.
        base: As resolved.
        settings: Texts of `--set`.
        dataset: The data set that the recipe will be fitted to; None: its own.
        memory: Where facts of backbones are remembered.
        probe: What finds those that are not.

    Raises:
        RecipeError: no such family, a setting that is wrong, or a rule without an answer.
    """
    changes = read_settings(settings)
    network = {path: changes[path] for path in _NETWORK if path in changes}
    base = with_facts(edit(base, network), memory, probe)
    scale = base.augment.randaug_pixel_scale
    resolution = round(base.data.resolution / scale)
    if scale == 1.0 and dataset in (None, base.data.dataset):
        resolution = changes.get("data.resolution", resolution)
    return recipe_of(family, base, resolution, chosen=changes)


def check_possible(recipe: Recipe) -> None:
    """Refuse a base that asks of its backbone what that cannot take, before anything is started.

    Raises:
        RecipeError: every such leaf, with the reason.
    """
    facts, meant = recipe.model.facts, active(recipe)
    wrong = [
        f"{fact.path} = {show(value_at(recipe, fact.path))}: {recipe.model.backbone} cannot take"
        f" it: {fact.reason}"
        for fact in (facts.leaves if facts is not None else ())
        if fact.status == "cannot" and fact.path in meant
    ]
    if wrong:
        raise RecipeError(wrong)


def fit_to_hardware(
    recipe: Recipe, settings: Sequence[str], device: str, devices: int = 1
) -> tuple[Recipe, str]:
    """Return the recipe with what hardware decides and what can change a result, once per study.

    bf16 on a GPU that has it; float32 on a CPU, where bf16 is ten times slower (measured). Where
    several devices share a batch, each takes the batch-norm statistics of its own share.

    Raises:
        RecipeError: a batch cannot be divided over the devices.
    """
    check_divided(recipe, devices)
    chosen = {setting.partition("=")[0].strip() for setting in settings}
    changes: dict[str, Any] = {}
    words = []
    if "optim.precision" not in chosen and recipe.optim.precision == "32" and has_bf16(device):
        changes["optim.precision"] = "bf16"
        words.append("optim.precision 32 -> bf16 (this GPU has it)")
    facts, own = recipe.model.facts, recipe.data.batch_size // devices
    normalizes = facts is None or facts.batch_norm
    asked = "optim.bn_batch" in chosen or recipe.optim.bn_batch
    if devices > 1 and normalizes and not asked:
        if own < 2:
            raise RecipeError(
                f"data.batch_size = {recipe.data.batch_size} leaves one image to each of {devices}"
                " devices, too few for a batch norm: use fewer devices, or --set optim.bn_batch=0"
                " for statistics over all of them"
            )
        changes["optim.bn_batch"] = own
        words.append(
            f"optim.bn_batch 0 -> {own} (of each of {devices} devices; --set optim.bn_batch=0 takes"
            " batch-norm statistics over all of them)"
        )
    return (edit(recipe, changes), "; ".join(words)) if changes else (recipe, "")


def has_bf16(device: str) -> bool:
    """Return whether runs will be on a GPU with bf16; loads torch only where there is a GPU."""
    if device == "cpu" or not os.path.exists("/dev/nvidiactl"):
        return False
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def describe_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return edits as plain values."""
    return {path: plain_value(value) for path, value in changes.items()}


def _sizes(recipe: Recipe, facts: DataFacts) -> dict[str, Any]:
    """Return resolution, store and batch for a folder of images."""
    # A base for small images says nothing of these: the usual 224 pixels, or what they have.
    usual = min(recipe.data.resolution, 224) if recipe.data.dataset == "imagenet" else 224
    size = _fixed_size(recipe) or usual
    stored = round(size / 0.875)
    if facts.native_size is not None and min(facts.native_size) <= stored:
        size = stored = min(facts.native_size)
    images = facts.train + facts.validation
    if images * 3 * stored * stored > _CACHE_LIMIT:
        stored = 0
    per_step = 64 if facts.train < 50_000 else 256
    while per_step > 2 and facts.train < 10 * per_step:
        per_step //= 2
    return {"data.resolution": size, "data.stored_size": stored, "data.batch_size": per_step}


def _fixed_size(recipe: Recipe) -> int | None:
    facts = recipe.model.facts
    return facts.input_size if facts is not None and facts.fixed_size else None


def _with_model(recipe: Recipe, model: Model) -> Recipe:
    return dataclasses.replace(recipe, model=model)
