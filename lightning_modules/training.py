"""`fit`: the only door through which a recipe is trained and evaluated.

Longer than most: the course of a training, from its data to its results, is read in one place.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment

from lightning_modules import cost
from lightning_modules.checkpoint_files import FOLDER, newest
from lightning_modules.checkpoints import Checkpoints
from lightning_modules.classifier import Classifier
from lightning_modules.compilation import compile_blocks, hindrance, pays
from lightning_modules.execution import Execution, Result
from lightning_modules.files import write_json
from lightning_modules.gang import conduct
from lightning_modules.image_data import ImageData
from lightning_modules.meeting import ALONE, Member, strategy_of, together
from lightning_modules.observers import (
    Curves,
    Diverged,
    DivergenceStop,
    Heartbeat,
    TimeLimit,
)
from lightning_modules.reading import Common, Reading, assist, read
from lightning_modules.steps import take_lean_steps
from lightning_modules.waiting import Waiting
from recipes import Recipe
from recipes.sharing import trained_for

_log = logging.getLogger(__name__)


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
        TimedOut: `execution.time_limit` is over; a later call goes on from there.
        RuntimeError: whatever the training itself raises; out of memory as torch raises it.
    """
    alone = Reading(recipe=recipe, folder=folder, keep=execution.keep)
    result = fit_together([alone], seed, execution, folder)[0]
    forget_checkpoints(folder)
    return result


def fit_together(
    readings: Sequence[Reading], seed: int, execution: Execution, folder: Path
) -> list[Result]:
    """Train once and evaluate every reading, each bit for bit as `fit` would alone (on one CPU).

    Args:
        readings: recipes that `recipes.sharing.together` puts in one group. The first one's result
            holds the seconds of the training, the others' those of their own evaluation.
        seed: of the run.
        execution: its `keep` is not read: the readings have their own.
        folder: of the training: its checkpoints, which stay until `forget_checkpoints`; with
            several readings, its whole curve too (`val/top1@1` is of the second recipe that was not
            trained itself).

    Raises:
        ValueError: the recipes cannot be read off one training. Otherwise as `fit`.
    """
    for reading in readings:
        if reading.keep not in ("none", "last", "ema"):
            raise ValueError(f"keep = {reading.keep!r} is not one of none, last, ema")
    if execution.devices > 1:
        return conduct(train, readings, seed, execution, folder)
    return train(readings, seed, execution, folder, ALONE)


def train(
    readings: Sequence[Reading], seed: int, execution: Execution, folder: Path, member: Member
) -> list[Result]:
    """Do what `fit_together` does, as one of the processes that do it together.

    Only the one that leads writes anything, and returns results.
    """
    first = trained_for([reading.recipe for reading in readings])
    order = [first, *(place for place in range(len(readings)) if place != first)]
    recipe = readings[first].recipe
    began = time.perf_counter()
    device = torch_device(execution.device)
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    for path in (folder, *(reading.folder for reading in readings)):
        path.mkdir(parents=True, exist_ok=True)
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
    others = [readings[place].recipe for place in order[1:]]
    module = Classifier(recipe, classes=data.classes, seed=seed, others=others)
    compiled = _compiled(module, recipe, execution.compile, device, data)
    curves = Curves(folder / "metrics.jsonl", began)
    results: dict[int, Result] = {}
    with quiet(), rounding_alike(execution.deterministic), together(member, device):
        watching = [curves, waiting, *_stops(recipe, execution, folder, began)]
        trainer = _trainer(recipe, execution, device, folder, watching, data, member)
        # What the first process goes on from, the others do.
        resume = newest(folder / FOLDER, module.readings) if member.leads else None
        resume = trainer.strategy.broadcast(resume)
        if resume is not None and member.leads:
            _log.warning("going on from the checkpoint of step %s", resume.name.split(".")[0])
        status, message = "finished", ""
        try:
            with _interruptible(trainer):
                trainer.fit(
                    module,
                    data,
                    ckpt_path=resume,
                    weights_only=True,
                )
        except Diverged as error:
            status, message = "diverged", str(error)
        module.to(device).eval()
        common = Common(
            status=status,
            message=message,
            evaluated_images=data.size(recipe.evaluate.split),
            chance_top1=data.chance(recipe.evaluate.split),
            epochs=recipe.optim.epochs,
            steps=trainer.global_step,
            train_seconds=curves.seconds,
            data_seconds=waiting.seconds,
            train_images_per_second=curves.steps
            * recipe.data.batch_size
            / max(curves.seconds, 1e-9),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            devices=member.devices,
            compiled=compiled,
            training=folder.name if len(readings) > 1 else None,
        )
        seen: dict[Any, Any] = {}
        for number, place in enumerate(order):
            if member.leads:
                results[place] = read(
                    module, number, readings[place], data, device, folder, common, seen
                )
            elif status == "finished":
                assist(module, number, data, device, seen)
        if not member.leads:
            return []
        spent = curves.whole_seconds - sum(one.seconds for one in results.values())
        results[0] = replace(results[0], seconds=spent + results[0].seconds)
    return [results[place] for place in range(len(readings))]


def _compiled(
    module: Classifier, recipe: Recipe, choice: str, device: torch.device, data: ImageData
) -> int:
    """Compile the network's blocks where the run is long enough; return how many."""
    if choice == "never":
        return 0
    _, macs = cost.count(recipe.model, data.classes, recipe.data.resolution)
    images = recipe.optim.epochs * data.steps_per_epoch * recipe.data.batch_size
    if hindrance(recipe) or not pays(choice, device, 3.0 * 2.0 * macs * images):
        return 0
    return compile_blocks(module.network)


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training whose results are safe."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def torch_device(name: str) -> torch.device:
    """Return the device that `cpu`, `cuda`, `cuda:1`, `mps` or `auto` names."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _stops(recipe: Recipe, execution: Execution, folder: Path, began: float) -> list[pl.Callback]:
    """Return what may end a training before its last step, and what it is gone on from."""
    found: list[pl.Callback] = [DivergenceStop()]
    if execution.on_progress is not None:
        found.append(Heartbeat(execution.on_progress, recipe.optim.epochs))
    save = None
    if execution.checkpoint_seconds is not None:
        kept = Checkpoints(
            folder / FOLDER, execution.checkpoint_seconds, execution.checkpoint_epochs
        )
        found.append(kept)
        save = kept.save_before_batch
    if execution.time_limit is not None:
        found.append(TimeLimit(execution.time_limit, began, save))
    return found


def _trainer(
    recipe: Recipe,
    execution: Execution,
    device: torch.device,
    folder: Path,
    callbacks: Sequence[pl.Callback],
    data: ImageData,
    member: Member,
) -> pl.Trainer:
    epochs = recipe.optim.epochs
    # One point of the curve per epoch, or fewer, and none where nothing is held out for it.
    every = max(-(-epochs // max(execution.evaluations, 1)), 1)
    held_out = data.size("minival") > 0 and execution.evaluations > 0
    alone = member.devices == 1
    begin = (device.index or 0) - member.rank  # of the devices of a run
    gpus = list(range(begin, begin + member.devices))
    return trainer_of(
        recipe,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=gpus if device.type == "cuda" else member.devices,
        strategy="auto" if alone else strategy_of(member),
        use_distributed_sampler=False,  # `Loader` divides batches itself
        callbacks=callbacks,
        logger=False,  # trackers read what is written: `metrics.jsonl`
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
        # Not what Lightning finds around it: in a job of SLURM it would want to be all its tasks.
        plugins=None if arguments.get("strategy", "auto") != "auto" else [LightningEnvironment()],
        **arguments,
    )
    return take_lean_steps(trainer) if trainer.world_size == 1 else trainer


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
def rounding_alike(wanted: bool) -> Iterator[None]:
    """Take only operations that give the same bits every time; one without raises `RuntimeError`.

    A CPU's do so anyway, at a fixed number of threads.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says to a person at a single run; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Our loader gathers whole batches from memory; workers would only slow it (measured).
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="Starting from v1.9.0.*")
        # What is logged is the same on every device already.
        warnings.filterwarnings("ignore", message=".*It is recommended to use .self.log.*sync_dist")
        warnings.filterwarnings("ignore", message="GPU available but not used.*")  # of a probe
        # Launchers start processes with what they need; a run is never a task of `srun`.
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
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
