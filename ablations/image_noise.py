"""What the evaluated images add to the variance of an answer: other images, another accuracy.

Seeds cannot lower it. It is measured from which images each run got right.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Images(Protocol):
    """Which of the evaluated images each run got right. All arms are evaluated on the same."""

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        """Return one number per image, 1.0 where it is right, or None where that is not known.

        100 times its mean is the value of the run.
        """
        ...
