"""A user's own component, outside the packages: see docs/own-component.md."""

from dataclasses import dataclass

import torch

from recipes import Component, Kind, hook


def blur(images, targets, *, strength):
    """Average each pixel with its neighbours, `strength` times. Images (N, 3, H, W), normalised."""
    for _ in range(strength):
        images = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
    return images, targets


@dataclass(frozen=True)
class Blur(Component):
    """Blur the training images.

    Sets: custom.blur, a batch hook.
    Default: once.
    Cost: one pooling of the batch.
    Interactions: none known.
    Applies to: every backbone.
    Reference: none.
    """

    key, kind = "blur", Kind.AUGMENTATION
    strength: int = 1

    def edits(self, recipe):
        return {"custom.blur": hook("batch", blur, strength=self.strength)}
