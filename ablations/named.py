"""What arms and their components are called, and on which side they stand.

Of a user's own component too, whose code reading a plan does not import: what its contrasts say.
"""

from __future__ import annotations

from ablations.plans import BASE, Arm, Contrast, Layout
from recipes import Component


def key_of(component: Component) -> str:
    """Return a component's key; of a user's own what it was named, as `package.module:Name`."""
    return str(getattr(component, "key", None) or str(component).partition("(")[0])


def kind_of(layout: Layout, component: Component) -> str:
    """Return the kind of a component, as `architecture`; empty where nothing says it."""
    kind = getattr(component, "kind", None)
    if kind is None:
        known = (one.kind for one in layout.contrasts if is_of(one, component))
        kind = next((one for one in known if one is not None), None)
    return "" if kind is None else str(kind.value)


def is_of(contrast: Contrast, component: Component) -> bool:
    """Return whether a contrast is of one component, at the level that it has here."""
    return contrast.label.lstrip("+-") == str(component)


def side_of(layout: Layout, arm: Arm) -> str:
    """Return which sides an arm's components are of: base, training, architecture or both."""
    kinds = {kind_of(layout, one) for one in arm.components} - {""}
    sides = {"architecture" if kind == "architecture" else "training" for kind in kinds}
    return "both" if len(sides) == 2 else next(iter(sides), BASE)
