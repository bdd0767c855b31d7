"""`--null`: arms whose true effect is known to be 0, to see how often an analysis says otherwise.

The base is trained again under other random numbers, twice, and so is the full recipe. What is then
measured of `null` is the noise of the whole pipeline and nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from ablations.errors import RequestError
from ablations.plans import NULL, Arm, Contrast, Layout
from recipes import edit
from recipes.components import Null


def with_nulls(layout: Layout) -> Layout:
    """Return the layout with dummy arms and their contrasts, a family of tests of their own.

    Two arms are the base once more (A/A: `alone`), one is the full recipe with the dummy
    (`in_recipe`), where the layout has an arm with all that applies. Each has draws of its own, and
    as many runs as the arm that it repeats. Their kind is None: no side of the split counts them.

    Raises:
        RequestError: `null` is a component of the request already.
    """
    if any(one.component == Null.key for one in layout.contrasts):
        raise RequestError("--null adds the dummy by itself: leave null out of --add")
    base, full = layout.arms[0], layout.full
    repeated = [(base, "alone"), (base, "alone")]
    applied = {one.component for one in layout.contrasts if one.outcome == "applied"}
    if full is not base and applied <= {component.key for component in full.components}:
        repeated.append((full, "in_recipe"))
    arms, contrasts, replicates = list(layout.arms), list(layout.contrasts), {**layout.replicates}
    for number, (arm, estimand) in enumerate(repeated, start=base.recipe.optim.redraw + 1):
        dummy = Null(redraw=number)
        components = (*arm.components, dummy)
        name = ",".join(map(str, components))
        edits = dict(dummy.edits(arm.recipe))
        arms.append(Arm(name=name, recipe=edit(arm.recipe, edits), components=components))
        if arm.name in replicates:
            replicates[name] = replicates[arm.name]
        contrasts.append(
            Contrast(
                label=f"+{dummy}",
                component=dummy.key,
                kind=None,
                edits=edits,
                estimand=estimand,
                control=arm.name,
                treatment=name,
                weights={arm.name: -1.0, name: 1.0},
                family=NULL,
            )
        )
    return replace(layout, arms=tuple(arms), contrasts=tuple(contrasts), replicates=replicates)
