"""Pictures of the images that a study is evaluated on, for a page that needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.report.predictions import Said
from lightning_modules.data import DataError, Items, parse_data
from lightning_modules.data.evaluated import glance, open_evaluated

SIDE = 96  # pixels of a picture at most


def pictures_of(
    plan: Plan, ledger: Ledger, data: str | None, skip_corrupt: bool, every: Iterable[Said]
) -> Pictures:
    """Return the evaluated images of a plan, opened without the network.

    Args:
        plan: whose base says what minival is, where that is evaluated.
        ledger: of its home.
        data: the DATA word of the request; None: the digits.
        skip_corrupt: of the request.
        every: what runs said, which has to fit the labels.

    Raises:
        DataError: they are not at hand, or not those that the runs were evaluated on.
    """
    spec = parse_data(data or "digits")
    if spec.name != plan.data:
        raise DataError(f"the study is of {plan.data}, whose folder is not known")
    recipe = plan.layout.arms[0].recipe
    classes, items = open_evaluated(
        spec, recipe.data, recipe.evaluate.split, ledger.cache, skip_corrupt=skip_corrupt
    )
    for said in every:
        if len(said.right) != len(items):
            raise DataError(
                f"{spec.text} has {len(items)} of them now, and runs were evaluated on"
                f" {len(said.right)}"
            )
        if not np.array_equal(items.labels == said.predicted, said.right):
            raise DataError(f"those of {spec.text} are not the ones that runs were evaluated on")
    return Pictures(classes, items)


class Pictures:
    """Pictures of the evaluated images, each decoded once."""

    def __init__(self, classes: Sequence[str], items: Items) -> None:
        self.labels = items.labels
        self._classes, self._items = classes, items
        self._known: dict[int, tuple[bytes, int, int] | None] = {}

    def named(self, label: int) -> str:
        """Return the name of a class as text that can be written, or its number."""
        if not 0 <= label < len(self._classes):
            return str(label)
        return self._classes[label].encode("utf-8", "backslashreplace").decode()

    def of(self, index: int) -> tuple[bytes, int, int] | None:
        """Return a picture as PNG with its width and height; None where it cannot be read."""
        if index not in self._known:
            try:
                self._known[index] = _png(glance(self._items, index, SIDE))
            except (DataError, OSError, ValueError):
                self._known[index] = None
        return self._known[index]


def _png(pixels: NDArray[np.uint8]) -> tuple[bytes, int, int]:
    """Return an image as PNG of at most `SIDE` pixels a side; grey where its channels agree."""
    from PIL import Image

    grey = bool((pixels == pixels[..., :1]).all())
    image: Any = Image.fromarray(pixels[..., 0] if grey else pixels)
    image.thumbnail((SIDE, SIDE))  # leaves a smaller one as it is
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), image.width, image.height
