"""Figures of a study, for papers, pages and notebooks: matplotlib's, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.report.figures import effects, runs
from ablations.report.figures.style import as_bytes
from ablations.report.story import Story

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
FIGURES: Mapping[str, Callable[[Story], Figure | None]] = {
    "waterfall": effects.waterfall,
    "forest": effects.forest,
    "split": effects.split,
    "interactions": effects.interactions,
    "curves": runs.curves,
    "cost": runs.cost,
}


def draw(story: Story) -> dict[str, Figure]:
    """Return the figures that a study has numbers for, by the names of FIGURES."""
    drawn = ((name, make(story)) for name, make in FIGURES.items())
    return {name: figure for name, figure in drawn if figure is not None}


def write_figures(story: Story, folder: Path) -> list[Path]:
    """Write every figure of a study as PDF, SVG and PNG; return the files.

    Raises:
        OSError: the folder cannot be written.
    """
    from lightning_modules.files import write_aside

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in draw(story).items():
        for form in FORMATS:
            path = folder / f"{name}.{form}"
            with write_aside(path) as file:
                file.write(as_bytes(figure, form))
            written.append(path)
    return written
