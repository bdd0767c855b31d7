"""`Classifier`: the LightningModule that interprets a recipe. Works in any Lightning Trainer.

Longer than most: it has a method for every hook of Lightning that a recipe needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_modules.averaging import Averaged, batch_norm_momenta
from lightning_modules.backbones import build
from lightning_modules.batch_statistics import average_statistics, take_statistics_of
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
        others: recipes that are to be read off the same training (`readings.together`): reading 0
            is `recipe`, and these follow.
        classes: of the data set; known by name for digits, CIFAR and ImageNet.
        seed: of the run: initial weights, dropout and stochastic depth.

    Raises:
        RecipeError: the backbone cannot take the recipe, or the number of classes is not known.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        classes: int | None = None,
        seed: int = 0,
        others: Sequence[Recipe] = (),
    ) -> None:
        super().__init__()
        found = classes or _CLASSES.get(recipe.data.dataset)
        if found is None:
            raise RecipeError(f"how many classes has {recipe.data.dataset!r}? pass classes=")
        if recipe.task != "classification":
            raise RecipeError(f"no interpreter for the task {recipe.task!r}")
        seed = redrawn(seed, recipe.optim.redraw)
        self.recipe, self.seed, self.classes = recipe, seed, found
        network = build(recipe.model, classes=found, seed=seed)
        self.readings = (recipe, *others)
        owners = [_raw_momenta(network, recipe, one) for one in self.readings]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "custom"))
            for hook in hooks_of(recipe, "model"):
                network = made_by(hook, network, torch.nn.Module)
        self.network: torch.nn.Module = network.to(memory_format=torch.channels_last)
        self._raw_momenta = [  # of each reading, by the statistic's name after the hooks
            {
                f"{name}.{statistic}" if name else statistic: own[part]
                for name, part in self.network.named_modules()
                if part in own
                for statistic in ("running_mean", "running_var")
            }
            for own in owners
        ]
        take_statistics_of(self.network, recipe.optim.bn_batch)
        self._loss_hooks = hooks_of(recipe, "loss")
        if len(self._loss_hooks) > 1:
            names = [f"custom.{hook.name}" for hook in recipe.custom if hook.hook == "loss"]
            raise RecipeError(f"{' and '.join(names)} are both the loss: keep one of them")
        self._kept: list[Averaged | None] = [None] * len(self.readings)
        self._saved: list[dict[str, Any] | None] | None = None
        self._averaged_step = 0
        self.ema_decay = at(recipe.optim.ema_decay, 0.0)
        self.label_smoothing = at(recipe.loss.label_smoothing, 0.0)
        self._loss_sum: Tensor | None = None
        self._metrics: Any = torch.nn.ModuleDict()

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) of the raw network."""
        with self._arithmetic(images):
            return self.network(images).float()

    @property
    def averaged(self) -> Averaged | None:
        """The average of the recipe's own reading, or None where it has none."""
        return self._kept[0]

    def predict_logits(self, images: Tensor, weights: str, reading: int = 0) -> Tensor:
        """Return float32 logits (N, classes) of the `raw` or the `ema` weights, in eval mode."""
        state = self.state_of(weights, reading)
        if not state:
            return self(images)
        with self._arithmetic(images):
            return functional_call(self.network, state, (images,)).float()

    def state_of(self, weights: str, reading: int = 0) -> dict[str, Tensor]:
        """Return what stands in place of the network's own state for `raw` or `ema`, by name."""
        kept = self._kept[reading]
        if kept is None:
            return {}
        return kept.state() if weights == "ema" else kept.raw_statistics()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one augmented batch."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        names: tuple[str | int, ...] = (self.global_step, part) if part else (self.global_step,)
        if self.trainer.world_size > 1:  # each device drops by numbers of its own
            names += ("device", self.trainer.global_rank, self.trainer.world_size)
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

    def on_fit_start(self) -> None:
        """Take batch-norm statistics of as many images as the recipe says, on any devices."""
        take_statistics_of(self.network, self.recipe.optim.bn_batch, self.trainer.world_size)

    def on_train_start(self) -> None:
        """Begin the average at the initial weights, or where a checkpoint left it."""
        if self._saved is None and any(kept is not None for kept in self._kept):
            self._saved = self._states()  # of an earlier Trainer
        self._begin_averages()
        self._averaged_step = self.global_step

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average after the optimiser's step; log the epoch's mean loss at its end."""
        if self.trainer.world_size > 1 and self.recipe.optim.bn_batch:
            average_statistics(self.network)
        stepped = self.global_step > self._averaged_step  # not while gradients accumulate
        for reading, kept in enumerate(self._kept):
            if kept is None:
                continue
            kept.follow_statistics()
            optim = self.readings[reading].optim
            if stepped and peak(optim.ema_decay) > 0:
                decay = self.ema_decay if reading == 0 else at(optim.ema_decay, 0.0)
                kept.update(ema_decay_at(decay, kept.updates + 1, warmup=optim.ema_warmup))
        self._averaged_step = self.global_step
        if self.trainer.is_last_batch and self._loss_sum is not None:
            # Here, not at the epoch's end, where callbacks come before the module.
            mean = self._loss_sum / self.trainer.num_training_batches
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")  # over devices
            self.log("train/loss", mean, on_step=False, on_epoch=True, batch_size=1)
            self._loss_sum = None

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics anew."""
        if self._saved is not None:  # a checkpoint is evaluated, perhaps not the last state
            self._begin_averages()
        self._metrics = torch.nn.ModuleDict()
        for name in {self.view(*one): None for one in self._evaluated()}:
            accuracy = MulticlassAccuracy(self.classes, average="micro", validate_args=False)
            self._metrics[f"{name}_top1"] = accuracy.to(self.device)
            self._metrics[f"{name}_loss"] = MeanMetric(nan_strategy="disable").to(self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the accuracy and loss of every set of weights."""
        for name, (reading, weights) in {self.view(*one): one for one in self._evaluated()}.items():
            logits = self.predict_logits(batch.images, weights, reading)
            self._metrics[f"{name}_top1"].update(logits, batch.targets)
            losses = cross_entropy(logits, batch.targets, reduction="none")
            self._metrics[f"{name}_loss"].update(losses)

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
        for reading, weights in self._evaluated():
            view = self.view(reading, weights)
            top1 = 100.0 * self._metrics[f"{view}_top1"].compute()
            loss = self._metrics[f"{view}_loss"].compute()
            own = "" if reading == 0 else f"@{reading}"  # a logger is shown the recipe's alone
            found = {f"top1_{weights}": top1, f"loss_{weights}": loss}
            if weights == self.readings[reading].evaluate.weights:
                found |= {"top1": top1, "loss": loss}
            for name, value in found.items():
                self.log(f"{part}/{name}{own}", value, logger=None if reading == 0 else False)

    def evaluated_weights(self, reading: int = 0) -> tuple[str, ...]:
        """Return `raw`, and `ema` where there is an average."""
        averages = self._kept[reading] is not None and peak(self.readings[reading].optim.ema_decay)
        return ("raw", "ema") if averages else ("raw",)

    def view(self, reading: int, weights: str) -> str:
        """Return a name of what is evaluated, the same where readings look at the same state."""
        if weights == "raw":
            reading = self._raw_momenta.index(self._raw_momenta[reading])
        return f"{weights}_{reading}"

    def _evaluated(self) -> list[tuple[int, str]]:
        """Return every reading and set of weights that is evaluated."""
        each = range(len(self.readings))
        return [
            (reading, weights) for reading in each for weights in self.evaluated_weights(reading)
        ]

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
        """Keep the average, and the epoch's loss so far, beside the weights."""
        if self._loss_sum is not None:
            checkpoint["loss_sum"] = self._loss_sum
            if self.trainer.world_size > 1:  # a number per device
                sums = [torch.empty_like(self._loss_sum) for _ in range(self.trainer.world_size)]
                torch.distributed.all_gather(sums, self._loss_sum)
                checkpoint["loss_sum"] = torch.stack(sums)
        states = self._states()
        if states[0] is not None:
            checkpoint["averaged"] = states[0]
        if len(states) > 1:
            checkpoint["read_too"] = states[1:]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the average back once training or evaluation starts, and the loss so far."""
        self._loss_sum = checkpoint.get("loss_sum")
        if self._loss_sum is not None:
            if self._loss_sum.ndim:  # a number per device, perhaps of another count of them
                same = len(self._loss_sum) == self.trainer.world_size
                rank = self.trainer.global_rank
                self._loss_sum = self._loss_sum[rank] if same else self._loss_sum.mean()
            self._loss_sum = self._loss_sum.to(self.device)
        others = checkpoint.get("read_too", [None] * (len(self.readings) - 1))
        self._saved = [checkpoint.get("averaged"), *others]

    def _states(self) -> list[dict[str, Any] | None]:
        return [None if kept is None else kept.save() for kept in self._kept]

    def _begin_averages(self) -> None:
        """Begin what every reading keeps, at the network as it is or where it was saved."""
        saved = self._saved or [None] * len(self.readings)
        self._saved = None
        for reading, momenta in enumerate(self._raw_momenta):
            average = peak(self.readings[reading].optim.ema_decay) > 0
            if not average and not momenta:
                continue
            kept = Averaged(self.network, raw_momenta=momenta, average=average)
            state = saved[reading]
            if state is not None:
                kept.restore(state)
            self._kept[reading] = kept

    def _arithmetic(self, images: Tensor) -> Any:
        bf16 = self.recipe.optim.precision == "bf16"
        return torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)


def _raw_momenta(
    network: torch.nn.Module, trained: Recipe, reading: Recipe
) -> dict[torch.nn.Module, float]:
    """Return the momenta of a reading's raw statistics where the network's own are others.

    With an average over statistics of single batches (momentum 1), those of the raw weights keep
    the momentum that the backbone has of itself; see `Averaged`.
    """
    momentum = reading.model.bn_momentum
    if peak(reading.optim.ema_decay) > 0 and momentum == 1.0:
        momentum = None
    elif momentum == trained.model.bn_momentum:
        return {}
    return _own_momenta(network, edit(reading, {"model.bn_momentum": momentum}).model)


def _own_momenta(network: torch.nn.Module, model: Any) -> dict[torch.nn.Module, float]:
    """Return the momentum that each batch norm of a network has as the recipe's model builds it."""
    with torch.device("meta"):
        own = batch_norm_momenta(build(model))
    names = {name.removesuffix("running_mean") for name in own if name.endswith("running_mean")}
    return {
        network.get_submodule(name.removesuffix(".")): own[f"{name}running_mean"] for name in names
    }
