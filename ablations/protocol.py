"""The protocol of a study: what must be equal in every arm, for one table to hold their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ablations.plans import Arm, Layout
from recipes import Component, RecipeError
from recipes.component import PROTOCOL
from recipes.tree import value_at
from recipes.validate import show

# Which images are trained on and held out is the data of the study, which no component changes.
_DATA = ("data.dataset", "data.minival_fraction")


def check_protocol(layout: Layout) -> list[str]:
    """Check that all arms are evaluated alike; return a note for each declared exception.

    Raises:
        RecipeError: arms that are not, each component with the leaf and both values.
    """
    wrong: dict[str, None] = {}
    notes: dict[str, None] = {}
    base = layout.arms[0]
    for arm in layout.arms[1:]:
        for leaf in (*PROTOCOL, *_DATA):
            there, here = value_at(base.recipe, leaf), value_at(arm.recipe, leaf)
            if there == here:
                continue
            component = _writer(base, arm, leaf)
            if leaf in PROTOCOL and component is not None and component.changes_protocol:
                notes[
                    f"+{component} is another protocol: {leaf} = {show(here)} where the base has"
                    f" {show(there)}"
                ] = None
            else:
                wrong[
                    f"{component or arm.name} sets {leaf} = {show(here)} where the base has"
                    f" {show(there)}: one study has one protocol"
                ] = None
    if wrong:
        raise RecipeError(tuple(wrong))
    return list(notes)


def _writer(base: Arm, arm: Arm, leaf: str) -> Component | None:
    """Return the last component of an arm that writes a leaf."""
    components: Sequence[Component] = arm.components
    return next((one for one in reversed(components) if leaf in one.edits(base.recipe)), None)
