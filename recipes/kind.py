"""The four kinds of change, and which side of the training / architecture split each is on."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What a component changes; it may write only the leaves declared for its kind."""

    TRAINING = "training"
    REGULARIZATION = "regularization"
    AUGMENTATION = "augmentation"
    ARCHITECTURE = "architecture"

    @property
    def side(self) -> str:
        """Return `architecture` for architecture, `training` for the other three."""
        return "architecture" if self is Kind.ARCHITECTURE else "training"
