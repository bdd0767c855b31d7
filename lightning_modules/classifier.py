"""`Classifier`: the LightningModule that interprets a recipe. Works in any Lightning Trainer."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_modules.averaging import Averaged, batch_norm_momenta
from lightning_modules.backbones import build
from lightning_modules.custom import hooks_of, made_by
from lightning_modules.image_data import Batch
from lightning_modules.knobs import Knobs
from lightning_modules.optim import make_optimizer
from lightning_modules.schedules import ema_decay_at, lr_factor
from lightning_modules.streams import redrawn, seed_torch, stream_seed
from recipes import Recipe, RecipeError, at, peak
from recipes.tree import edit

_CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000}


class Classifier(pl.LightningModule):
    """A network, its loss, its optimiser and its averages, all from one recipe.

    Args:
        recipe: read whole; `data` only for its batch size.
        classes: of the data set; known by name for digits, CIFAR and ImageNet.
        seed: of the run: initial weights, dropout and stochastic depth.

    Raises:
        RecipeError: the backbone cannot take the recipe, or the number of classes is not known.
    """

    def __init__(self, recipe: Recipe, *, classes: int | None = None, seed: int = 0) -> None:
        super().__init__()
        found = classes or _CLASSES.get(recipe.data.dataset)
        if found is None:
            raise RecipeError(f"how many classes has {recipe.data.dataset!r}? pass classes=")
        if recipe.task != "classification":
            raise RecipeError(f"no interpreter for the task {recipe.task!r}")
        seed = redrawn(seed, recipe.optim.redraw)
        self.recipe, self.seed, self.classes = recipe, seed, found
        network = build(recipe.model, classes=found, seed=seed)
        # Statistics of the raw weights keep the backbone's own momentum; see `Averaged`.
        own: dict[torch.nn.Module, float] = {}
        if peak(recipe.optim.ema_decay) > 0 and recipe.model.bn_momentum == 1.0:
            own = _own_momenta(network, edit(recipe, {"model.bn_momentum": None}).model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "custom"))
            for hook in hooks_of(recipe, "model"):
                network = made_by(hook, network, torch.nn.Module)
        self.network: torch.nn.Module = network.to(memory_format=torch.channels_last)
        self._raw_momenta = {
            f"{name}.{statistic}" if name else statistic: own[part]
            for name, part in self.network.named_modules()
            if part in own
            for statistic in ("running_mean", "running_var")
        }
        self._loss_hooks = hooks_of(recipe, "loss")
        if len(self._loss_hooks) > 1:
            names = [f"custom.{hook.name}" for hook in recipe.custom if hook.hook == "loss"]
            raise RecipeError(f"{' and '.join(names)} are both the loss: keep one of them")
        self.averaged: Averaged | None = None
        self._saved_average: dict[str, Any] | None = None
        self._averaged_step = 0
        self.ema_decay = at(recipe.optim.ema_decay, 0.0)
        self.label_smoothing = at(recipe.loss.label_smoothing, 0.0)
        self._loss_sum: Tensor | None = None
        self._metrics: Any = torch.nn.ModuleDict()

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) of the raw network."""
        with self._arithmetic(images):
            return self.network(images).float()

    def predict_logits(self, images: Tensor, weights: str) -> Tensor:
        """Return float32 logits (N, classes) of the `raw` or the `ema` weights, in eval mode."""
        state = self.state_of(weights)
        if not state:
            return self(images)
        with self._arithmetic(images):
            return functional_call(self.network, state, (images,)).float()

    def state_of(self, weights: str) -> dict[str, Tensor]:
        """Return what stands in place of the network's own state for `raw` or `ema`, by name."""
        if self.averaged is None:
            return {}
        return self.averaged.state() if weights == "ema" else self.averaged.raw_statistics()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one augmented batch."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        names = (self.global_step, part) if part else (self.global_step,)
        seed_torch(batch.images.device, stream_seed(self.seed, "forward", *names))
        logits = self(batch.images)
        loss = self.loss(logits, batch.targets)
        total = loss.detach()
        self._loss_sum = total if self._loss_sum is None else self._loss_sum + total
        return loss

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the recipe's training loss; targets are class indices or probabilities.

        A loss hook takes the place of cross-entropy, not of label smoothing: where that is on, it
        is given smoothed probabilities.
        """
        for hook in self._loss_hooks:
            if self.label_smoothing > 0:
                if targets.ndim == 1:
                    targets = one_hot(targets, logits.shape[1]).to(logits.dtype)
                targets = torch.lerp(
                    targets, torch.full_like(targets, 1 / logits.shape[1]), self.label_smoothing
                )
            return hook(logits, targets)
        return cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def on_train_start(self) -> None:
        """Begin the average at the initial weights, or where a checkpoint left it."""
        if peak(self.recipe.optim.ema_decay) > 0:
            if self.averaged is not None and self._saved_average is None:
                self._saved_average = self.averaged.save()  # of an earlier Trainer
            self.averaged = Averaged(self.network, raw_momenta=self._raw_momenta)
            self._take_saved_average()
        self._averaged_step = self.global_step

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average after the optimiser's step; log the epoch's mean loss at its end."""
        if self.averaged is not None:
            self.averaged.follow_statistics()
            if self.global_step > self._averaged_step:  # not while gradients accumulate
                updates = self.averaged.updates + 1
                warmup = self.recipe.optim.ema_warmup
                self.averaged.update(ema_decay_at(self.ema_decay, updates, warmup=warmup))
                self._averaged_step = self.global_step
        if self.trainer.is_last_batch and self._loss_sum is not None:
            # Here, not at the epoch's end, where callbacks come before the module.
            mean = self._loss_sum / self.trainer.num_training_batches
            self.log("train/loss", mean, on_step=False, on_epoch=True, batch_size=1)
            self._loss_sum = None

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics anew."""
        if self._saved_average is not None:  # a checkpoint is evaluated, perhaps not the last state
            self.averaged = Averaged(self.network, raw_momenta=self._raw_momenta)
            self._take_saved_average()
        self._metrics = torch.nn.ModuleDict()
        for weights in self.evaluated_weights():
            accuracy = MulticlassAccuracy(self.classes, average="micro", validate_args=False)
            self._metrics[f"{weights}_top1"] = accuracy.to(self.device)
            self._metrics[f"{weights}_loss"] = MeanMetric(nan_strategy="disable").to(self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the accuracy and loss of every set of weights."""
        for weights in self.evaluated_weights():
            logits = self.predict_logits(batch.images, weights)
            self._metrics[f"{weights}_top1"].update(logits, batch.targets)
            losses = cross_entropy(logits, batch.targets, reduction="none")
            self._metrics[f"{weights}_loss"].update(losses)

    def on_validation_epoch_end(self) -> None:
        """Log `val/top1` (percent) and `val/loss` of the recipe's weights, and of the others."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """As for validation; a Trainer's `test` reads `evaluate.split`."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As for validation."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log `test/top1` (percent) and `test/loss`, as for validation."""
        self._log_metrics("test")

    def _log_metrics(self, part: str) -> None:
        for weights in self.evaluated_weights():
            top1 = 100.0 * self._metrics[f"{weights}_top1"].compute()
            loss = self._metrics[f"{weights}_loss"].compute()
            self.log(f"{part}/top1_{weights}", top1)
            self.log(f"{part}/loss_{weights}", loss)
            if weights == self.recipe.evaluate.weights:
                self.log(f"{part}/top1", top1)
                self.log(f"{part}/loss", loss)

    def evaluated_weights(self) -> tuple[str, ...]:
        """Return `raw`, and `ema` where there is an average."""
        return ("raw",) if self.averaged is None else ("raw", "ema")

    def configure_optimizers(self) -> Any:
        """Return the optimiser and the learning rate of every step."""
        optimizer = make_optimizer(self.network, self.recipe)
        for hook in hooks_of(self.recipe, "optimizer"):
            optimizer = made_by(hook, optimizer, torch.optim.Optimizer)
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise RecipeError(
                "a recipe has an end: give the Trainer max_epochs or max_steps, as"
                f" max_epochs={self.recipe.optim.epochs}"
            )
        steps = int(self.trainer.estimated_stepping_batches)
        accumulated = self.trainer.accumulate_grad_batches
        per_epoch = max(-(-int(self.trainer.num_training_batches) // accumulated), 1)
        optim = self.recipe.optim
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(optim, step, per_epoch, steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the recipe; a Trainer's own clipping is used only where the recipe has none."""
        if self.recipe.optim.grad_clip > 0:
            # Not self.clip_gradients, which raises where the Trainer has another value, nor the
            # precision plugin's, which refuses fused optimisers under bf16 too.
            if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
                raise RecipeError(
                    "optim.grad_clip needs a Trainer without a gradient scaler: use precision 32 or"
                    " bf16"
                )
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optim.grad_clip)
        elif gradient_clip_val:
            self.clip_gradients(
                optimizer,
                gradient_clip_val=gradient_clip_val,
                gradient_clip_algorithm=gradient_clip_algorithm,
            )

    def configure_callbacks(self) -> list[pl.Callback]:
        """Return what moves schedules, so that they move in anybody's Trainer."""
        return [Knobs(self.recipe)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the average beside the weights."""
        if self.averaged is not None:
            checkpoint["averaged"] = self.averaged.save()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the average back once training or evaluation starts."""
        self._saved_average = checkpoint.get("averaged")

    def _take_saved_average(self) -> None:
        if self.averaged is not None and self._saved_average is not None:
            self.averaged.restore(self._saved_average)
        self._saved_average = None

    def _arithmetic(self, images: Tensor) -> Any:
        bf16 = self.recipe.optim.precision == "bf16"
        return torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)


def _own_momenta(network: torch.nn.Module, model: Any) -> dict[torch.nn.Module, float]:
    """Return the momentum that each batch norm of the backbone has of itself."""
    with torch.device("meta"):
        own = batch_norm_momenta(build(model))
    names = {name.removesuffix("running_mean") for name in own if name.endswith("running_mean")}
    return {
        network.get_submodule(name.removesuffix(".")): own[f"{name}running_mean"] for name in names
    }
