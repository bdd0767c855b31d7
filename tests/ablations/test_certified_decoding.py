"""Scaled decoding as an arm: proven to change the training images and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ablations.designs import lay_out
from lightning_modules import Execution
from recipes import Component, Kind, Recipe, edit, load
from tests.ablations.certified import certificates


@dataclass(frozen=True)
class ScaledDecoding(Component):
    """Decode JPEGs at a smaller scale.

    Sets: data.decode
    """

    key = "sets"
    kind = Kind.AUGMENTATION

    def edits(self, recipe: Recipe) -> Any:
        return {"data.decode": "scaled"}


@pytest.mark.parametrize(("side", "proven"), [(320, True), (40, False)])
def test_scaled_decoding_is_certified_where_it_does_something(
    tmp_path: Path, side: int, proven: bool
) -> None:
    """Images of 40 pixels are never halved for crops of 32: such an arm would be a silent zero."""
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    for part in ("train", "val"):
        for k in range(8):
            path = tmp_path / "photos" / part / "ab"[k % 2] / f"{k}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photos[k % 2].crop((10 * k, 0, 10 * k + 400, 400)).resize((side, side)).save(path)
    base = edit(
        load("tiny"),
        {
            "data.dataset": "imagefolder",
            "data.stored_size": 0,
            "data.resolution": 32,
            "data.batch_size": 4,
            "data.train_fraction": 1.0,
            "data.minival_fraction": 0.0,
            "evaluate.split": "validation",
        },
    )
    execution = Execution(
        data_folder=tmp_path / "photos", cache=tmp_path / "cache", device="cpu", threads=1
    )
    layout = lay_out("one-at-a-time", base, [ScaledDecoding()])
    found = certificates(layout, execution)[1]
    if proven:
        assert not found.wrong and {"augmentation", "inputs"} <= set(found.changed)
    else:
        assert any("inputs" in problem for problem in found.wrong)
