"""The first steps of a recipe in a real Lightning Trainer, on a few images, watched from inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lightning_modules import training
from lightning_modules.classifier import Classifier
from lightning_modules.custom import hooks_of
from lightning_modules.knobs import turn
from lightning_modules.probe.behaviour import smoothing
from lightning_modules.probe.data import STEPS, ProbeData
from lightning_modules.probe.structure import digest, optimizer_words
from lightning_modules.streams import stream_seed

PROGRESS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_RATES = 1000  # steps at which the learning rate is read, about
_ROUNDING = 1e-4  # of float32 that moved by less, the share is not known well enough
_SAMPLED = 200_000  # numbers of the state that the average's decay is measured on


class _Watch(pl.Callback):
    """Reads the built objects in the steps of a run and over its whole length; then stops it."""

    def __init__(self, data: ProbeData, images: Tensor) -> None:
        self._data, self._images = data, images
        self._before: tuple[list[Tensor], list[Tensor]] | None = None
        self._names: list[str] = []
        self.first_loss: list[float] = []
        self.live: list[dict[str, Any]] = []
        self.decays: list[float | None] = []
        self.found: dict[str, Any] = {}

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure what the average did; before the first step, what its loss has to be."""
        self._measure_average(pl_module)
        if batch_idx == 0:
            self.first_loss.append(_loss_by_hand(pl_module, batch))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Read what the step is about to be taken with."""
        row = _readings(trainer, pl_module, self._data)
        self.live.append(
            {"learning_rate": [group["lr"] for group in optimizer.param_groups], **row}
        )

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the average as it was before this step is taken into it; stop after the last."""
        if batch_idx == 0:
            self.first_loss.append(float(outputs["loss"]))
        if pl_module.averaged is not None:  # the module moves it after the callbacks
            state, now = pl_module.averaged.state(), dict(_floating(pl_module.network))
            self._names = self._names or _few(state)
            average = [state[name].clone() for name in self._names]
            self._before = (average, [now[name].detach().clone() for name in self._names])
        if batch_idx + 1 == STEPS:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Read everything over the whole length of training."""
        self._measure_average(pl_module)
        optimizer = trainer.optimizers[0]
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        total = int(trainer.estimated_stepping_batches)
        steps = range(0, total, max(total // _RATES, 1))
        names = {id(one): name for name, one in pl_module.network.named_parameters()}
        trained = digest(parameter for _, parameter in pl_module.network.named_parameters())
        with torch.no_grad():
            raw = pl_module.eval().predict_logits(self._images, "raw").double()
        weights = pl_module.recipe.evaluate.weights
        _kick(pl_module.network)  # so that an average that has not moved yet is another thing
        with torch.no_grad():
            reported = pl_module.predict_logits(self._images, weights)
        network = dict(_floating(pl_module.network)) | pl_module.state_of(weights)
        curves: dict[str, list[Any]] = {}
        for progress in PROGRESS:
            turn(trainer, pl_module, progress)
            for path, value in _readings(trainer, pl_module, self._data).items():
                curves.setdefault(path, []).append(value)
        self.found = {
            "steps": {"epochs": trainer.max_epochs, "total": total},
            "learning_rate": [
                [step, sorted({float(base * factor(step)) for base, factor in _factors(scheduler)})]
                for step in steps
            ],
            "curves": curves,
            "optimizer": optimizer_words(optimizer, names),
            "trained": trained,
            "raw": raw.tolist(),
            "reported": reported.double().tolist(),
            "reported_weights": digest(network[name] for name in sorted(network)),
            "clipped": _clipped(pl_module, optimizer),
            "decayed": _decayed(optimizer),
        }

    def _measure_average(self, module: Classifier) -> None:
        if self._before is None or module.averaged is None:
            return
        state = module.averaged.state()
        up, down = 0.0, 0.0
        for name, old, new in zip(self._names, *self._before, strict=True):
            gap = (old - new).double()
            gap[gap.abs() <= _ROUNDING * new.double().abs()] = 0.0  # nothing but the last digits
            up += float(((state[name] - new).double() * gap).sum())
            down += float((gap * gap).sum())
        self.decays.append(up / down if down > 0 else None)
        self._before = None


def first_steps(module: Classifier, data: ProbeData, images: Tensor) -> dict[str, Any]:
    """Take the first steps of the module's recipe and return what was seen. The module is spent.

    `learning_rate`: [step, the groups' distinct values] over the whole length of training;
    `curves`: everything that may move, by leaf, at `PROGRESS`; `live`: the same in the steps
    themselves; `decays`: of the average, measured; `decayed`: the weight decay by group, measured
    by a step without a gradient at the end; `clipped`: what is left of a gradient of norm 10^6;
    `trained`: a digest of the weights after the steps; `raw`: logits of `images` by the raw
    weights; `reported`, `reported_weights`: by those that are evaluated, and a digest of these,
    after a kick to the raw ones; `first_loss`: as it has to be, and as it was; `inputs`,
    `targets`: digests of what the network was given; `expected_inputs`: what the leaves give;
    `hears_magnitude`: see `ProbeData`.
    """
    watch = _Watch(data, images)
    with training.quiet():
        trainer = training.trainer_of(
            module.recipe,
            accelerator="cpu",
            devices=1,
            callbacks=[watch],
            logger=False,
            limit_val_batches=0,
        )
        trainer.fit(module, data)
    total = max(watch.found["steps"]["total"], 1)
    hooked = any(hook.hook == "batch" for hook in module.recipe.custom)
    expected = [digest([data.expected(one, k / total)]) for k, one in enumerate(data.given)]
    return {
        **watch.found,
        "live": watch.live,
        "first_loss": watch.first_loss,
        "decays": watch.decays,
        "inputs": [digest([batch.images]) for batch in data.made],
        "targets": [digest([_shares(batch.targets, data.classes)]) for batch in data.made],
        "expected_inputs": None if hooked else expected,
        "hears_magnitude": data.hears_magnitude(),
    }


def _loss_by_hand(module: Classifier, batch: Any) -> float:
    """Return what the first step's loss has to be, by the streams of a run; nothing is moved."""
    before = [buffer.clone() for buffer in module.network.buffers()]
    torch.manual_seed(stream_seed(module.seed, "forward", 0))
    with torch.no_grad():
        if not hooks_of(module.recipe, "model"):  # which may have frozen parts in eval mode
            module.network.train()
        found = float(module.loss(module(batch.images), batch.targets))
        for buffer, value in zip(module.network.buffers(), before, strict=True):
            buffer.copy_(value)
    return found


@torch.no_grad()
def _kick(network: nn.Module) -> None:
    for parameter in network.parameters():
        parameter.mul_(1.01)


def _readings(trainer: Any, module: Classifier, data: ProbeData) -> dict[str, Any]:
    """Return what every knob has set now, read from the objects that use it."""
    groups = trainer.optimizers[0].param_groups
    return {
        "model.dropout": _dropout_rates(module.network),
        "model.drop_path": {
            name: part.drop_prob
            for name, part in module.network.named_modules()
            if isinstance(part, DropPath)
        },
        "augment.randaug_magnitude": data.randaugment and data.randaugment.magnitude,
        "optim.momentum": [
            group["betas"][0] if "betas" in group else group.get("momentum") for group in groups
        ],
        "optim.weight_decay": [group.get("weight_decay") for group in groups],
        "optim.ema_decay": module.ema_decay,
        "loss.label_smoothing": smoothing(module),
    }


def _dropout_rates(network: nn.Module) -> list[float]:
    """Return the rates of dropout before the classifier that is on: of modules, or in `forward`."""
    owned = [
        float(part.get_submodule(name).p)  # type: ignore[arg-type]
        for part in network.modules()
        for name in getattr(part, "dropout_modules", ())
    ]
    functional = [
        float(part.drop_rate)  # type: ignore[arg-type]
        for part in network.modules()
        if getattr(part, "dropout_modules", None) == () and getattr(part, "drop_rate", 0)
    ]
    return sorted(rate for rate in owned + functional if rate > 0)


def _shares(targets: Tensor, classes: int) -> Tensor:
    """Return targets as probabilities, as which a batch hook is given them."""
    return one_hot(targets, classes).float() if targets.ndim == 1 else targets.float()


def _factors(scheduler: Any) -> Sequence[tuple[float, Any]]:
    return list(zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True))


def _floating(network: nn.Module) -> list[tuple[str, Tensor]]:
    found = [(name, parameter.detach()) for name, parameter in network.named_parameters()]
    return found + list(network.named_buffers())


def _few(state: dict[str, Tensor]) -> list[str]:
    """Return names of the state, statistics first: they move from the first step on."""
    names: list[str] = []
    total = 0
    for name in sorted(state, key=lambda name: "running_" not in name):
        if names and total + state[name].numel() > _SAMPLED:
            continue
        total += state[name].numel()
        names.append(name)
    return names


def _clipped(module: Classifier, optimizer: torch.optim.Optimizer) -> float:
    parameters = [one for one in module.network.parameters() if one.requires_grad]
    count = sum(one.numel() for one in parameters)
    for one in parameters:
        one.grad = torch.full_like(one, 1e6 / count**0.5)
    module.configure_gradient_clipping(optimizer)
    norms = torch.stack([one.grad.double().norm() for one in parameters if one.grad is not None])
    for one in parameters:
        one.grad = None
    return float(norms.norm())


def _decayed(optimizer: torch.optim.Optimizer) -> list[float | None] | None:
    """Return by group what one step without a gradient takes off a weight, at learning rate 1.

    None for a group that has no weight to take from.

    None where the rule does not leave that to be read (RMSProp divides it away).
    """
    if type(optimizer) not in (torch.optim.SGD, torch.optim.AdamW):
        return None
    optimizer.state.clear()
    found: list[float | None] = []
    for group in optimizer.param_groups:
        for one in group["params"]:
            one.grad = None
    for group in optimizer.param_groups:
        sizes = {one: float(one.detach().abs().max()) for one in group["params"] if one.numel()}
        weight = max(sizes, key=lambda one: sizes[one], default=None)
        if weight is None or not sizes[weight]:
            found.append(None)
            continue
        place = int(weight.detach().abs().argmax())
        before = float(weight.detach().reshape(-1)[place])
        weight.grad = torch.zeros_like(weight)
        group["lr"] = 1.0
        optimizer.step()
        weight.grad = None
        taken = 1.0 - float(weight.detach().reshape(-1)[place]) / before
        ahead = 1.0 + group["momentum"] if group.get("nesterov") else 1.0
        found.append(taken / ahead)
    return found
