"""`ablate simulate`: games with known truth, played through the analysis of real studies."""

from __future__ import annotations

from ablations.simulation.cells import GROUPS, cells_of
from ablations.simulation.playing import FEWEST_GAMES, played
from ablations.simulation.tables import check_format, failed, render

__all__ = ["FEWEST_GAMES", "GROUPS", "cells_of", "check_format", "failed", "played", "render"]
