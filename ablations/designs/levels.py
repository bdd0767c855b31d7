"""Notes about components with several levels, in designs that go on with one of them."""

from __future__ import annotations

from ablations.designs.stacks import Stacks


def goes_on_with_first(stacks: Stacks, what: str) -> tuple[str, ...]:
    """Return a note that names the level of each component that `what` goes on with."""
    several = [factor for factor in stacks.factors if len(factor) > 1]
    if not several:
        return ()
    named = ", ".join(
        f"{factor[0]} (beside {', '.join(map(str, factor[1:]))})" for factor in several
    )
    return (f"{what} goes on with the first level named: {named}",)
