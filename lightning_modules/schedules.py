"""The learning rate over training, as a factor on its peak. Pure functions; no torch.

Step k = 0, 1, ... is the optimiser step about to be taken.
"""

from __future__ import annotations

import math

from recipes import Optim


def peak_lr(optim: Optim, batch_size: int) -> float:
    """Return the peak learning rate: the recipe's is for 256 images (Goyal et al. 2017)."""
    return optim.lr * batch_size / 256


def lr_factor(optim: Optim, step: int, steps_per_epoch: int, steps: int) -> float:
    """Return the factor on the peak learning rate at one step.

    Every schedule counts from step 0, also under its warm-up. That is linear from 0 to the value
    that the schedule has where it ends (tf-models-official's linear warm-up over a decay schedule),
    but for `exponential` to the full peak, from which the rate then drops onto the staircase
    (tensorflow/tpu, efficientnet/utils.py build_learning_rate).
    """
    warmup = optim.warmup_epochs * steps_per_epoch
    if step < warmup:
        full = optim.schedule == "exponential"
        return step / warmup * (1.0 if full else _shape(optim, warmup, steps_per_epoch, steps))
    return _shape(optim, step, steps_per_epoch, steps)


def _shape(optim: Optim, step: float, steps_per_epoch: int, steps: int) -> float:
    progress = min(step / steps, 1.0)
    if optim.schedule == "cosine":
        return (1.0 + math.cos(math.pi * progress)) / 2.0
    if optim.schedule == "step":
        passed = sum(progress >= milestone for milestone in optim.milestones)
        return optim.decay_factor**passed
    if optim.schedule == "exponential":
        return optim.decay_factor ** math.floor(step / (optim.decay_epochs * steps_per_epoch))
    return 1.0


def ema_decay_at(decay: float, updates: int, *, warmup: bool) -> float:
    """Return the decay of update number `updates` = 1, 2, ...

    With warm-up min(decay, (1 + k) / (10 + k)), TensorFlow's ExponentialMovingAverage with
    `num_updates`, as tensorflow/tpu's resnet_main uses it.
    """
    return min(decay, (1 + updates) / (10 + updates)) if warmup else decay
