"""What choices read: how finished runs did on minival, the held-out part of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from ablations.errors import RequestError
from ablations.image_noise import FITS
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
    """Which minival images each finished run got right, standing for those that it evaluates.

    A stopping rule asks what the answer will resolve, and that is read on the evaluated split,
    which is larger as a rule: the noise of its images is what counts. How large that noise is, is
    known from the minival images alone, so they are not repeated.
    """

    def __init__(self, ledger: Ledger, outcomes: Sequence[Outcome]) -> None:
        self._ledger = ledger
        self._finished = {
            (one.run.arm, one.run.seed): one for one in outcomes if one.status == "finished"
        }

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        """Return 1.0 for each image that the run got right and 0.0 for the others, or None.

        A file that does not give the run's accuracy on minival is damaged, and as good as none: a
        look then goes by the seeds alone.
        """
        outcome = self._finished.get((arm, seed))
        if outcome is None or outcome.minival is None:
            return None
        path = self._ledger.run_folder(outcome.run.id) / "minival_correct.npy"
        try:
            with path.open("rb") as file:  # no archive of arrays, as np.load would take
                right = read_array(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # of before it was kept, or damaged
            return None
        if right.ndim != 1 or not len(right) or right.dtype != np.bool_:
            return None
        found: NDArray[np.floating] = right.astype(np.float64)
        return found if abs(100 * float(found.mean()) - outcome.minival) <= FITS else None

    @property
    def stands_for(self) -> int | None:
        """Return how many images the runs are evaluated on; None: not known."""
        counts = {one.evaluated_images for one in self._finished.values()} - {None, 0}
        return counts.pop() if len(counts) == 1 else None
