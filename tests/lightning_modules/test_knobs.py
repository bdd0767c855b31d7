from typing import get_args

import pytest
import pytorch_lightning as pl
from torch import nn

from lightning_modules import Classifier, ImageData
from lightning_modules.backbones import block_rates
from lightning_modules.knobs import KNOBS
from recipes import Recipe, Schedule, at, cosine, edit, linear, step
from recipes.tree import leaf_types


def test_every_leaf_that_may_move_has_a_knob():
    scalars = {path for path, kind in leaf_types().items() if Schedule in get_args(kind)}
    assert set(KNOBS) == scalars
    assert scalars


MOVING = {
    "model.dropout": linear(0.1, 0.6),
    "model.drop_path": linear(0.0, 0.3),
    "augment.randaug_magnitude": linear(2.0, 10.0),
    "optim.momentum": step(0.5, 0.9),
    "optim.weight_decay": cosine(1e-2, 1e-4),
    "optim.ema_decay": linear(0.5, 0.9),
    "loss.label_smoothing": linear(0.2, 0.0),
}
SWITCHES = {
    "model.drop_path_rule": "stage",
    "augment.randaug_layers": 1,
    "augment.randaug_space": "timm",
    "optim.epochs": 3,
    "optim.decay_scope": "not_norm",
}


class Noted(ImageData):
    """Notes the magnitude that each batch is augmented with."""

    magnitude = -1.0

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.magnitude = self.randaugment.magnitude
        return super().on_after_batch_transfer(batch, dataloader_idx)


class Seen(pl.Callback):
    """What every knob has set when the optimiser has just stepped."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        network, groups = pl_module.network, trainer.optimizers[0].param_groups
        assert groups[1]["weight_decay"] == 0
        self.rows.append(
            {
                "model.dropout": network.drop_rate,
                "model.drop_path": block_rates(network)["layer4.0.drop_path"],
                "augment.randaug_magnitude": trainer.datamodule.magnitude,
                "optim.momentum": groups[1]["momentum"],
                "optim.weight_decay": groups[0]["weight_decay"],
                "optim.ema_decay": pl_module.ema_decay,
                "loss.label_smoothing": pl_module.label_smoothing,
            }
        )


def seen_in_a_run(recipe: Recipe, cache) -> list[dict[str, float]]:
    seen = Seen()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=recipe.optim.epochs,
        callbacks=[seen],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(Classifier(recipe), Noted(recipe, cache=cache))
    return seen.rows


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_each_knob_follows_its_schedule_at_every_step_of_a_run(tiny, cache):
    rows = seen_in_a_run(edit(tiny, SWITCHES | MOVING), cache)
    assert len(rows) == 9
    for number, row in enumerate(rows):
        wanted = {path: at(schedule, number / 9) for path, schedule in MOVING.items()}
        assert row == pytest.approx(wanted)
    assert all(len({row[path] for row in rows}) > 1 for path in MOVING)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_plain_number_is_set_and_stays(tiny, cache):
    fixed = {path: at(schedule, 1.0) or 0.05 for path, schedule in MOVING.items()}
    rows = seen_in_a_run(edit(tiny, SWITCHES | fixed), cache)
    assert rows == [pytest.approx(fixed)] * 9


def test_a_moved_dropout_reaches_a_module_that_owns_its_dropout(tiny):
    recipe = edit(
        tiny,
        {
            "model.backbone": "test_vit",
            "model.layers": (),
            "model.width": 1.0,
            "model.zero_init_last": False,
            "model.dropout": 0.5,
        },
    )
    module = Classifier(recipe)
    KNOBS["model.dropout"](None, module, 0.25)  # type: ignore[arg-type]
    assert 0.25 in {part.p for part in module.network.modules() if isinstance(part, nn.Dropout)}
