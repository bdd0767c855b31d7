"""`observe`: build what a recipe asks for and write down what it is and does."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch

from lightning_modules.classifier import Classifier
from lightning_modules.custom import hooks_of
from lightning_modules.execution import Execution
from lightning_modules.image_data import ImageData
from lightning_modules.probe import structure
from lightning_modules.probe.behaviour import behaviour, settle
from lightning_modules.probe.data import ProbeData
from lightning_modules.probe.live import PROGRESS, first_steps
from lightning_modules.probe.pipeline import protocol, transforms
from recipes import Recipe, edit

SCHEMA = 1
_IMAGES = 8  # of a probe batch
_SIDE = 64  # pixels that the network sees at most, unless it needs more


def observe(recipe: Recipe, execution: Execution) -> dict[str, Any]:
    """Return what the built objects of a recipe are and do, as plain values. Trains nothing.

    The network, the loss, the optimiser and the data are those that `fit` would build for seed 0,
    in float32 on a CPU. They are shown 8 images of the evaluation and take three steps on 8
    training images each.

    Args:
        recipe: with the facts of its backbone, where small images must be kept from it.
        execution: folders of data and cache, and threads; the device is not read.

    Raises:
        DataError, RecipeError: as `fit`.
    """
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    # Under bf16 a CPU's gradients are not the same twice (measured), and 8 images are not divided
    # as a batch is; no component sets these.
    recipe = edit(recipe, {"optim.precision": "32", "optim.bn_batch": 0})
    facts = recipe.model.facts
    side = max(_SIDE, facts.smallest_size) if facts is not None else recipe.data.resolution
    if facts is not None and facts.fixed_size:
        side = recipe.data.resolution
    data = ProbeData(
        recipe,
        folder=execution.data_folder,
        cache=execution.cache,
        threads=execution.threads or 1,
        skip_corrupt=execution.skip_corrupt,
        expected=execution.data_fingerprint,
        images=_IMAGES,
        side=side,
    )
    data.setup()
    module = Classifier(recipe, classes=data.classes)
    # A copy is what a second building would give, bit for bit, in a fraction of the time; of what
    # a user's function has made we cannot know that it can be copied.
    second = None if hooks_of(recipe, "model") else copy.deepcopy(module)
    network = module.network
    found: dict[str, Any] = {
        "schema_version": SCHEMA,
        "progress": list(PROGRESS),
        "modules": structure.modules(network),
        "parameters": structure.shapes(network),
        "weights": structure.digests(network),
        "statistics": structure.statistics(network),
        "gates": structure.gates(network),
        "dropout_sites": structure.dropout_sites(network),
        "residual_blocks": structure.residual_blocks(network),
        "resnet_parts": structure.resnet_parts(network),
        "transforms": transforms(data),
        "protocol": protocol(data),
        "batch": _batch(data),
        "streams": {"network": str(module.seed), "data": str(data.seed)},
    }
    structure.wake(network)
    plain, targets, *_ = data.plain()
    found |= behaviour(module, plain, targets)
    del module, network  # a deep one is large
    # The steps begin as a run does: knobs at their values at the start of training.
    module = second or Classifier(recipe, classes=data.classes)
    structure.wake(module.network)
    settle(module, 0.9 * plain)  # of other images than the first step's, so that it moves them
    return _finite(found | first_steps(module, data, plain))


def _batch(data: ImageData) -> list[int]:
    """Return images per step and steps per epoch of the loader that a run gets."""
    loader = ImageData.train_dataloader(data)
    return [int(loader.batch_size), len(loader)]


def _finite(value: Any) -> Any:
    """Return plain values with None for numbers that are not finite: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
