"""Broken interpreters, one per component and way to break: each is one patch of the real one.

`nothing`: the treatment is never applied; `twice`: applied two times; `stuck`: what should move or
follow the recipe stays where it was; `rate`: the learning rate is touched as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from timm.layers import DropPath, get_attn
from torch import nn

from lightning_modules import (
    averaging,
    backbones,
    classifier,
    feeding,
    image_data,
    knobs,
    optim,
    surgery,
    training,
)
from lightning_modules.augment import RandAugment
from lightning_modules.image_data import ImageData
from lightning_modules.streams import redrawn
from recipes import Recipe, at

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]


def _factor(change: Callable[..., float]) -> Mutant:
    real = classifier.lr_factor

    def mutate(patch: Patch) -> None:
        patch.setattr(classifier, "lr_factor", lambda *words: change(real, *words))

    return mutate


def _step_schedule(real: Any, recipe: Any, *rest: Any) -> float:
    return float(real(dataclasses.replace(recipe, schedule="step"), *rest))


def _epochs(count: Callable[[int], int]) -> Mutant:
    real = training.trainer_of

    def trainer(recipe: Recipe, **words: Any) -> Any:
        epochs = count(recipe.optim.epochs)
        other = dataclasses.replace(recipe.optim, epochs=epochs)
        return real(dataclasses.replace(recipe, optim=other), **words)

    return lambda patch: patch.setattr(training, "trainer_of", trainer)


def _update(times: int) -> Mutant:
    real = averaging.Averaged.update

    def update(self: Any, decay: float) -> None:
        for _ in range(times):
            real(self, decay)
        self.updates += 1 - times

    return lambda patch: patch.setattr(averaging.Averaged, "update", update)


def _ema_without_warmup(patch: Patch) -> None:
    patch.setattr(classifier, "ema_decay_at", lambda decay, updates, *, warmup: decay)


def _loss(smoothing: Callable[[float], float]) -> Mutant:
    def loss(self: Any, logits: Any, targets: Any) -> Any:
        return classifier.cross_entropy(
            logits, targets, label_smoothing=smoothing(self.label_smoothing)
        )

    return lambda patch: patch.setattr(classifier.Classifier, "loss", loss)


def _knob(path: str) -> Mutant:
    return lambda patch: patch.setitem(knobs.KNOBS, path, lambda trainer, module, value: None)


def _no_drop_path(patch: Patch) -> None:
    patch.setattr(backbones, "_add_drop_path", lambda network, model: None)


def _drop_path_twice(patch: Patch) -> None:
    real = backbones._add_drop_path

    def add(network: nn.Module, model: Any) -> None:
        real(network, model)
        for block in list(network.modules()):
            if isinstance(getattr(block, "drop_path", None), DropPath):
                second = DropPath(0.0)
                second.share = block.drop_path.share
                block.drop_path = nn.Sequential(block.drop_path, second)

    patch.setattr(backbones, "_add_drop_path", add)


def _no_randaugment(patch: Patch) -> None:
    patch.setattr(RandAugment, "__call__", lambda self, images, seed, epoch, start: images)


def _randaugment_twice(patch: Patch) -> None:
    real = ImageData.cropped

    def cropped(self: Any, images: Any, epoch: int, start: int) -> Any:
        images = real(self, images, epoch, start)
        if getattr(self, "preparing", False) and self.randaugment is not None:
            return self.randaugment(images, self.seed, epoch, start)
        return images

    prepare = ImageData.prepare

    def flagged(self: Any, batch: Any, epoch: int) -> Any:
        self.preparing = True
        try:
            return prepare(self, batch, epoch)
        finally:
            self.preparing = False

    patch.setattr(ImageData, "cropped", cropped)
    patch.setattr(ImageData, "prepare", flagged)


def _no_dropout(patch: Patch) -> None:
    patch.setattr(backbones, "set_dropout", lambda network, rate: None)


def _built(change: Callable[[Any], None]) -> Mutant:
    real = classifier.build

    def build(*words: Any, **more: Any) -> nn.Module:
        network = real(*words, **more)
        change(network)
        return network

    return lambda patch: patch.setattr(classifier, "build", build)


def _second_dropout(network: Any) -> None:
    network.global_pool = nn.Sequential(network.global_pool, nn.Dropout(network.drop_rate))


def _decay(value: Callable[[Recipe], float]) -> Mutant:
    real = optim.make_optimizer

    def make(network: nn.Module, recipe: Recipe) -> Any:
        found = real(network, recipe)
        optim.set_weight_decay(found, value(recipe))
        return found

    return lambda patch: patch.setattr(classifier, "make_optimizer", make)


def _arguments(change: Callable[[dict[str, Any]], None]) -> Mutant:
    real = backbones.resnet_arguments

    def arguments(*words: Any, **more: Any) -> dict[str, Any]:
        found = real(*words, **more)
        change(found)
        return found

    return lambda patch: patch.setattr(backbones, "resnet_arguments", arguments)


def _gate(channels: int, **words: Any) -> nn.Module:
    one = partial(get_attn("se"), rd_ratio=0.25)
    return nn.Sequential(one(channels), one(channels))


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda found: found.pop(name, None)


def _parts(change: Callable[[frozenset[str]], frozenset[str]]) -> Mutant:
    real = surgery.resnet_d_parts
    return lambda patch: patch.setattr(surgery, "resnet_d_parts", lambda model: change(real(model)))


def _second_pool(network: Any) -> None:
    if isinstance(network.maxpool, nn.Sequential):  # ResNet-D's
        width = network.bn1.num_features
        again = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        network.maxpool = nn.Sequential(*network.maxpool, again)


def _rate(patch: Patch) -> None:
    real = optim.peak_lr
    patch.setattr(optim, "peak_lr", lambda recipe, batch: 1.1 * real(recipe, batch))


def _redraw(network: Callable[..., int], data: Callable[..., int]) -> Mutant:
    def mutate(patch: Patch) -> None:
        patch.setattr(classifier, "redrawn", network)
        patch.setattr(image_data, "redrawn", data)

    return mutate


def _as_before(seed: int, redraw: int) -> int:
    return seed


def _redrawn_twice(seed: int, redraw: int) -> int:
    return redrawn(redrawn(seed, redraw), redraw)


def _first_redraw(seed: int, redraw: int) -> int:
    return redrawn(seed, min(redraw, 1))


# Each component as it is asked for, and its mutants. What must move is given a schedule.
MUTANTS: dict[str, tuple[str, dict[str, Mutant]]] = {
    "cos": (
        "cos",
        {
            "nothing": _factor(_step_schedule),
            "twice": _factor(lambda real, *words: real(*words) ** 2),
            "stuck": _factor(lambda real, recipe, step, per_epoch, steps: min(step, 1.0)),
        },
    ),
    "epochs": (
        "epochs",
        {
            "nothing": _epochs(lambda epochs: 100),
            "twice": _epochs(lambda epochs: round(epochs * 350 / 90)),
            "stuck": _epochs(lambda epochs: 90),
        },
    ),
    "ema": (
        "ema",
        {"nothing": _update(0), "twice": _update(2), "stuck": _ema_without_warmup},
    ),
    "ls": (
        "ls(epsilon=linear(0.1, 0.2))",
        {
            "nothing": _loss(lambda smoothing: 0.0),
            "twice": _loss(lambda smoothing: 1 - (1 - smoothing) ** 2),
            "stuck": _knob("loss.label_smoothing"),
        },
    ),
    "sd": (
        "sd(rate=linear(0.1, 0.2))",
        {"nothing": _no_drop_path, "twice": _drop_path_twice, "stuck": _knob("model.drop_path")},
    ),
    "ra": (
        "ra(magnitude=linear(5, 15))",
        {
            "nothing": _no_randaugment,
            "twice": _randaugment_twice,
            "stuck": _knob("augment.randaug_magnitude"),
        },
    ),
    "do": (
        "do(rate=linear(0.25, 0.5))",
        {
            "nothing": _no_dropout,
            "twice": _built(_second_dropout),
            "stuck": _knob("model.dropout"),
        },
    ),
    "wd": (
        "wd(value=linear(8e-5, 4e-5))",
        {
            "nothing": _decay(lambda recipe: 1e-4),
            "twice": _decay(lambda recipe: 2 * at(recipe.optim.weight_decay, 0.0)),
            "stuck": _knob("optim.weight_decay"),
        },
    ),
    "se": (
        "se",
        {
            "nothing": _arguments(_without("block_args")),
            "twice": _arguments(lambda found: found.update(block_args={"attn_layer": _gate})),
            "stuck": _arguments(
                lambda found: found.update(block_args={"attn_layer": get_attn("se")})
            ),
        },
    ),
    "resnetd": (
        "resnetd",
        {
            "nothing": _parts(lambda parts: frozenset()),
            "twice": _built(_second_pool),
            "stuck": _parts(lambda parts: parts - {"shortcut"}),
        },
    ),
    "null": (
        "null(redraw=2)",
        {
            "nothing": _redraw(_as_before, _as_before),
            "twice": _redraw(_redrawn_twice, _redrawn_twice),
            "stuck": _redraw(_first_redraw, _first_redraw),
        },
    ),
}
for _, ways in MUTANTS.values():
    ways["rate"] = _rate


# Breaks that no component's name stands for: a request that has to be refused, and the patch.


def _step(change: Callable[[Any, Any], Any]) -> Mutant:
    real = classifier.Classifier.training_step

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        return change(self, lambda: real(self, batch, batch_idx))

    return lambda patch: patch.setattr(classifier.Classifier, "training_step", step)


def _ignoring_smoothing(module: Any, step: Callable[[], Any]) -> Any:
    before, module.label_smoothing = module.label_smoothing, 0.0
    try:
        return step()
    finally:
        module.label_smoothing = before


def _in_eval_mode(module: Any, step: Callable[[], Any]) -> Any:
    module.network.eval()
    return step()


def _without_flips(patch: Patch) -> None:
    real = image_data.resize_boxes

    def resize(images: Any, boxes: Any, size: int, kernel: str, flip: Any = None) -> Any:
        return real(images, boxes, size, kernel)

    patch.setattr(image_data, "resize_boxes", resize)


def _magnitude_one(patch: Patch) -> None:
    real = RandAugment._argument

    def argument(self: Any, name: str) -> Any:
        kept, self._magnitude = self._magnitude, 1.0
        try:
            return real(self, name)
        finally:
            self._magnitude = kept

    patch.setattr(RandAugment, "_argument", argument)


def _small_batches(patch: Patch) -> None:
    real = feeding.Loader.__init__

    def begin(self: Any, data: Any, part: str) -> None:
        real(self, data, part)
        self.batch_size = 4

    patch.setattr(feeding.Loader, "__init__", begin)


def _one_scope(patch: Patch) -> None:
    real = optim.parameter_groups
    patch.setattr(optim, "parameter_groups", lambda network, scope: real(network, "all"))


ELSEWHERE: dict[str, tuple[dict[str, Any], Mutant]] = {
    "smoothing is not in the step": ({"loss.label_smoothing": 0.1}, _step(_ignoring_smoothing)),
    "the loss is tripled": ({"loss.label_smoothing": 0.1}, _step(lambda _, step: 3 * step())),
    "training is in eval mode": ({"model.dropout": 0.25}, _step(_in_eval_mode)),
    "no image is mirrored": ({"data.flip": True}, _without_flips),
    "magnitude 15 is 1": (
        {
            "augment.randaug_layers": 2,
            "augment.randaug_magnitude": 15.0,
            "augment.randaug_space": "resnet_rs",
        },
        _magnitude_one,
    ),
    "batches are small": ({"data.batch_size": 64}, _small_batches),
    "the order is not redrawn": ({"optim.redraw": 1}, _redraw(redrawn, _as_before)),
    "the network is not redrawn": ({"optim.redraw": 1}, _redraw(_as_before, redrawn)),
    "everything decays": ({"optim.decay_scope": "kernels"}, _one_scope),
}
