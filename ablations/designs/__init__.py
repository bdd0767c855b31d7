"""Designs: pure functions from a base and components to arms and contrasts."""

from ablations.designs.factorial import FACTORIAL_LIMIT
from ablations.designs.laying_out import DESIGNS, lay_out
from ablations.designs.split import by_blocks, by_ladder

__all__ = ["DESIGNS", "FACTORIAL_LIMIT", "by_blocks", "by_ladder", "lay_out"]
