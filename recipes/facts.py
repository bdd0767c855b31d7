"""What was probed from a backbone: which leaves it can move, has already, or cannot take.

Kept beside the leaves and never hashed: a timm upgrade must not rename runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What the built backbone says about one leaf: `can` move it, it is `present`, or `cannot`."""

    path: str
    status: str
    reason: str = ""
    values: tuple[str, ...] = ()  # the words of the leaf that this is about; empty: every value


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was probed from a backbone. Never hashed: a timm upgrade must not rename runs."""

    family: str  # timm's class, as "ResNet"
    input_size: int  # pixels per side that the architecture was published for
    stages: int  # stages of residual blocks; 0: the blocks stand in no stages
    batch_norm: bool
    leaves: tuple[Fact, ...] = ()
    fixed_size: bool = False  # takes images of `input_size` only
    smallest_size: int = 0  # pixels per side below which it cannot be trained; 0: 16 are enough
    layers: tuple[int, ...] = ()  # blocks per stage of a ResNet; empty: another family

    def of(self, path: str, value: Any = None) -> Fact:
        """Return the fact about a leaf, or about one value of it.

        A leaf or value without a fact can be set on every backbone.
        """
        return next(
            (
                fact
                for fact in self.leaves
                if fact.path == path and (not fact.values or value in fact.values)
            ),
            Fact(path=path, status="can"),
        )
