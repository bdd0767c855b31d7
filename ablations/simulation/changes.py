"""Made-up components: what a game's designs are laid out from. Nothing here is ever trained.

A design needs a recipe and components; the truth of a game is a number for each set of them. The
published ones will not do: two of theirs share a training, and games need any number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes import Component, Kind, Recipe, hook, load

BASE = "tiny"  # of the library; any recipe would do


def changes(training: int, architecture: int = 0) -> tuple[Component, ...]:
    """Return components c01, c02, ... of the training side, then those of the architecture."""
    kinds = [Kind.TRAINING] * training + [Kind.ARCHITECTURE] * architecture
    return tuple(_change(f"c{place:02d}", kind) for place, kind in enumerate(kinds, start=1))


def base() -> Recipe:
    """Return the recipe that the components change."""
    return load(BASE)


def untouched(built: Any) -> Any:
    """Return what was built: the hook that stands for every change."""
    return built


def _change(of_key: str, of_kind: Kind) -> Component:
    """Return a component of a class of its own, as a component's key belongs to its class."""

    class Change(Component):
        """A change that no network ever gets. Sets: custom.<key>."""

        key, kind = of_key, of_kind

        @classmethod
        def name(cls) -> str:
            """Return the key."""
            return cls.key

        def edits(self, recipe: Recipe) -> Mapping[str, Any]:
            """Return a hook of its own."""
            place = "model" if self.kind is Kind.ARCHITECTURE else "optimizer"
            return {f"custom.{self.key}": hook(place, untouched)}

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Component) and other.key == self.key

        def __hash__(self) -> int:
            return hash(self.key)

    return Change()
