"""A user's callables at the four hooks."""

import math
import sys

import pytest
import torch
from torch import nn

from lightning_modules import Classifier, ImageData
from lightning_modules.schedules import lr_factor
from recipes import RecipeError, edit, hook
from tests.lightning_modules.conftest import Watch, plain_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

HOOKS = """
    import timm
    import torch
    from torch import nn

    calls = []

    class Tanh(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.inside = network

        def forward(self, images):
            return 5 * torch.tanh(self.inside(images) / 5)

    def squashed(network):
        calls.append("model")
        return Tanh(network)

    def mixed(images, targets, share):
        calls.append("batch")
        return share * images + (1 - share) * images.flip(0), (
            share * targets + (1 - share) * targets.flip(0)
        )

    def noisy(images, targets):
        return images + torch.randn_like(images), targets

    def squared(logits, targets):
        calls.append("loss")
        return ((logits.softmax(1) - targets) ** 2).sum(1).mean()

    def slower(optimizer, factor):
        calls.append("optimizer")
        for group in optimizer.param_groups:
            group["lr"] *= factor
        return optimizer

    def heavier(optimizer, momentum):
        for group in optimizer.param_groups:
            group["momentum"] = momentum
        return optimizer

    class Dropped(torch.nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.inside, self.drop = inside, timm.layers.DropPath(0.25)

        def forward(self, images):
            return self.drop(self.inside(images))

    def dropped(network):
        return Dropped(network)

    def plain(optimizer):
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        return torch.optim.Adagrad(parameters, lr=0.01)
"""


def test_hooks_of_all_four_kinds_run_in_training(tiny, cache, user_module):
    mine = user_module("mine_all", HOOKS)
    recipe = edit(
        tiny,
        {
            "custom.squashed": hook("model", mine.squashed),
            "custom.mixed": hook("batch", mine.mixed, share=0.75),
            "custom.squared": hook("loss", mine.squared),
            "custom.slower": hook("optimizer", mine.slower, factor=0.5),
        },
    )
    mine.calls.clear()
    bare, watch = Watch(), Watch()
    plain_trainer(bare, max_epochs=1).fit(Classifier(tiny), ImageData(tiny, cache=cache))
    module = Classifier(recipe)
    plain_trainer(watch, max_epochs=1).fit(module, ImageData(recipe, cache=cache))
    counts = {kind: mine.calls.count(kind) for kind in ("model", "batch", "loss", "optimizer")}
    assert counts == {"model": 1, "batch": 3, "loss": 3, "optimizer": 1}
    assert type(module.network).__name__ == "Tanh"
    assert watch.rates == pytest.approx([0.5 * rate for rate in bare.rates])
    for changed, plain in zip(watch.batches, bare.batches, strict=True):
        torch.testing.assert_close(changed, 0.75 * plain + 0.25 * plain.flip(0))


def test_a_batch_hooks_random_numbers_are_the_runs(tiny, cache, user_module):
    mine = user_module("mine_noisy", HOOKS)
    recipe = edit(tiny, {"custom.noisy": hook("batch", mine.noisy)})
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        watch = Watch()
        plain_trainer(watch, max_epochs=2).fit(Classifier(recipe), ImageData(recipe, cache=cache))
        runs.append(watch.batches)
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][3])


def test_a_network_that_a_hook_has_wrapped_keeps_dropout_and_both_averages(
    tiny, cache, user_module
):
    mine = user_module("mine_wrapped", HOOKS)
    leaves = {"optim.ema_decay": 0.9, "model.bn_momentum": 1.0, "model.dropout": 0.4}
    recipe = edit(tiny, leaves | {"custom.squashed": hook("model", mine.squashed)})
    module = Classifier(recipe)
    plain_trainer(max_epochs=1).fit(module, ImageData(recipe, cache=cache))
    assert module.network.inside.drop_rate == 0.4
    assert module.averaged is not None
    raw = module.averaged.raw_statistics()
    assert "inside.layer4.0.bn2.running_var" in raw
    assert len(raw) == 2 * sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_an_optimiser_of_a_users_own_trains(tiny, cache, user_module):
    mine = user_module("mine_optimizer", HOOKS)
    recipe = edit(tiny, {"custom.plain": hook("optimizer", mine.plain)})
    watch = Watch()
    plain_trainer(watch, max_epochs=1).fit(Classifier(recipe), ImageData(recipe, cache=cache))
    factors = [lr_factor(recipe.optim, step, 3, 3) for step in range(3)]
    assert watch.rates == pytest.approx([0.01 * factor for factor in factors])
    assert all(math.isfinite(loss) for loss in watch.losses)


def test_two_losses_are_refused_not_one_of_them_dropped(tiny, user_module):
    mine = user_module("mine_two_losses", HOOKS)
    both = {f"custom.{name}": hook("loss", mine.squared) for name in ("first", "second")}
    with pytest.raises(RecipeError, match=r"custom.first and custom.second are both the loss"):
        Classifier(edit(tiny, both))


@pytest.mark.parametrize("place", ["model", "batch", "loss", "optimizer"])
def test_a_source_that_has_changed_is_refused(tiny, cache, user_module, tmp_path, place):
    name = f"mine_changed_{place}"
    mine = user_module(name, HOOKS)
    functions = {
        "model": mine.squashed,
        "batch": mine.noisy,
        "loss": mine.squared,
        "optimizer": mine.plain,
    }
    recipe = edit(tiny, {"custom.changed": hook(place, functions[place])})
    with (tmp_path / "user" / f"{name}.py").open("a") as file:
        file.write("\n# another line\n")
    assert name in sys.modules
    with pytest.raises(RecipeError, match=rf"custom.changed: the source of {name}:\w+ has changed"):
        plain_trainer().fit(Classifier(recipe), ImageData(recipe, cache=cache))


def test_what_a_hook_has_set_stands_through_training(tiny, cache, user_module):
    mine = user_module("mine_standing", HOOKS)
    recipe = edit(
        tiny,
        {
            "optim.momentum": 0.9,
            "model.drop_path": 0.1,
            "model.drop_path_rule": "stage",
            "custom.heavier": hook("optimizer", mine.heavier, momentum=0.5),
            "custom.dropped": hook("model", mine.dropped),
        },
    )
    module, trainer = Classifier(recipe), plain_trainer(max_epochs=1)
    trainer.fit(module, ImageData(recipe, cache=cache))
    assert {group["momentum"] for group in trainer.optimizers[0].param_groups} == {0.5}
    assert module.network.drop.drop_prob == 0.25
    assert module.network.inside.layer4[0].drop_path.drop_prob == pytest.approx(0.1)


def test_a_loss_of_a_users_own_sees_smoothed_targets(tiny, user_module):
    mine = user_module("mine_smoothed", HOOKS)
    recipe = edit(tiny, {"loss.label_smoothing": 0.2, "custom.squared": hook("loss", mine.squared)})
    logits, targets = torch.randn(4, 10), torch.tensor([0, 3, 3, 9])
    wanted = torch.full((4, 10), 0.02)
    wanted[torch.arange(4), targets] += 0.8
    found = Classifier(recipe).loss(logits, targets)
    torch.testing.assert_close(found, ((logits.softmax(1) - wanted) ** 2).sum(1).mean())
