"""The lean loop takes Lightning's own steps: same weights, same counters, same hooks."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules import Classifier, ImageData
from lightning_modules.steps import LeanSteps, take_lean_steps
from recipes import edit, linear

RICH = {
    "optim.epochs": 2,
    "optim.ema_decay": 0.9,
    "optim.ema_warmup": True,
    "model.bn_momentum": 1.0,
    "optim.grad_clip": 0.5,
    "model.dropout": linear(0.1, 0.5),
    "loss.label_smoothing": linear(0.2, 0.0),
    "optim.warmup_epochs": 1.0,
}


class Heard(pl.Callback):
    """Every hook that is called around a step, with what can be seen from it."""

    def __init__(self) -> None:
        self.rows: list[object] = []

    def _note(self, name, trainer, *more):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append((name, trainer.global_step, trainer.current_epoch, rate, *more))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._note("start", trainer, batch_idx, batch.start, float(batch.images.sum()))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self._note("zero_grad", trainer)

    def on_before_backward(self, trainer, pl_module, loss):
        self._note("backward", trainer, float(loss.detach()))

    def on_after_backward(self, trainer, pl_module):
        self._note("gradient", trainer, float(pl_module.network.fc.weight.grad.norm()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self._note("step", trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._note("end", trainer, batch_idx, float(outputs["loss"]))

    def on_train_epoch_end(self, trainer, pl_module):
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._note("epoch", trainer, logged)


def _trained(recipe, cache, lean, **arguments):
    module = Classifier(recipe, seed=3)
    heard = Heard()
    trainer = pl.Trainer(
        max_epochs=recipe.optim.epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[heard],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,
        **arguments,
    )
    if lean:
        take_lean_steps(trainer)
    trainer.fit(module, ImageData(recipe, seed=3, cache=cache))
    return trainer, module, heard.rows


def _loops(trainer):
    checkpoint = trainer._checkpoint_connector.dump_checkpoint()
    return checkpoint["loops"]["fit_loop"]


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*logging interval.*")
@pytest.mark.parametrize("changes", [RICH, {"optim.precision": "bf16"}], ids=["rich", "bf16"])
def test_lean_steps_are_lightnings_own(tiny, cache, changes):
    recipe = edit(tiny, changes)
    (plain, first, expected), (lean, second, found) = (
        _trained(recipe, cache, lean) for lean in (False, True)
    )
    assert isinstance(lean.fit_loop.epoch_loop, LeanSteps)
    if recipe.optim.precision == "32":  # bf16 gradients of a CPU are not the same twice
        assert found == expected
        states = [one.state_dict() for one in (first, second)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        averages = [one.averaged.state() for one in (first, second)]
        assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert _loops(lean) == _loops(plain)
    assert lean.global_step == plain.global_step > 0


@pytest.mark.parametrize(
    "arguments", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}], ids=str
)
def test_what_a_lean_step_would_leave_out_is_refused(arguments):
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **arguments)
    with pytest.raises(ValueError, match="without accumulation, clipping or scaling"):
        take_lean_steps(trainer)
