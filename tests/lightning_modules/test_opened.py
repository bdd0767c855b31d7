"""Opened data are kept for the next run of a process, and never outlive a change of the files."""

import os
import time

import numpy as np
from PIL import Image

from lightning_modules import ImageData
from recipes import Recipe, edit


def opened(recipe: Recipe, cache) -> ImageData:
    data = ImageData(recipe, cache=cache, seed=3)
    data.setup()
    return data


def test_a_second_run_of_a_process_decodes_and_gathers_nothing(tiny, cache):
    first, second = opened(tiny, cache), opened(edit(tiny, {"optim.epochs": 2}), cache)
    assert second._opened is first._opened
    other = opened(edit(tiny, {"data.stored_size": 9}), cache)
    assert other._opened is not first._opened


def test_a_file_that_changed_between_runs_is_seen(tiny, cache, tmp_path):
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                _write(tmp_path / part / name / f"{number}.png", 40 * number)
    leaves = {
        "data.dataset": "imagefolder",
        "data.batch_size": 2,
        "data.train_fraction": 1.0,
        "data.minival_fraction": 0.0,
    }

    def run() -> ImageData:
        data = ImageData(edit(tiny, leaves), folder=tmp_path, cache=cache)
        data.setup()
        return data

    first, second = run(), run()
    assert second._opened is first._opened
    _write(tmp_path / "train" / "a" / "0.png", 200)
    third = run()
    assert third._opened.fingerprint != first._opened.fingerprint
    assert third.part("train").gather(np.array([0])).unique().tolist() == [200]


def _write(path, grey: int) -> None:
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
    then = time.time() - 60 + grey / 10  # old enough for its time to be trusted
    os.utime(path, (then, then))
