"""The one place where schedules move: every `Scalar` leaf has a knob here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from lightning_modules.backbones import set_drop_path, set_dropout
from lightning_modules.optim import set_momentum, set_weight_decay
from recipes import Recipe, Schedule, at
from recipes.tree import value_at

if TYPE_CHECKING:
    from lightning_modules.classifier import Classifier

Knob = Callable[[pl.Trainer, "Classifier", float], None]


def _set_magnitude(trainer: pl.Trainer, module: Classifier, value: float) -> None:
    data: Any = getattr(trainer, "datamodule", None)
    if data is not None and hasattr(data, "set_magnitude"):
        data.set_magnitude(value)


KNOBS: dict[str, Knob] = {
    "model.dropout": lambda trainer, module, value: set_dropout(module.network, value),
    "model.drop_path": lambda trainer, module, value: set_drop_path(module.network, value),
    "augment.randaug_magnitude": _set_magnitude,
    "optim.momentum": lambda trainer, module, value: set_momentum(trainer.optimizers[0], value),
    "optim.weight_decay": lambda trainer, module, value: set_weight_decay(
        trainer.optimizers[0], value
    ),
    "optim.ema_decay": lambda trainer, module, value: setattr(module, "ema_decay", value),
    "loss.label_smoothing": lambda trainer, module, value: setattr(
        module, "label_smoothing", value
    ),
}


# A batch is augmented when it is transferred, before its `on_train_batch_start`.
_WITH_THE_BATCH = ("augment.randaug_magnitude",)


class Knobs(pl.Callback):
    """Moves the scheduled knobs before every step.

    A knob without a schedule is never touched: plain numbers stand where the network, the
    optimiser and the data were made; setting them again would undo what a user's hook has done.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._scheduled = tuple(p for p in KNOBS if isinstance(value_at(recipe, p), Schedule))
        self._with_the_batch = tuple(p for p in self._scheduled if p in _WITH_THE_BATCH)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the scheduled knobs to the present progress: a resumed run does not begin at 0."""
        self._turn(trainer, pl_module, self._scheduled)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Move the scheduled knobs."""
        self._turn(trainer, pl_module, self._scheduled)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move what the next batch is made with."""
        self._turn(trainer, pl_module, self._with_the_batch)

    def _turn(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, paths: tuple[str, ...]
    ) -> None:
        if not paths:
            return
        module: Classifier = pl_module  # type: ignore[assignment]
        progress = min(trainer.global_step / max(trainer.estimated_stepping_batches, 1), 1.0)
        turn(trainer, module, progress, paths)


def turn(
    trainer: pl.Trainer, module: Classifier, progress: float, paths: tuple[str, ...] = tuple(KNOBS)
) -> None:
    """Move the scheduled ones among `paths` to their values at a progress in [0, 1]."""
    for path in paths:
        scalar = value_at(module.recipe, path)
        if isinstance(scalar, Schedule):
            KNOBS[path](trainer, module, at(scalar, progress))
