"""Where a run's time goes: a short real piece of training, with a clock around its sections.

The Trainer, the Classifier and the data are those of `fit`. The clock is hung on what is public
(callbacks, torch's own optimiser hooks, `torch.autograd.backward`), so that it holds for any loop.
Longer than most, since every section needs its own clock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lightning_modules import cost
from lightning_modules.averaging import Averaged
from lightning_modules.classifier import Classifier
from lightning_modules.execution import Execution
from lightning_modules.image_data import ImageData
from lightning_modules.observers import DivergenceStop
from lightning_modules.training import quiet, torch_device, trainer_of
from recipes import Recipe

# Of a step, in their order; `rest` is what no other has: the loop itself.
STEP = ("input", "forward", "backward", "optimiser", "ema", "logging", "rest")
_WARM_UP = 3  # steps: allocations and kernel choice
_EVALUATED = 4  # batches at most


@dataclass(frozen=True, kw_only=True)
class Sections:
    """Measured seconds of a step's sections and of a run's other parts, and what they counted."""

    step: dict[str, float]  # seconds per step by section; a GPU is waited for at every border
    step_seconds: float  # of the same steps by one clock around all of them
    steps_measured: int
    steps: int  # of a whole run
    start: float  # seconds: opening the data and building the network; no imports
    evaluation: float  # seconds of all evaluations of a run, from the images per second here
    evaluated_images: int  # of a run, once for each set of weights
    checkpoint: float  # seconds of one
    checkpoints: int  # of a whole run
    flops: float  # of a step, forward and backward
    matmul_peak: float  # FLOP/s of a large product here, in the recipe's precision
    copied: float  # bytes/s read and written by a large copy here
    batch_size: int
    device: str
    threads: int

    @property
    def run_seconds(self) -> float:
        """Return the seconds of a whole run."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the seconds of a whole run by section."""
        found = {name: seconds * self.steps for name, seconds in self.step.items()}
        found["evaluation"] = self.evaluation
        found["checkpoint"] = self.checkpoint * self.checkpoints
        found["start"] = self.start
        return found


class _Clock:
    """Give every moment to one section: the innermost that is open."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open = ["rest"]
        self.seconds = dict.fromkeys(STEP, 0.0)
        self._last = self.now()

    def now(self) -> float:
        """Return the time once the device has done what it was given."""
        wait(self._device)
        return time.perf_counter()

    def restart(self) -> None:
        """Forget what was measured, not what is open."""
        self.seconds = dict.fromkeys(STEP, 0.0)
        self._last = self.now()

    def settle(self) -> float:
        """Give the time since the last border to what is open; return the present."""
        now = self.now()
        self.seconds[self._open[-1]] += now - self._last
        self._last = now
        return now

    def enter(self, name: str) -> None:
        """Open a section inside of what is open."""
        self.settle()
        self._open.append(name)

    def leave(self) -> None:
        """Close the innermost section."""
        self.settle()
        if len(self._open) > 1:
            self._open.pop()

    def leave_all(self) -> None:
        """Close every section: a step begins or ends."""
        self.settle()
        del self._open[1:]

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function as a section."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self.enter(name)
            try:
                return call(*arguments, **options)
            finally:
                self.leave()

        return timed


class _Steps(pl.Callback):
    """Begin measuring after the warm-up, and end the training once there is enough."""

    def __init__(self, clock: _Clock, most: int, seconds: float) -> None:
        self._clock, self._most, self._seconds = clock, most, seconds
        self._seen, self._began = 0, 0.0
        self.measured, self.whole = 0, 0.0
        self.taken: dict[str, float] = {}

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the input: the batch is there."""
        self._clock.leave_all()

    def ask(self) -> None:
        """Begin the input of a step; everything before it belongs to the step before."""
        self._clock.leave_all()
        if self._seen == _WARM_UP:
            self._clock.restart()
            self._began = self._clock.now()
        elif self._seen > _WARM_UP:
            self.measured = self._seen - _WARM_UP
            self.whole = self._clock.settle() - self._began
            self.taken = dict(self._clock.seconds)
        self._seen += 1
        self._clock.enter("input")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop when there are enough steps or seconds: the last step asked for is not counted."""
        enough = self.measured >= self._most or self.whole >= self._seconds
        if enough and self.measured:
            trainer.should_stop = True


def measure(
    recipe: Recipe, execution: Execution, *, most: int = 200, seconds: float = 10.0, seed: int = 0
) -> Sections:
    """Train for about `seconds` or `most` steps, evaluate a few batches, write one checkpoint.

    Nothing is kept. Raises what `fit` raises.
    """
    device = torch_device(execution.device)
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    began = time.perf_counter()
    clock = _Clock(device)
    steps = _Steps(clock, most, seconds)
    data = ImageData(
        recipe,
        folder=execution.data_folder,
        seed=seed,
        cache=execution.cache,
        threads=execution.threads or os.cpu_count() or 1,
        skip_corrupt=execution.skip_corrupt,
        expected=execution.data_fingerprint,
        on_request=steps.ask,
    )
    data.setup()
    module = Classifier(recipe, classes=data.classes, seed=seed)
    module.to(device)
    wait(device)
    start = time.perf_counter() - began
    # An epoch of the run may have fewer steps than are to be measured: as many epochs as it takes.
    epochs = -(-(most + _WARM_UP + 1) // max(data.steps_per_epoch, 1)) + 1
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = trainer_of(
            recipe,
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            callbacks=[steps, DivergenceStop()],
            logger=False,
            limit_val_batches=0,
            default_root_dir=folder,
        )
        trainer.fit_loop.max_epochs = epochs
        with _hung(clock, module):
            trainer.fit(module, data)
        wait(device)
        at = time.perf_counter()
        with Path(folder, "last.ckpt").open("wb") as file:
            torch.save(trainer._checkpoint_connector.dump_checkpoint(), file)
        checkpoint = time.perf_counter() - at
    module.to(device).eval()
    per_image = _evaluation(module, data, device)
    curve = min(execution.evaluations, recipe.optim.epochs) * data.size("minival")
    weights = len(module.evaluated_weights())
    evaluated = weights * (curve + data.size(recipe.evaluate.split)) + data.size("minival")
    whole = recipe.optim.epochs * data.steps_per_epoch
    per_step = {name: taken / steps.measured for name, taken in steps.taken.items()}
    training = steps.whole / steps.measured * whole
    every = execution.checkpoint_seconds
    _, macs = cost.count(recipe.model, data.classes, recipe.data.resolution)
    return Sections(
        step=per_step,
        step_seconds=steps.whole / steps.measured,
        steps_measured=steps.measured,
        steps=whole,
        start=start,
        evaluation=per_image * evaluated,
        evaluated_images=evaluated,
        checkpoint=checkpoint,
        checkpoints=min(int(training // every), recipe.optim.epochs - 1) if every else 0,
        flops=3.0 * 2.0 * macs * recipe.data.batch_size,  # backward: twice the forward
        matmul_peak=matmul_peak(device, recipe.optim.precision),
        copied=copy_bandwidth(device),
        batch_size=recipe.data.batch_size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )


@contextlib.contextmanager
def _hung(clock: _Clock, module: Classifier) -> Iterator[None]:
    """Hang the clock on training; everything is as it was afterwards."""

    def enter(*_: Any) -> None:
        clock.enter("optimiser")

    def leave(*_: Any) -> None:
        clock.leave()

    with contextlib.ExitStack() as stack:
        for handle in (
            register_optimizer_step_pre_hook(enter),
            register_optimizer_step_post_hook(leave),
        ):
            stack.callback(handle.remove)
        for owner, method, name in (
            (module, "training_step", "forward"),
            (module, "log", "logging"),
            (torch.autograd, "backward", "backward"),
            (Optimizer, "zero_grad", "optimiser"),
            (Averaged, "update", "ema"),
            (Averaged, "follow_statistics", "ema"),
        ):
            timed = clock.around(name, getattr(owner, method))
            if isinstance(owner, type):
                timed = _as_method(timed)
            own = vars(owner).get(method)
            setattr(owner, method, timed)
            stack.callback(_put_back, owner, method, own)
        yield


def _put_back(owner: Any, method: str, own: Any) -> None:
    if own is None:  # the object had it from its class
        delattr(owner, method)
    else:
        setattr(owner, method, own)


def _as_method(call: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return call(self, *arguments, **options)

    return method


@torch.inference_mode()
def _evaluation(module: Classifier, data: ImageData, device: torch.device) -> float:
    """Return seconds per image and set of weights, of a few batches as `fit` evaluates them."""
    images, began = 0, time.perf_counter()
    for batch in itertools.islice(iter(data.test_dataloader()), _EVALUATED):
        ready = data.prepare(batch._replace(images=batch.images.to(device)), 0)
        module.predict_logits(ready.images, module.recipe.evaluate.weights).argmax(1).cpu()
        images += len(batch.targets)
    wait(device)
    return (time.perf_counter() - began) / images


def matmul_peak(device: torch.device, precision: str = "32") -> float:
    """Return the FLOP/s of a large matrix product, the best of a few."""
    size = 8192 if device.type == "cuda" else 1024
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(size, size, device=device, dtype=kind)
    return 2.0 * size**3 / _least(lambda: one @ one, device)


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes per second, read and written, of a large copy, the best of a few."""
    source = torch.zeros((1 << 28) if device.type == "cuda" else (1 << 24), device=device)
    target = torch.empty_like(source)
    return 2.0 * source.nbytes / _least(lambda: target.copy_(source), device)


def _least(call: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        wait(device)
        began = time.perf_counter()
        call()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
