"""How long a run will take, from a few of its own steps on its own data."""

from __future__ import annotations

import os
import time

import torch

from lightning_modules.classifier import Classifier
from lightning_modules.execution import Execution
from lightning_modules.image_data import Batch, ImageData
from lightning_modules.optim import make_optimizer
from lightning_modules.training import torch_device
from recipes import Recipe

_STEPS = 3  # the first is warm-up: allocations and kernel choice


def seconds_per_run(recipe: Recipe, execution: Execution) -> float:
    """Return the estimated seconds of `fit`: steps, evaluations and building. Trains nothing.

    The network is a throw-away copy; the steps are real (augmentation, forward, backward,
    optimiser), since a network's cost is not known from its multiply-adds.
    """
    device = torch_device(execution.device)
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    began = time.perf_counter()
    data = ImageData(
        recipe,
        folder=execution.data_folder,
        cache=execution.cache,
        threads=execution.threads or os.cpu_count() or 1,
        skip_corrupt=execution.skip_corrupt,
        expected=execution.data_fingerprint,
    )
    data.setup()
    module = Classifier(recipe, classes=data.classes).to(device).train()
    optimizer = make_optimizer(module.network, recipe)
    built = time.perf_counter() - began
    batch = data.first_batches("train", recipe.data.batch_size, 1)[0]
    seconds = []
    for _ in range(_STEPS):
        _wait(device)
        start = time.perf_counter()
        ready = data.prepare(_moved(batch, device), 0)
        module.loss(module(ready.images), ready.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    step = min(seconds[1:])
    held = next(iter(data.test_dataloader()))
    with torch.inference_mode():
        start = time.perf_counter()
        module.eval()(data.prepare(_moved(held, device), 0).images)
        _wait(device)
    per_image = (time.perf_counter() - start) / len(held.targets)
    curve = data.size("minival") * min(execution.evaluations, recipe.optim.epochs)
    evaluated = curve + data.size(recipe.evaluate.split)
    steps = data.steps_per_epoch * recipe.optim.epochs
    return built + step * steps + per_image * evaluated


def _moved(batch: Batch, device: torch.device) -> Batch:
    return batch._replace(images=batch.images.to(device), targets=batch.targets.to(device))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
