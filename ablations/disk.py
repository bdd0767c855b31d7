"""What a plan will write, in bytes: sizes that were measured, and the numbers of the networks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ablations.plans import Plan, Run
from recipes import peak

# Lengths of files, measured on `ablate --base tiny --add ls,sd,ra,se,resnetd` (21 runs, 100 epochs,
# 599 images), and on `--add ls --seeds 1` with `--set optim.epochs=5` and 120, by
# `python tests/benchmarks/noise.py HOME`. A file system rounds each file up to its own blocks.
RUN_BYTES = 3_800  # recipe, status with hashes, result, certificate, environment: 3.0 to 3.8 kB
EPOCH_BYTES = 70  # of the curve: 67
IMAGE_BYTES = 6  # predicted label and loss, compressed: 5.2
TRACKED_BYTES = 13_500  # of one offline run of W&B, folders too: 13.2 kB at no epoch
TRACKED_EPOCH_BYTES = 400  # and 400 an epoch
ARM_BYTES = 5_000  # of the plan, its certificates and reports: 4.1 kB
_AT_ONCE = 3  # checkpoints of a run: the two that are kept, and the one that is being written
_TENSOR_BYTES = 250  # beside its numbers, in a file of weights


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes that a plan still has to write."""

    runs: int  # recipes, curves, predictions, results, and the study's own files
    weights: int  # that are kept
    tracking: int  # W&B's offline files
    images: int  # decoded once; there already after a plan
    checkpoints: int  # of the runs that go at once, while they run

    @property
    def kept(self) -> int:
        """Return what is left at the end."""
        return self.runs + self.weights + self.tracking + self.images


def disk_of(
    plan: Plan,
    missing: Sequence[Run],
    *,
    weights: Mapping[str, int],
    keeping: Collection[str],
    images: int,
    decoded: int,
    slots: int,
    tracked: bool,
) -> Disk:
    """Return what the missing runs of a plan will write.

    Args:
        plan: whose arms they are.
        missing: runs that are still to be made.
        weights: bytes of an arm's weights and statistics, by name; an arm that is not in it counts
            as the largest.
        keeping: arms whose weights are kept.
        images: that a run evaluates.
        decoded: images that are decoded once, of all parts.
        slots: runs at once.
        tracked: whether runs are logged offline.
    """
    epochs = {arm.name: arm.recipe.optim.epochs for arm in plan.layout.arms}
    largest = max(weights.values(), default=0)
    made = {run.arm for run in missing}
    sizes = {arm.recipe.data.stored_size for arm in plan.layout.arms}
    # A checkpoint holds weights, the optimiser's averages and the moving average (measured on tiny:
    # 1.99 times the weights under SGD, 3.00 with an average).
    running = [
        weights.get(arm.name, largest)
        * (2 + (arm.recipe.optim.optimizer != "sgd") + (peak(arm.recipe.optim.ema_decay) > 0))
        for arm in plan.layout.arms
        if arm.name in made
    ]
    return Disk(
        runs=sum(
            RUN_BYTES + EPOCH_BYTES * epochs[run.arm] + IMAGE_BYTES * images for run in missing
        )
        + ARM_BYTES * len(epochs),
        weights=sum(weights.get(run.arm, largest) for run in missing if run.arm in keeping),
        tracking=sum(TRACKED_BYTES + TRACKED_EPOCH_BYTES * epochs[run.arm] for run in missing)
        if tracked
        else 0,
        images=sum(decoded * 3 * size**2 for size in sizes),
        checkpoints=_AT_ONCE * max(running, default=0) * min(slots, len(missing)),
    )


def state_bytes(shapes: Mapping[str, str]) -> int:
    """Return the bytes of a network's state from its tensors, as `float32[64, 3, 7, 7]` by name."""
    found = 0
    for words in shapes.values():
        kind, _, sides = words.partition("[")
        count = 1
        for side in json.loads(f"[{sides}"):
            count *= side
        bits = int("".join(letter for letter in kind if letter.isdigit()) or 8)
        found += count * bits // 8 + _TENSOR_BYTES
    return found


def size(number: float) -> str:
    """Return bytes as a person says them: 640 kB, 2.9 GB."""
    units = ("kB", "MB", "GB", "TB")
    power = 1
    while power < len(units) and number >= 1000 ** (power + 1):
        power += 1
    shown = number / 1000**power
    return f"{shown:.1f} {units[power - 1]}" if shown < 9.95 else f"{shown:.0f} {units[power - 1]}"
