"""The pace of a recipe in one worker while others keep theirs beside it: a packing, tried."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.execution import Execution
from recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A recipe whose steps are to be counted between two times, for all workers the same."""

    recipe: Recipe
    execution: Execution
    begin: float  # of `time.monotonic`, which the processes of a machine share
    end: float


def keep_pace(task: Pace) -> float:
    """Return the images per second of this worker between the two times. Trains nothing."""
    from lightning_modules.speed import images_per_second

    return images_per_second(task.recipe, task.execution, task.begin, task.end)
