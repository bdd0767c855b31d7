"""What the outcomes of a plan say: its contrasts, split and lack of fit through the attribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations import additivity
from ablations.attribution import Analysis, Estimate, analyse
from ablations.errors import RequestError
from ablations.image_noise import Images
from ablations.plans import (
    COMPONENTS,
    DESCRIBED,
    FAILED,
    NULL,
    Outcome,
    Plan,
    values_by_arm,
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The analysis of a plan, and its estimates by what asked for them."""

    analysis: Analysis
    estimates: tuple[Estimate, ...]  # of the plan's contrasts, in their order
    split: Mapping[str, Estimate]  # as `by_ladder training`
    gaps: Mapping[str, Estimate]  # lack of fit by estimand
    trainings: Mapping[str, str]  # by arm; empty for published numbers


def analysis_of(
    plan: Plan,
    outcomes: Sequence[Outcome],
    *,
    level: float = 0.95,
    rope: float | None = None,
    images: Images | None = None,
    spent: float = 1.0,
    error: tuple[float, int] | None = None,
    concluded: bool = True,
) -> Answer:
    """Return what the values of a study say.

    The split (`by_ladder training`, ...) is the primary family of tests, the contrasts of the
    components the secondary one. `error` stands in place of that of all runs (`analyse`). A study
    that is not `concluded` has no verdicts yet, and no adjusted p values, which would give them.

    Raises:
        RequestError: a finished run has a value that is not finite or was made on other data than
            the plan's, or `level`, `rope` or `spent` is impossible.
    """
    layout = plan.layout
    check_runs(plan, outcomes)
    families: dict[str, dict[str, Mapping[str, float]]] = {COMPONENTS: {}, NULL: {}, DESCRIBED: {}}
    names = [f"{place} {contrast.label}" for place, contrast in enumerate(layout.contrasts)]
    for name, contrast in zip(names, layout.contrasts, strict=True):
        families[contrast.family][name] = contrast.weights
    gaps = additivity.gaps(layout)
    families[DESCRIBED] |= {f"lack of fit, {name}": gap for name, gap in gaps.items()}
    primary = layout.split.sides
    # Whether others trained two of their arms as one is not known.
    trainings = {} if plan.published else layout.trainings
    named = [arm.name for arm in layout.arms]
    if plan.published is not None:  # its contrasts may name what the source never trained
        sides = [*primary.values(), *families[COMPONENTS].values()]
        named = [arm for weights in sides for arm in weights]
    values: dict[str, dict[int, float]] = {arm: {} for arm in named}
    try:
        found = analyse(
            values | values_by_arm(outcomes),
            primary,
            families[COMPONENTS],
            level=level,
            rope=rope,
            failed={outcome.run.arm for outcome in outcomes if outcome.status in FAILED},
            trainings=trainings,
            described=families[DESCRIBED],
            null=families[NULL],
            images=images,
            spent=spent,
            error=error,
        )
    except ValueError as problem:
        raise RequestError(f"study {plan.study} cannot be analysed: {problem}") from None
    if not concluded:
        found = dataclasses.replace(
            found,
            estimates={
                name: dataclasses.replace(one, verdict=None, p_holm=None)
                for name, one in found.estimates.items()
            },
        )
    return Answer(
        analysis=found,
        estimates=tuple(found.estimates[name] for name in names),
        split={name: found.estimates[name] for name in primary},
        gaps={name: found.estimates[f"lack of fit, {name}"] for name in gaps},
        trainings=trainings,
    )


def check_runs(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Check that all runs are of the plan's data and of one version of the interpreter.

    Raises:
        RequestError: they are not, as far as they recorded it.
    """
    for one in outcomes:
        if one.data_fingerprint not in (None, plan.data_fingerprint):
            raise RequestError(
                f"run {one.run.id} ({one.run.arm}, seed {one.run.seed}) was made on other data"
                f" (fingerprint {one.data_fingerprint}) than the plan's"
                f" ({plan.data_fingerprint}): numbers of both are not compared; remove its folder"
                " to make it again"
            )
    versions = {one.results_version for one in outcomes} - {None}
    if len(versions) > 1:
        shown = ", ".join(str(version) for version in sorted(map(str, versions)))
        raise RequestError(
            f"study {plan.study} holds runs of several results versions ({shown}), which mean"
            " different trainings by one recipe: plan it again, so that the older ones are made"
            " again"
        )
