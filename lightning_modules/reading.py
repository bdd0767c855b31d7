"""What is read off a trained network: every recipe's evaluation, and the files of its run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.nn.functional import cross_entropy

from lightning_modules import cost
from lightning_modules.checkpoints import save_into
from lightning_modules.classifier import Classifier
from lightning_modules.execution import Result
from lightning_modules.files import write_aside
from lightning_modules.image_data import ImageData
from lightning_modules.observers import write_own_curve
from recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One of the recipes that are read off a training, and where its results go."""

    recipe: Recipe
    folder: Path
    keep: str = "none"  # weights to keep: none, last or ema


@dataclass(frozen=True, kw_only=True)
class Common:
    """What is the same for every reading of a training."""

    status: str
    message: str
    evaluated_images: int
    chance_top1: float
    epochs: int
    steps: int
    train_seconds: float
    data_seconds: float | None
    train_images_per_second: float
    device: str
    devices: int
    compiled: int
    training: str | None


def read(
    module: Classifier,
    number: int,
    reading: Reading,
    data: ImageData,
    device: torch.device,
    training: Path,
    common: Common,
    seen: dict[Any, Any],
) -> Result:
    """Evaluate one reading of a trained network and write what belongs to its run."""
    began = time.perf_counter()
    recipe, folder = reading.recipe, reading.folder
    status, message = common.status, common.message
    numbers: dict[str, float] = {}
    if status == "finished":
        numbers = _evaluate(module, number, data, device, folder, seen)
    loss = numbers.get(f"loss_{recipe.evaluate.weights}", 0.0)
    if not math.isfinite(loss):  # the last step went wrong, which no training loss shows
        status, message = "diverged", f"the loss of the trained network was {loss}"
        numbers = {}
        for name in ("predictions.npz", "correct.npy", "minival_correct.npy"):
            (folder / name).unlink(missing_ok=True)
    if reading.keep != "none" and status == "finished":
        _keep_weights(module, number, reading.keep, folder / "weights.pt")
    if folder != training:
        write_own_curve(training / "metrics.jsonl", number, folder / "metrics.jsonl")
    params, macs = cost.count(recipe.model, data.classes, recipe.data.resolution)
    return Result(
        **{**vars(common), "status": status, "message": message},
        top1=numbers.get(f"top1_{recipe.evaluate.weights}"),
        loss=numbers.get(f"loss_{recipe.evaluate.weights}"),
        top1_raw=numbers.get("top1_raw"),
        top1_ema=numbers.get("top1_ema"),
        minival_top1=numbers.get("minival_top1"),
        seconds=time.perf_counter() - began,
        peak_memory_bytes=cost.peak_memory(device),
        params=params,
        macs=macs,
    )


def assist(
    module: Classifier, number: int, data: ImageData, device: torch.device, seen: dict[Any, Any]
) -> None:
    """Evaluate a device's share of the images for `read` on the first of them."""
    _evaluate(module, number, data, device, None, seen)


@torch.inference_mode()
def _evaluate(
    module: Classifier,
    number: int,
    data: ImageData,
    device: torch.device,
    folder: Path | None,
    seen: dict[Any, Any],
) -> dict[str, float]:
    """Evaluate every set of a reading's weights and store predictions of those it evaluates.

    Those weights are evaluated on minival too, where something is held out: choices read that.
    What other readings have looked at is in `seen`, and what is looked at here is added.
    """
    numbers: dict[str, float] = {}
    chosen = module.readings[number].evaluate.weights

    def predicted(loader: Callable[[], Any], weights: str) -> tuple[torch.Tensor, ...]:
        key = (loader.__name__, module.view(number, weights))
        if key not in seen:
            seen[key] = _predict(module, number, data, loader(), weights, device)
        found: tuple[torch.Tensor, ...] = seen[key]
        return found

    for weights in module.evaluated_weights(number):
        label, guess, loss = predicted(data.test_dataloader, weights)
        numbers[f"top1_{weights}"] = 100.0 * float((label == guess).double().mean())
        numbers[f"loss_{weights}"] = float(loss.double().mean())
        if weights == chosen and folder is not None:
            with write_aside(folder / "predictions.npz") as file:
                np.savez_compressed(
                    file, predicted=guess.numpy().astype(np.int32), loss=loss.numpy()
                )
            with write_aside(folder / "correct.npy") as file:  # every analysis reads it: small
                np.save(file, np.packbits((label == guess).numpy()))
    if data.size("minival") > 0:
        label, guess, _ = predicted(data.val_dataloader, chosen)
        numbers["minival_top1"] = 100.0 * float((label == guess).double().mean())
        if folder is not None:
            with write_aside(folder / "minival_correct.npy") as file:
                np.save(file, (label == guess).numpy())
    return numbers


def _predict(
    module: Classifier,
    number: int,
    data: ImageData,
    loader: Any,
    weights: str,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return label, predicted label and loss of every image of a loader, whoever predicted it."""
    labels, predicted, losses = [], [], []
    for batch in loader:
        targets = batch.targets.to(device)
        ready = data.prepare(batch._replace(images=batch.images.to(device)), 0)
        logits = module.predict_logits(ready.images, weights, number)
        labels.append(batch.targets)
        predicted.append(logits.argmax(1).cpu())
        losses.append(cross_entropy(logits, targets, reduction="none").cpu())
    shares: list[int] = loader.shares
    found = (torch.cat(one) for one in (labels, predicted, losses))
    label, guess, loss = (
        one if len(shares) == 1 else _joined(one, shares, device) for one in found
    )
    return label, guess, loss


def _joined(mine: torch.Tensor, shares: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return what all devices have found, in their order."""
    padded = torch.zeros(max(shares), dtype=mine.dtype, device=device)
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in shares]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:count].cpu() for part, count in zip(parts, shares, strict=True)])


def _keep_weights(module: Classifier, number: int, keep: str, path: Path) -> None:
    averages = "ema" in module.evaluated_weights(number)
    state = dict(module.network.state_dict())
    state |= module.state_of("ema" if averages and keep == "ema" else "raw", number)
    with write_aside(path) as file:
        save_into(file, {name: tensor.cpu().contiguous() for name, tensor in state.items()})
