"""The training steps of a run without what nobody listens to.

Lightning's own epoch loop asks every callback, the module, the strategy and a profiler about
twenty hooks a step; on a small network that costs more than the step. `LeanSteps` takes the same
steps, in the same order, bit for bit, and calls only hooks that somebody has.

Loops are not part of Lightning's public interface; there is no public way to take a step without
its overhead (manual optimisation keeps most of it). Only the loop's `advance` and `on_advance_end`
are replaced, its counters are kept as it keeps them, so that checkpoints are the same. The tests
compare a training by this loop with one by Lightning's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from lightning_modules.classifier import Classifier
from lightning_modules.image_data import ImageData

_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class LeanSteps(_TrainingEpochLoop):
    """The steps of a `Classifier` that `ImageData` feeds on one device, batch by batch."""

    def advance(self, data_fetcher: Any) -> None:
        """Take one step."""
        if self.restarting:  # the first of a resumed training: Lightning puts its counters right
            super().advance(data_fetcher)
            return
        trainer, module, data, callbacks = self._cast()
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        last = self.batch_progress.is_last_batch = data_fetcher.done
        batch = data.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        batch = data.on_after_batch_transfer(batch, 0)
        self.batch_progress.increment_ready()
        if last:  # what is logged at the end of an epoch needs to know of its batch
            trainer._logger_connector.on_batch_start(batch)
        for hook in callbacks["on_train_batch_start"]:
            hook(trainer, module, batch, batch_idx)
        self.batch_progress.increment_started()
        loss = self._step(trainer, module, callbacks, batch, batch_idx)
        self.batch_progress.increment_processed()
        self.scheduler_progress.increment_ready()
        trainer.lr_scheduler_configs[0].scheduler.step()
        self.scheduler_progress.increment_completed()
        if last:
            self._end_of_epoch(trainer, module, callbacks, loss, batch, batch_idx)
        else:
            for hook in callbacks["on_train_batch_end"]:
                hook(trainer, module, {"loss": loss}, batch, batch_idx)
            module.on_train_batch_end({"loss": loss}, batch, batch_idx)
        self.batch_progress.increment_completed()

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Evaluate where an epoch ends."""
        if self.batch_progress.is_last_batch or self.trainer.should_stop or self.restarting:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1
            if self.trainer.received_sigterm:
                super().on_advance_end(data_fetcher)  # raises what Lightning raises

    def _step(
        self,
        trainer: pl.Trainer,
        module: Classifier,
        callbacks: dict[str, list[Callable[..., Any]]],
        batch: Any,
        batch_idx: int,
    ) -> torch.Tensor:
        optimizer = trainer.optimizers[0]
        progress = self.automatic_optimization.optim_progress.optimizer
        progress.step.increment_ready()
        with torch.enable_grad():
            loss = module.training_step(batch, batch_idx)
            progress.zero_grad.increment_ready()
            for hook in callbacks["on_before_zero_grad"]:
                hook(trainer, module, optimizer)
            progress.zero_grad.increment_started()
            optimizer.zero_grad()
            progress.zero_grad.increment_completed()
            for hook in callbacks["on_before_backward"]:
                hook(trainer, module, loss)
            loss.backward()
            for hook in callbacks["on_after_backward"]:
                hook(trainer, module)
        for hook in callbacks["on_before_optimizer_step"]:
            hook(trainer, module, optimizer)
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        progress.step.increment_completed()
        return loss.detach()

    def _end_of_epoch(
        self,
        trainer: pl.Trainer,
        module: Classifier,
        callbacks: dict[str, list[Callable[..., Any]]],
        loss: torch.Tensor,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Call the hooks of the epoch's last batch as Lightning does: it takes what they log."""
        from pytorch_lightning.trainer import call

        outputs = {"loss": loss}
        call._call_callback_hooks(trainer, "on_train_batch_end", outputs, batch, batch_idx)
        call._call_lightning_module_hook(trainer, "on_train_batch_end", outputs, batch, batch_idx)
        trainer._logger_connector.on_batch_end()
        trainer._logger_connector.update_train_step_metrics()

    def _cast(self) -> tuple[Any, Classifier, ImageData, dict[str, list[Callable[..., Any]]]]:
        """Return who takes part; found once, since nobody joins in the middle of a training."""
        found = getattr(self, "_found", None)
        if found is None:
            trainer: Any = self.trainer
            hooks = {
                name: [
                    getattr(one, name)
                    for one in trainer.callbacks
                    if getattr(type(one), name) is not getattr(pl.Callback, name)
                ]
                for name in _HOOKS
            }
            found = self._found = (trainer, trainer.lightning_module, trainer.datamodule, hooks)
        return found


def take_lean_steps(trainer: pl.Trainer) -> pl.Trainer:
    """Give a Trainer, made for one device and no accumulation, the lean loop; return it.

    Raises:
        ValueError: the Trainer accumulates gradients, clips or scales them, or has several devices.
    """
    plain = (
        trainer.world_size == 1
        and trainer.accumulate_grad_batches == 1
        and not trainer.gradient_clip_val
        and getattr(trainer.precision_plugin, "scaler", None) is None
    )
    if not plain:
        raise ValueError("lean steps are for one device, without accumulation, clipping or scaling")
    before = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanSteps(trainer, before.min_steps, before.max_steps)
    return trainer
