import math
import sys

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import recipes
from lightning_modules import Classifier, Execution, ImageData, fit
from lightning_modules.schedules import ema_decay_at, lr_factor
from recipes import RecipeError, edit, hook

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Watch(pl.Callback):
    """The learning rate of every step, the norm of every clipped gradient, the batches."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.batches: list[torch.Tensor] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch.images)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        gradients = [one.grad for one in pl_module.parameters() if one.grad is not None]
        if gradients:  # still those of this step: they are cleared by the next
            norms = torch.stack([gradient.norm() for gradient in gradients])
            self.norms.append(float(norms.norm()))


def plain_trainer(*callbacks: pl.Callback, **changes: object) -> pl.Trainer:
    """Return a Trainer as anybody would write it."""
    arguments = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "callbacks": list(callbacks),
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**arguments | changes)  # type: ignore[arg-type]


# In anybody's Trainer ---------------------------------------------------------------------------


def test_classifier_and_image_data_train_and_validate_in_a_plain_trainer(tiny, cache):
    recipe = edit(tiny, {"optim.epochs": 3, "optim.warmup_epochs": 1.0, "optim.lr": 0.8})
    watch, module, data = Watch(), Classifier(recipe), ImageData(recipe, cache=cache)
    trainer = plain_trainer(watch, max_epochs=3)
    trainer.fit(module, data)
    wanted = [0.8 * 32 / 256 * lr_factor(recipe.optim, step, 3, 9) for step in range(9)]
    assert watch.rates == pytest.approx(wanted)
    assert trainer.callback_metrics["train/loss"] == pytest.approx(sum(watch.losses[-3:]) / 3)
    [numbers] = trainer.validate(module, data, verbose=False)
    assert numbers["val/top1"] == numbers["val/top1_raw"]
    module.eval()
    with torch.no_grad():
        ready = [data.prepare(batch, 0) for batch in data.val_dataloader()]
        right = [module(batch.images).argmax(1) == batch.targets for batch in ready]
    assert numbers["val/top1"] == pytest.approx(100 * float(torch.cat(right).float().mean()))


def test_a_trainers_test_gives_the_number_that_fit_records(tiny, cache, tmp_path):
    recipe = edit(tiny, {"optim.epochs": 2, "optim.warmup_epochs": 0.0})
    execution = Execution(device="cpu", threads=1, cache=cache)
    result = fit(recipe, 0, execution, tmp_path)
    module, data = Classifier(recipe), ImageData(recipe, cache=cache)
    trainer = plain_trainer(max_epochs=2)
    trainer.fit(module, data)
    [numbers] = trainer.test(module, data, verbose=False)
    assert numbers["test/top1"] == pytest.approx(result.top1, abs=1e-3)
    assert numbers["test/loss"] == pytest.approx(result.loss, rel=1e-5)


def test_a_sanity_check_before_training_does_no_harm(tiny, cache):
    recipe = edit(tiny, {"optim.ema_decay": 0.9, "evaluate.weights": "ema"})
    trainer = plain_trainer(max_epochs=1, num_sanity_val_steps=1)
    trainer.fit(Classifier(recipe), ImageData(recipe, cache=cache))
    assert {"val/top1", "val/top1_ema", "val/top1_raw"} <= set(trainer.callback_metrics)


def test_accumulated_gradients_count_as_one_step_for_average_and_warm_up(tiny, cache):
    recipe = edit(
        tiny,
        {
            "data.batch_size": 16,
            "optim.epochs": 2,
            "optim.schedule": "constant",
            "optim.warmup_epochs": 2.0,
            "optim.ema_decay": 0.9,
            "optim.lr": 0.8,
        },
    )
    watch, module = Watch(), Classifier(recipe)
    trainer = plain_trainer(watch, accumulate_grad_batches=3)  # 6 batches, 2 steps an epoch
    trainer.fit(module, ImageData(recipe, cache=cache))
    assert trainer.global_step == 4
    assert module.averaged is not None
    assert module.averaged.updates == 4
    warm = [0.05 * step / 4 for step in range(4) for _ in range(3)]
    assert watch.rates == pytest.approx(warm)


def test_a_second_trainer_goes_on_with_the_same_average(tiny, cache):
    recipe = edit(tiny, {"optim.ema_decay": 0.9, "model.bn_momentum": 1.0})
    module = Classifier(recipe)
    for number in (1, 2):
        plain_trainer(max_epochs=1).fit(module, ImageData(recipe, cache=cache))
        assert module.averaged is not None
        assert module.averaged.updates == 3 * number


def test_a_checkpoint_is_validated_with_its_average(tiny, cache, tmp_path):
    recipe = edit(tiny, {"optim.ema_decay": 0.5, "optim.lr": 0.8, "evaluate.weights": "ema"})
    module, data = Classifier(recipe), ImageData(recipe, cache=cache)
    trainer = plain_trainer(max_epochs=2)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    [wanted] = trainer.validate(module, data, verbose=False)
    fresh = Classifier(recipe, seed=5)
    [found] = plain_trainer().validate(
        fresh, data, ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True
    )
    assert found == wanted
    assert found["val/loss_ema"] != found["val/loss_raw"]


def test_the_number_of_classes_must_be_known(tiny):
    recipe = edit(tiny, {"data.dataset": "flowers"})
    with pytest.raises(RecipeError, match="how many classes has 'flowers'"):
        Classifier(recipe)
    assert Classifier(recipe, classes=17).classes == 17


# Loss, clipping, arithmetic ---------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_the_cross_entropy_to_tensorflows_soft_targets(tiny, smoothing):
    module = Classifier(edit(tiny, {"loss.label_smoothing": smoothing}))
    torch.manual_seed(0)
    logits, targets = torch.randn(64, 10, dtype=torch.float64) * 3, torch.randint(0, 10, (64,))
    # tf.keras: one_hot * (1 - smoothing) + smoothing / classes
    soft = torch.full((64, 10), smoothing / 10, dtype=torch.float64)
    soft[torch.arange(64), targets] += 1 - smoothing
    logs = logits - torch.log(torch.exp(logits).sum(1, keepdim=True))
    wanted = -(soft * logs).sum(1).mean()
    torch.testing.assert_close(module.loss(logits, targets), wanted)
    one_hot = nn.functional.one_hot(targets, 10).double()
    torch.testing.assert_close(module.loss(logits, one_hot), wanted)


@pytest.mark.parametrize("own", [None, 5.0], ids=["only the recipe's", "and the trainer's"])
def test_the_gradient_is_clipped_to_the_recipes_norm(tiny, cache, own):
    free, clipped = Watch(), Watch()
    for watch, recipe in ((free, tiny), (clipped, edit(tiny, {"optim.grad_clip": 0.05}))):
        trainer = plain_trainer(watch, max_epochs=1, gradient_clip_val=own)
        trainer.fit(Classifier(recipe), ImageData(recipe, cache=cache))
    assert min(free.norms) > 0.05
    assert clipped.norms == pytest.approx([0.05] * 3, rel=1e-3)


def test_a_trainers_own_clipping_holds_where_the_recipe_has_none(tiny, cache):
    watch = Watch()
    trainer = plain_trainer(watch, max_epochs=1, gradient_clip_val=0.02)
    trainer.fit(Classifier(tiny), ImageData(tiny, cache=cache))
    assert watch.norms == pytest.approx([0.02] * 3, rel=1e-3)


@pytest.mark.parametrize(("precision", "dtype"), [("32", "float32"), ("bf16", "bfloat16")])
def test_precision_is_the_arithmetic_of_the_network_but_not_of_its_logits(tiny, precision, dtype):
    module = Classifier(edit(tiny, {"optim.precision": precision}))
    seen = []
    module.network.fc.register_forward_hook(lambda part, inputs, output: seen.append(output.dtype))
    logits = module(torch.randn(2, 3, 16, 16))
    assert seen == [getattr(torch, dtype)]
    assert logits.dtype == torch.float32
    assert {one.dtype for one in module.parameters()} == {torch.float32}


def test_dropout_and_drop_path_are_a_function_of_seed_and_step(tiny, cache):
    recipe = edit(
        tiny, {"model.dropout": 0.5, "model.drop_path": 0.3, "model.drop_path_rule": "stage"}
    )
    losses = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        watch = Watch()
        trainer = plain_trainer(watch, max_epochs=1)
        trainer.fit(Classifier(recipe, seed=seed), ImageData(recipe, cache=cache))
        losses.append(watch.losses)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


# A user's own code ------------------------------------------------------------------------------

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


def test_the_average_follows_the_recipes_decay_with_and_without_warm_up(tiny, cache):
    for warmup in (False, True):
        recipe = edit(tiny, {"optim.ema_decay": 0.7, "optim.ema_warmup": warmup})
        module, weights = Classifier(recipe), []

        class Keep(pl.Callback):
            def on_train_batch_end(
                self, trainer, pl_module, outputs, batch, batch_idx, kept=weights
            ):
                kept.append(pl_module.network.fc.weight.detach().clone())

        wanted = module.network.fc.weight.detach().clone()
        plain_trainer(Keep(), max_epochs=2).fit(module, ImageData(recipe, cache=cache))
        for update, new in enumerate(weights, start=1):
            decay = ema_decay_at(0.7, update, warmup=warmup)
            wanted = decay * wanted + (1 - decay) * new
        assert module.averaged is not None
        torch.testing.assert_close(module.averaged.state()["fc.weight"], wanted)
        assert recipes.at(recipe.optim.ema_decay, 0.0) == 0.7


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


def test_a_checkpoint_tested_after_training_is_the_checkpoints_own(tiny, cache, tmp_path):
    recipe = edit(
        tiny,
        {"optim.ema_decay": 0.5, "model.bn_momentum": 1.0, "evaluate.weights": "ema"},
    )
    module, data = Classifier(recipe), ImageData(recipe, cache=cache)
    first = plain_trainer(max_epochs=1)
    first.fit(module, data)
    [wanted] = first.test(module, data, verbose=False)
    first.save_checkpoint(tmp_path / "first.ckpt")
    trainer = plain_trainer(max_epochs=2)
    trainer.fit(module, data)
    [later] = trainer.test(module, data, verbose=False)
    assert later != wanted
    [found] = trainer.test(module, data, tmp_path / "first.ckpt", verbose=False, weights_only=True)
    assert found == wanted


def test_a_trainer_without_an_end_is_told(tiny, cache):
    with pytest.raises(RecipeError, match="a recipe has an end: give the Trainer max_epochs"):
        plain_trainer(max_epochs=-1).fit(Classifier(tiny), ImageData(tiny, cache=cache))
