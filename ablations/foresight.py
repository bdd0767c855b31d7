"""What can be said of a study before it is trained: noise, smallest effects, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablations.detectable import Prospect, prospect
from ablations.disk import Disk, disk_of
from ablations.ledger import Ledger
from ablations.noise import Noise, known_noise
from ablations.packing import Slots
from ablations.plans import Run
from ablations.proving import weights_of
from ablations.publishing.targets import trackers_of
from ablations.study import Options, Prepared


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What a plan says beside what it will train."""

    noise: Noise
    prospect: Prospect
    disk: Disk


def foresee(
    prepared: Prepared, ledger: Ledger, options: Options, missing: Sequence[Run], slots: Slots
) -> Foresight:
    """Return what a plan can resolve and what it will write. Trains nothing.

    After `appraise`, which looks at the arms: their weights are counted from what it saw.
    """
    plan, facts = prepared.plan, prepared.facts
    images = evaluated_images(prepared)
    noise = known_noise(plan, images, ledger, prepared.request.noise)
    keeping = plan.ends if options.keep is None else [arm.name for arm in plan.layout.arms]
    return Foresight(
        noise=noise,
        prospect=prospect(plan, noise),
        disk=disk_of(
            plan,
            missing,
            weights=weights_of(plan, ledger, slots.threads),
            keeping=() if options.keep == "none" else keeping,
            images=images,
            decoded=facts.train + facts.validation,
            slots=slots.count,
            tracked="wandb" in trackers_of(options.track),
        ),
    )


def evaluated_images(prepared: Prepared) -> int:
    """Return how many images give the result of a run."""
    recipe = prepared.plan.layout.arms[0].recipe
    if recipe.evaluate.split == "minival":  # to the nearest image of every class
        return max(round(prepared.facts.train * recipe.data.minival_fraction), 1)
    return max(prepared.facts.validation, 1)
