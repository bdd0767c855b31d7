"""How long a run will take, from a few of its own steps on its own data."""

from __future__ import annotations

import os
import time

import torch

from lightning_modules.classifier import Classifier
from lightning_modules.cost import is_out_of_memory, release_memory
from lightning_modules.execution import Execution
from lightning_modules.image_data import Batch, ImageData
from lightning_modules.optim import make_optimizer
from lightning_modules.training import torch_device
from recipes import Recipe, edit

_FEWEST = 2  # images of which a batch norm can take statistics
_STEPS = 3  # the first is warm-up: allocations and kernel choice


def seconds_per_run(recipe: Recipe, execution: Execution) -> float:
    """Return the estimated seconds of `fit`: steps, evaluations and building. Trains nothing.

    The network is a throw-away copy; the steps are real (augmentation, forward, backward,
    optimiser), since a network's cost is not known from its multiply-adds.
    """
    began = time.perf_counter()
    bench = _Bench(recipe, execution)
    built = time.perf_counter() - began
    data, module, device = bench.data, bench.module, bench.device
    step = min([bench.step() for _ in range(_STEPS)][1:])
    held = next(iter(data.test_dataloader()))
    with torch.inference_mode():
        start = time.perf_counter()
        module.eval()(data.prepare(_moved(held, device), 0).images)
        _wait(device)
    per_image = (time.perf_counter() - start) / len(held.targets)
    curve = data.size("minival") * min(execution.evaluations, recipe.optim.epochs)
    evaluated = (curve + data.size(recipe.evaluate.split)) / execution.devices
    steps = data.steps_per_epoch * recipe.optim.epochs
    return built + step * steps + per_image * evaluated


def images_per_second(recipe: Recipe, execution: Execution, begin: float, end: float) -> float:
    """Return the training images per second between two times of `time.monotonic`.

    Steps are taken from the building on, so that whoever measures beside this is disturbed as by a
    run. Who has not built by the beginning counts from then on, for as long. Trains nothing.
    """
    bench = _Bench(recipe, execution)
    bench.step()  # allocations and kernel choice
    while time.monotonic() < begin:
        bench.step()
    start, steps = time.monotonic(), 0
    while not steps or time.monotonic() - start < end - begin:
        bench.step()
        steps += 1
    return steps * recipe.data.batch_size / (time.monotonic() - start)


def fitting_batch(recipe: Recipe, execution: Execution) -> tuple[int | None, list[int]]:
    """Return the largest of the recipe's batch halved again and again of which two steps fit.

    None: none does. Beside it, the batches that were tried, all of which the devices of a run can
    share. Trains nothing.
    """
    each, tried = execution.devices, []
    size = recipe.data.batch_size // 2
    while (fitting := size - size % each) >= _FEWEST * each:
        tried.append(fitting)
        # How a batch norm divides what is there takes no memory of its own.
        if _fits(edit(recipe, {"data.batch_size": fitting, "optim.bn_batch": 0}), execution):
            return fitting, tried
        size //= 2
    return None, tried


def _fits(recipe: Recipe, execution: Execution) -> bool:
    release_memory()  # of the try before, which nothing refers to any more
    try:
        bench = _Bench(recipe, execution)
        bench.step()
        bench.step()  # the optimiser's own state is there from the first step on
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


class _Bench:
    """A recipe's data, network and optimiser, and one batch to take real steps on."""

    def __init__(self, recipe: Recipe, execution: Execution) -> None:
        self.device = torch_device(execution.device)
        if execution.threads is not None:
            torch.set_num_threads(max(execution.threads // execution.devices, 1))
        self.data = ImageData(
            recipe,
            folder=execution.data_folder,
            cache=execution.cache,
            threads=execution.threads or os.cpu_count() or 1,
            skip_corrupt=execution.skip_corrupt,
            expected=execution.data_fingerprint,
        )
        self.data.setup()
        self.module = Classifier(recipe, classes=self.data.classes).to(self.device).train()
        self._optimizer = make_optimizer(self.module.network, recipe)
        own = recipe.data.batch_size // execution.devices  # what one of the devices has to do
        self._batch = self.data.first_batches("train", own, 1)[0]

    def step(self) -> float:
        """Take a step and return its seconds."""
        _wait(self.device)
        start = time.perf_counter()
        ready = self.data.prepare(_moved(self._batch, self.device), 0)
        self.module.loss(self.module(ready.images), ready.targets).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        _wait(self.device)
        return time.perf_counter() - start


def _moved(batch: Batch, device: torch.device) -> Batch:
    return batch._replace(images=batch.images.to(device), targets=batch.targets.to(device))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
