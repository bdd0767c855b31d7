import math

import pytest
import torch
from timm.utils import ModelEmaV3

import recipes
from lightning_modules.schedules import ema_decay_at, lr_factor, peak_lr
from recipes import Optim, Recipe, edit

TRAIN = 1_281_167  # images of ImageNet-1k


def steps_of(recipe: Recipe) -> tuple[int, int]:
    """Return the steps of an epoch and of a run of a published recipe on ImageNet."""
    data = recipe.data
    assert (data.dataset, data.train_fraction) == ("imagenet", 1.0)
    per_epoch = int(TRAIN * (1 - data.minival_fraction)) // data.batch_size
    return per_epoch, recipe.optim.epochs * per_epoch


def optim(epochs: int, **leaves: object) -> Optim:
    bare = {"optimizer": "sgd", "lr": 0.1, "epochs": epochs}
    return Optim(**bare | leaves)  # type: ignore[arg-type]


def factors(shape: Optim, per_epoch: int) -> list[float]:
    steps = shape.epochs * per_epoch
    return [lr_factor(shape, step, per_epoch, steps) for step in range(steps)]


@pytest.mark.parametrize("per_epoch", [1, 3, 312])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 5.0])
def test_cosine_with_warm_up_is_its_closed_form_at_every_step(per_epoch, warmup):
    epochs = 20
    steps, warm = epochs * per_epoch, warmup * per_epoch
    found = factors(optim(epochs, schedule="cosine", warmup_epochs=warmup), per_epoch)
    for step, factor in enumerate(found):
        # half the real part of 1 + exp(i pi k / N), and a line to it (facts.md 3.1)
        wave = math.cos(math.pi * max(step, warm) / steps / 2) ** 2
        assert factor == pytest.approx(wave * min(step / warm, 1.0) if warm else wave, abs=1e-12)


@pytest.mark.parametrize("name", ["resnet_rs_50_160", "resnet_rs_420_320"])
def test_the_learning_rate_of_the_paper_is_its_closed_form_at_every_step(name):
    recipe = recipes.load(name)
    peak = peak_lr(recipe.optim, recipe.data.batch_size)
    per_epoch, steps = steps_of(recipe)
    warm = recipe.optim.warmup_epochs * per_epoch
    assert (per_epoch, steps, warm) == (312, 109_200, 1560)  # facts.md 3.1
    found = [peak * factor for factor in factors(recipe.optim, per_epoch)]
    assert len(found) == steps
    for step, rate in enumerate(found):
        wave = 0.8 * (1 + math.cos(math.pi * max(step, warm) / steps))
        assert abs(rate - wave * min(step / warm, 1)) < 1e-12


def test_the_decay_of_the_paper_s_average_is_its_closed_form_at_every_step():
    recipe = recipes.load("resnet_rs_200_256")
    optim, (_, steps) = recipe.optim, steps_of(recipe)
    assert (optim.ema_decay, optim.ema_warmup) == (0.9999, True)
    for updates in range(1, steps + 1):
        # (1 + k) / (10 + k) = 1 - 9 / (10 + k), until it reaches 0.9999 at k = 89,990
        wanted = 1 - 9 / (10 + updates) if updates < 89_990 else 0.9999
        found = ema_decay_at(optim.ema_decay, updates, warmup=optim.ema_warmup)
        assert abs(found - wanted) < 1e-12


def test_the_staircase_of_efficientnet_is_its_closed_form_at_every_step():
    recipe = recipes.load("efficientnet_b0")
    per_epoch, steps = steps_of(recipe)
    warm = 5 * per_epoch
    assert (per_epoch, steps) == (625, 350 * 625)
    found = factors(recipe.optim, per_epoch)
    for step, factor in enumerate(found):  # 2.4 epochs are 1,500 steps; by step 3,125 two passed
        wanted = 0.97 ** (step // 1500) if step >= warm else step / warm
        assert abs(factor - wanted) < 1e-12
    # tensorflow/tpu warms up to the full rate, which then drops onto the staircase.
    assert found[warm - 1] > 0.999
    assert found[warm] == pytest.approx(0.97**2)


def test_the_model_gardens_numbers_come_out():
    recipe = optim(350, schedule="cosine", warmup_epochs=5)
    at_warm_end = 1.6 * lr_factor(recipe, 1560, 312, 109_200)
    assert at_warm_end == pytest.approx(1.59919, abs=5e-6)  # facts.md 3.1
    assert 1.6 * lr_factor(recipe, 780, 312, 109_200) == pytest.approx(at_warm_end / 2, abs=1e-12)
    assert lr_factor(recipe, 109_200, 312, 109_200) == pytest.approx(0, abs=1e-12)


def test_the_learning_rate_is_for_256_images():
    paper = recipes.load("resnet200")
    assert peak_lr(paper.optim, paper.data.batch_size) == pytest.approx(1.6)  # facts.md 3.1


@pytest.mark.parametrize("per_epoch", [1, 7, 311, 1251])
def test_the_baselines_steps_fall_exactly_at_epochs_30_60_and_80(per_epoch):
    baseline = recipes.load("resnet200").optim
    found = factors(baseline, per_epoch)
    for epoch in range(5, 90):
        wanted = 0.1 ** sum(epoch >= place for place in (30, 60, 80))
        inside = found[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert inside == pytest.approx([wanted] * per_epoch, rel=1e-12)
    warm = [step / (5 * per_epoch) for step in range(5 * per_epoch)]
    assert found[: 5 * per_epoch] == pytest.approx(warm, abs=1e-12)


def test_exponential_decay_is_a_staircase():
    shape = optim(12, schedule="exponential", decay_epochs=2.4, decay_factor=0.97)
    found = factors(shape, 10)
    assert found == pytest.approx([0.97 ** (step // 24) for step in range(120)], rel=1e-12)
    assert len(set(found)) == 5


def test_a_constant_rate_is_constant_after_its_warm_up():
    assert factors(optim(4, warmup_epochs=1), 4) == [0, 0.25, 0.5, 0.75, *[1.0] * 12]


def test_the_warmed_up_decay_is_tensorflows():
    for updates in (1, 2, 9, 1000, 89_989, 89_990, 10**6):
        # tf.train.ExponentialMovingAverage with num_updates
        wanted = min(0.9999, (1.0 + updates) / (10.0 + updates))
        assert ema_decay_at(0.9999, updates, warmup=True) == wanted
        assert ema_decay_at(0.9999, updates, warmup=False) == 0.9999
    assert ema_decay_at(0.9999, 89_989, warmup=True) < 0.9999  # facts.md, trap 2
    assert ema_decay_at(0.9999, 89_990, warmup=True) == 0.9999


def test_the_warmed_up_decay_is_timms_at_two_steps_more():
    timms = ModelEmaV3(
        torch.nn.Linear(1, 1), decay=0.9999, use_warmup=True, warmup_gamma=9, warmup_power=1
    )
    for updates in [*range(1, 200), 5000, 89_000, 89_995, 200_000]:
        found = ema_decay_at(0.9999, updates, warmup=True)
        assert found == pytest.approx(timms.get_decay(updates + 2), abs=1e-15)


def test_lengthening_a_recipe_stretches_its_schedule():
    short = recipes.load("resnet200")
    long = edit(short, {"optim.epochs": 180, "optim.warmup_epochs": 10.0})
    assert factors(short.optim, 8) == pytest.approx(factors(long.optim, 8)[::2], abs=1e-12)
