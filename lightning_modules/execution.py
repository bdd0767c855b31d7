"""How a run is carried out, and what comes back. Nothing here can change a result. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Bumped when the interpreter changes what a recipe means; part of every run's identity.
# 2: under the exponential schedule the warm-up ends on the full rate, not on the staircase.
# 3: a training crop is cut out before it is resized (2 saw the pixels around it).
RESULTS_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Devices, folders and cadence of one run."""

    data_folder: Path | str | None = None  # of `recipe.data.dataset`; None where it needs none
    cache: Path | None = None  # decoded images and remembered fingerprints; None: a temporary one
    device: str = "auto"  # "cpu", "cuda", "cuda:1", "mps"; auto takes what there is
    devices: int = 1  # that share every batch: GPUs from `device` on, or processes on a CPU
    threads: int | None = None  # torch's, of all devices, on a CPU; None leaves them as they are
    compile: str = "never"  # blocks of the network: never, auto (where it pays) or always
    deterministic: bool = False  # operations that round alike every time, or an error; for GPUs
    evaluations: int = 5  # points of the minival curve, at most one per epoch
    skip_corrupt: bool = False
    data_fingerprint: str | None = None  # that the data must have; None: as they are
    keep: str = "none"  # weights to keep: none, last or ema
    # Least time between checkpoints, longer where they are slow; 0: every step; None: none.
    checkpoint_seconds: float | None = 60.0
    checkpoint_epochs: int | None = None  # and after every so many epochs, whatever the time
    time_limit: float | None = None  # seconds of one call, kept between steps; None: none
    on_progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a running run says of itself, about once a second."""

    step: int
    steps: int
    epoch: int
    epochs: int
    top1: float | None  # of the latest minival evaluation, percent
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one finished or broken-off run gave. Accuracies in percent, times in seconds."""

    status: str  # finished or diverged
    top1: float | None  # of the weights that the recipe evaluates, on its split
    loss: float | None
    top1_raw: float | None
    top1_ema: float | None
    evaluated_images: int
    minival_top1: float | None  # of the same weights, for choices; None: nothing is held out
    chance_top1: float  # what a constant answer gets: the share of the commonest class, percent
    epochs: int
    steps: int
    seconds: float
    train_seconds: float  # in epochs alone; `seconds` has opening, building and evaluation too
    data_seconds: float | None  # of these, waiting for images: loading, transfer, augmentation
    train_images_per_second: float
    peak_memory_bytes: int | None
    params: int
    macs: int
    device: str
    devices: int = 1  # that shared every batch
    compiled: int = 0  # blocks of the network that were compiled for the training
    message: str = ""
    training: str | None = None  # what names its training, where other runs were read off it too
