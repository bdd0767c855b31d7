"""The sections of a step are all of it, and looking at them changes nothing."""

from __future__ import annotations

import pytest
import torch

from lightning_modules import Execution, ImageData
from lightning_modules.averaging import Averaged
from lightning_modules.sections import STEP, Sections, measure
from recipes import Recipe, edit


@pytest.fixture(scope="module")
def found(tiny: Recipe, on_cpu: Execution) -> Sections:
    recipe = edit(tiny, {"optim.ema_decay": 0.9, "optim.epochs": 2})
    return measure(recipe, on_cpu, most=5, seconds=30.0)


def test_sections_add_up_to_the_steps_that_one_clock_measured(found: Sections) -> None:
    assert tuple(found.step) == STEP
    assert sum(found.step.values()) == pytest.approx(found.step_seconds, rel=0.02)
    assert found.steps_measured == 5  # the warm-up and the last batch asked for are not among them
    assert sum(found.step.values()) - found.step["rest"] > 0.5 * found.step_seconds


def test_every_section_of_this_recipe_took_time(found: Sections) -> None:
    assert all(found.step[name] > 0 for name in ("input", "forward", "backward", "optimiser"))
    assert found.step["ema"] > 0
    assert min(found.evaluation, found.checkpoint, found.start) > 0


def test_a_run_is_counted_as_fit_makes_it(found: Sections, tiny: Recipe, on_cpu: Execution) -> None:
    data = ImageData(tiny, cache=on_cpu.cache)
    data.setup()
    minival, split = data.size("minival"), data.size(tiny.evaluate.split)
    assert found.steps == 2 * data.steps_per_epoch
    assert found.evaluated_images == 2 * (2 * minival + split) + minival
    assert found.run_seconds == pytest.approx(sum(found.parts().values()))


def test_the_clock_is_taken_down_afterwards(found: Sections) -> None:
    for function in (torch.autograd.backward, Averaged.update, torch.optim.Optimizer.zero_grad):
        assert function.__module__ != "lightning_modules.sections"
