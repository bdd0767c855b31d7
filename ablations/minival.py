"""What choices read: how finished runs did on minival, the held-out part of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablations.errors import RequestError
from ablations.ledger import TERMINAL, Ledger
from ablations.plans import Outcome, Plan
from ablations.request import Request


def check_held_out(request: Request, plan: Plan) -> None:
    """Check that a plan whose request chooses anything holds out images to choose by.

    Raises:
        RequestError: an arm trains on all images.
    """
    wanted = [f"--until {request.until}"] if request.until is not None else []
    wanted += [f"--confirm {request.confirm}"] if request.confirm else []
    without = [arm for arm in plan.layout.arms if not arm.recipe.data.minival_fraction > 0]
    if wanted and without:
        raise RequestError(
            f"{' and '.join(wanted)}: what is chosen is chosen by minival, and nothing is held out"
            " for it (data.minival_fraction is 0): add --set data.minival_fraction=0.02"
        )


def check_kept(outcomes: Sequence[Outcome], ledger: Ledger) -> None:
    """Check that finished runs have what choices read.

    Raises:
        RequestError: they were made before it was kept, and their curve has no point at its end.
    """
    without = [one for one in outcomes if one.status == "finished" and one.minival is None]
    if without:
        shown = ", ".join(one.run.id for one in without[:5])
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        raise RequestError(
            f"the accuracy on minival, by which --until and --confirm choose, is not known of"
            f" {len(without)} finished runs, which an earlier version made: remove their folders"
            f" in {ledger.home / 'runs'} to make them again ({shown}{more})"
        )


def failed_arms(outcomes: Sequence[Outcome]) -> set[str]:
    """Return the arms with a run that ended without a result."""
    return {one.run.arm for one in outcomes if one.status in TERMINAL - {"finished"}}


class MinivalImages:
    """Which minival images each finished run got right, as many times over as it evaluates.

    A stopping rule asks what the answer will resolve, and that is read on the evaluated split,
    which is larger as a rule: the noise of its images is what counts. Minival repeated has it.
    """

    def __init__(self, ledger: Ledger, outcomes: Sequence[Outcome]) -> None:
        self._ledger = ledger
        self._finished = {
            (one.run.arm, one.run.seed): one for one in outcomes if one.status == "finished"
        }

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        """Return 1.0 for each image that the run got right and 0.0 for the others, or None."""
        outcome = self._finished.get((arm, seed))
        if outcome is None:
            return None
        path = self._ledger.run_folder(outcome.run.id) / "minival_correct.npy"
        try:
            right = np.load(path, allow_pickle=False).astype(np.float64)
        except (OSError, ValueError, EOFError):  # of before it was kept, or damaged
            return None
        if right.ndim != 1 or not len(right):
            return None
        return np.tile(right, max((outcome.evaluated_images or 0) // len(right), 1))
