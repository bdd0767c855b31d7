"""`fit`: the only door through which a recipe is trained and evaluated."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from lightning_modules import cost
from lightning_modules.classifier import Classifier
from lightning_modules.execution import Execution, Result
from lightning_modules.files import write_aside, write_json
from lightning_modules.image_data import ImageData
from lightning_modules.observers import Checkpoints, Curves, Diverged, DivergenceStop, Heartbeat
from lightning_modules.steps import take_lean_steps
from lightning_modules.tracking import record_result, tracked
from lightning_modules.waiting import Waiting
from recipes import Recipe

_LAST = "checkpoint/last.ckpt"


def fit(recipe: Recipe, seed: int, execution: Execution, folder: Path) -> Result:
    """Train and evaluate one recipe with one seed.

    Writes into `folder`: `metrics.jsonl` (the curve), `predictions.npz` (predicted label and loss
    per evaluated image, in the order of `evaluate.split`), `correct.npy` (for the same images one
    bit each, packed by `numpy.packbits`: 1 where the label is right), `minival_correct.npy` (True
    for each minival image that is right), `checkpoint/` while it runs (from which a later call goes
    on), and `weights.pt` where `execution.keep` asks.

    Raises:
        DataError: the data cannot be used.
        RecipeError: the backbone cannot take the recipe.
        RuntimeError: whatever the training itself raises; out of memory as torch raises it.
    """
    if execution.keep not in ("none", "last", "ema"):
        raise ValueError(f"keep = {execution.keep!r} is not one of none, last, ema")
    began = time.perf_counter()
    device = torch_device(execution.device)
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    folder.mkdir(parents=True, exist_ok=True)
    cost.reset_peak_memory(device)
    waiting = Waiting(device)
    data = ImageData(
        recipe,
        folder=execution.data_folder,
        seed=seed,
        cache=execution.cache,
        threads=execution.threads or os.cpu_count() or 1,
        skip_corrupt=execution.skip_corrupt,
        expected=execution.data_fingerprint,
        on_request=waiting.ask,
    )
    data.setup()
    module = Classifier(recipe, classes=data.classes, seed=seed)
    curves = Curves(folder / "metrics.jsonl", began)
    with quiet(), tracked(execution.tracking) as logger:
        trainer = _trainer(recipe, execution, device, folder, [curves, waiting], data, logger)
        resume = folder / _LAST
        status, message = "finished", ""
        try:
            with _interruptible(trainer):
                trainer.fit(
                    module, data, ckpt_path=resume if resume.exists() else None, weights_only=True
                )
        except Diverged as error:
            status, message = "diverged", str(error)
        module.to(device).eval()
        numbers = _evaluate(module, data, device, folder) if status == "finished" else {}
        loss = numbers.get(f"loss_{recipe.evaluate.weights}", 0.0)
        if not math.isfinite(loss):  # the last step went wrong, which no training loss shows
            status, message = "diverged", f"the loss of the trained network was {loss}"
            numbers = {}
            for name in ("predictions.npz", "correct.npy", "minival_correct.npy"):
                (folder / name).unlink(missing_ok=True)
        if execution.keep != "none" and status == "finished":
            _keep_weights(module, execution.keep, folder / "weights.pt")
        params, macs = cost.count(recipe.model, data.classes, recipe.data.resolution)
        steps = curves.steps
        result = Result(
            status=status,
            message=message,
            top1=numbers.get(f"top1_{recipe.evaluate.weights}"),
            loss=numbers.get(f"loss_{recipe.evaluate.weights}"),
            top1_raw=numbers.get("top1_raw"),
            top1_ema=numbers.get("top1_ema"),
            evaluated_images=data.size(recipe.evaluate.split),
            minival_top1=numbers.get("minival_top1"),
            chance_top1=data.chance(recipe.evaluate.split),
            epochs=recipe.optim.epochs,
            steps=trainer.global_step,
            seconds=curves.whole_seconds,
            train_seconds=curves.seconds,
            data_seconds=waiting.seconds,
            train_images_per_second=steps * recipe.data.batch_size / max(curves.seconds, 1e-9),
            peak_memory_bytes=cost.peak_memory(device),
            params=params,
            macs=macs,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        )
        if logger is not None:
            record_result(logger, vars(result))
    resume.unlink(missing_ok=True)
    return result


def torch_device(name: str) -> torch.device:
    """Return the device that `cpu`, `cuda`, `cuda:1`, `mps` or `auto` names."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _trainer(
    recipe: Recipe,
    execution: Execution,
    device: torch.device,
    folder: Path,
    callbacks: Sequence[pl.Callback],
    data: ImageData,
    logger: Any,
) -> pl.Trainer:
    callbacks = [*callbacks, DivergenceStop()]
    if execution.on_progress is not None:
        callbacks.append(Heartbeat(execution.on_progress, recipe.optim.epochs))
    if execution.checkpoint_seconds is not None:
        callbacks.append(Checkpoints(folder / _LAST, execution.checkpoint_seconds))
    epochs = recipe.optim.epochs
    # One point of the curve per epoch, or fewer, and none where nothing is held out for it.
    every = max(-(-epochs // max(execution.evaluations, 1)), 1)
    held_out = data.size("minival") > 0 and execution.evaluations > 0
    return trainer_of(
        recipe,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index or 0] if device.type == "cuda" else 1,
        callbacks=callbacks,
        logger=logger if logger is not None else False,
        check_val_every_n_epoch=every,
        limit_val_batches=None if held_out else 0,
        default_root_dir=folder,
    )


def trainer_of(recipe: Recipe, **arguments: Any) -> pl.Trainer:
    """Return a Trainer for the recipe's epochs that says, saves and checks nothing by itself."""
    trainer = pl.Trainer(
        max_epochs=recipe.optim.epochs,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,  # only epochs are logged; steps are read nowhere
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **arguments,
    )
    return take_lean_steps(trainer)


@torch.inference_mode()
def _evaluate(
    module: Classifier, data: ImageData, device: torch.device, folder: Path
) -> dict[str, float]:
    """Evaluate every set of weights on `evaluate.split` and store predictions of the recipe's.

    Those weights are evaluated on minival too, where something is held out: choices read that.
    """
    numbers: dict[str, float] = {}
    chosen = module.recipe.evaluate.weights
    for weights in module.evaluated_weights():
        label, guess, loss = _predict(module, data, data.test_dataloader(), weights, device)
        numbers[f"top1_{weights}"] = 100.0 * float((label == guess).double().mean())
        numbers[f"loss_{weights}"] = float(loss.double().mean())
        if weights == chosen:
            with write_aside(folder / "predictions.npz") as file:
                np.savez_compressed(
                    file, predicted=guess.numpy().astype(np.int32), loss=loss.numpy()
                )
            with write_aside(folder / "correct.npy") as file:  # every analysis reads it: small
                np.save(file, np.packbits((label == guess).numpy()))
    if data.size("minival") > 0:
        label, guess, _ = _predict(module, data, data.val_dataloader(), chosen, device)
        numbers["minival_top1"] = 100.0 * float((label == guess).double().mean())
        with write_aside(folder / "minival_correct.npy") as file:
            np.save(file, (label == guess).numpy())
    return numbers


def _predict(
    module: Classifier, data: ImageData, loader: Any, weights: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return label, predicted label and loss of every image of a loader."""
    labels, predicted, losses = [], [], []
    for batch in loader:
        targets = batch.targets.to(device)
        ready = data.prepare(batch._replace(images=batch.images.to(device)), 0)
        logits = module.predict_logits(ready.images, weights)
        labels.append(batch.targets)
        predicted.append(logits.argmax(1).cpu())
        losses.append(cross_entropy(logits, targets, reduction="none").cpu())
    return torch.cat(labels), torch.cat(predicted), torch.cat(losses)


def _keep_weights(module: Classifier, keep: str, path: Path) -> None:
    state = dict(module.network.state_dict())
    if module.averaged is not None:
        state |= module.averaged.state() if keep == "ema" else module.averaged.raw_statistics()
    with write_aside(path) as file:
        torch.save({name: tensor.cpu().contiguous() for name, tensor in state.items()}, file)


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C come out as itself: Lightning ends the process and ignores the next one."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    finally:
        if in_main and before is not None:
            signal.signal(signal.SIGINT, before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says to a person at a single run; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Our loader gathers whole batches from memory; workers would only slow it (measured).
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="Starting from v1.9.0.*")
        warnings.filterwarnings("ignore", message="GPU available but not used.*")  # of a probe
        # pytorch-lightning 2.6's own use of what torch 2.15 deprecates.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # Epochs are logged, steps are not (see `_trainer`).
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def write_environment(path: Path) -> None:
    """Record versions and hardware beside a run."""
    import platform

    import timm
    import torchvision

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    write_json(
        path,
        {
            "schema_version": 1,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "gpus": gpus,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "timm": timm.__version__,
            "pytorch_lightning": pl.__version__,
            "threads": torch.get_num_threads(),
        },
    )
