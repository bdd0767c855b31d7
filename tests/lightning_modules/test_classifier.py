import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import recipes
from lightning_modules import Classifier, Execution, ImageData, fit
from lightning_modules.schedules import ema_decay_at, lr_factor
from recipes import RecipeError, edit
from tests.lightning_modules.conftest import Watch, plain_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


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
