"""One training read off several times is, bit for bit, every one of those recipes trained alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_modules.reading import Reading
from lightning_modules.training import fit, fit_together, forget_checkpoints
from recipes import edit, hook
from recipes.sharing import trained_for

_ABOUT = ("seconds", "peak_memory_bytes", "train_images_per_second", "train_seconds")
_FEW = ("plain", "average", "own momentum")
_COSTS = {*_ABOUT, "data_seconds", "training"}


@pytest.fixture(scope="module")
def family(tiny):
    """Recipes of one trajectory, with everything random on, the average neither first nor last."""
    plain = edit(
        tiny,
        {
            "optim.epochs": 3,
            "model.dropout": 0.2,
            "model.drop_path": 0.1,
            "model.drop_path_rule": "stage",
            "augment.randaug_layers": 1,
            "augment.randaug_magnitude": 4.0,
            "augment.randaug_space": "timm",
        },
    )
    average = {"optim.ema_decay": 0.9, "evaluate.weights": "ema", "model.bn_momentum": 1.0}
    return {
        "plain": plain,
        "average": edit(plain, average | {"optim.ema_warmup": True}),
        "other decay": edit(plain, average | {"optim.ema_decay": 0.5}),
        "own momentum": edit(plain, {"model.bn_momentum": 0.3}),
        "last batch": edit(plain, {"model.bn_momentum": 1.0}),
        "average beside": edit(plain, average | {"evaluate.weights": "raw"}),
    }


def _read(folder):
    with np.load(folder / "predictions.npz") as stored:
        predictions = {name: stored[name].tolist() for name in stored}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = torch.load(folder / "weights.pt", weights_only=True)
    return {
        "predictions": predictions,
        "curve": rows,
        "weights": {name: tensor.tolist() for name, tensor in weights.items()},
        "correct": np.load(folder / "correct.npy").tolist(),
        "minival": np.load(folder / "minival_correct.npy").tolist(),
    }


def _readings(family, folder):
    return [
        Reading(
            recipe=recipe, folder=folder / name, keep=recipe.evaluate.weights.replace("raw", "last")
        )
        for name, recipe in family.items()
    ]


def _stripped(result):
    return {name: value for name, value in vars(result).items() if name not in _COSTS}


@pytest.fixture(scope="module")
def alone(family, on_cpu, tmp_path_factory):
    """Every recipe trained by itself."""
    folder = tmp_path_factory.mktemp("alone")
    found = {}
    for reading in _readings(family, folder):
        own = replace(on_cpu, keep=reading.keep)
        found[reading.folder.name] = fit(reading.recipe, 1, own, reading.folder)
    return folder, found


def test_one_training_gives_what_each_gives_alone(family, alone, on_cpu, tmp_path):
    results = fit_together(_readings(family, tmp_path), 1, on_cpu, tmp_path / "training")
    separate, expected = alone
    for name, result in zip(family, results, strict=True):
        assert _stripped(result) == _stripped(expected[name]), name
        assert _read(tmp_path / name) == _read(separate / name), name
        assert result.training == "training"
    assert len({result.top1 for result in results}) > 1  # the readings are not all the same
    assert sum(one.seconds for one in results[1:]) < results[0].seconds  # which paid the training
    forget_checkpoints(tmp_path / "training")
    assert not (tmp_path / "training" / "checkpoint").exists()


STOPPING = """
    import pathlib

    seen = []

    def stop(images, targets, at, flag):
        seen.append(1)
        if pathlib.Path(flag).exists() and len(seen) == at:
            raise KeyboardInterrupt
        return images, targets
"""


def test_an_interrupted_training_goes_on_for_all_its_readings(
    family, on_cpu, tmp_path, user_module
):
    mine = user_module("mine_stop_together", STOPPING)
    flag = tmp_path / "flag"
    stop = hook("batch", mine.stop, at=8, flag=str(flag))  # in the third of 3 epochs of 3 steps
    recipes = {name: edit(family[name], {"custom.stop": stop}) for name in _FEW}
    saving = replace(on_cpu, checkpoint_seconds=0.0)
    fit_together(_readings(recipes, tmp_path / "whole"), 1, saving, tmp_path / "whole/training")
    flag.touch()
    mine.seen.clear()
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        fit_together(_readings(recipes, broken), 1, saving, broken / "training")
    flag.unlink()
    mine.seen.clear()
    fit_together(_readings(recipes, broken), 1, saving, broken / "training")
    assert len(mine.seen) == 3  # it did go on, not begin again
    for name in _FEW:
        assert _read(broken / name) == _read(tmp_path / "whole" / name), name


def test_a_checkpoint_of_other_readings_is_not_gone_on_from(family, on_cpu, tmp_path, user_module):
    mine = user_module("mine_stop_others", STOPPING)
    flag = tmp_path / "flag"
    flag.touch()
    stop = hook("batch", mine.stop, at=8, flag=str(flag))
    recipes = {name: edit(family[name], {"custom.stop": stop}) for name in _FEW}
    saving = replace(on_cpu, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit_together(_readings(recipes, tmp_path), 1, saving, tmp_path / "training")
    flag.unlink()
    mine.seen.clear()
    few = {name: recipes[name] for name in ("plain", "average")}
    fit_together(_readings(few, tmp_path), 1, saving, tmp_path / "training")
    assert len(mine.seen) == 9  # all three epochs


def test_what_has_the_most_to_be_read_off_is_trained(family):
    recipes = list(family.values())
    assert recipes[trained_for(recipes)].model.bn_momentum == 1.0
