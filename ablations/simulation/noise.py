"""Noise: from the true accuracy of each arm to runs, and to what each run got right.

Without images a run is its truth plus a normal error. With images every answer is a threshold of a
normal variable whose parts are shared as in reality: how hard the image is (all arms), how hard it
is for the arm (all its seeds), the run (all its images), and luck. The parts sum to a variance of
1, so an arm's accuracy over all images and seeds is exactly its truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, owens_t

from ablations.simulation.games import BASE_TOP1, Array

_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How runs of one arm differ, and how images do."""

    name: str
    seed_sd: float  # of a run's true accuracy between seeds, points (with images: near the base)
    correlation: float = 0.0  # of two arms on one seed, of this part
    stretch: float = 1.0  # of the sd in every second arm, the base not among them; 1: equal
    images: int = 0  # evaluated; 0: accuracy itself is seen
    item: float = 0.0  # share of an answer's variance that all arms have on an image
    arm_item: float = 0.0  # share that all seeds of an arm have on an image

    def sd(self, arms: int) -> Array:
        """Return the sd between seeds of each arm, points."""
        return self.seed_sd * np.where(np.arange(arms) % 2 == 1, self.stretch, 1.0)


def train(noise: Noise, games: int, arms: int, seeds: int, generator: np.random.Generator) -> Array:
    """Draw by how many points each run's accuracy is off its arm's, games x arms x seeds."""
    own = generator.standard_normal((games, arms, seeds))
    shared = generator.standard_normal((games, 1, seeds))
    mixed = math.sqrt(noise.correlation) * shared + math.sqrt(1 - noise.correlation) * own
    return noise.sd(arms)[None, :, None] * mixed


def difficulty(noise: Noise, arms: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw how hard each image is for each arm, arms x images."""
    if noise.images < 1 or (_luck(noise, arms) < 0).any():
        raise ValueError(f"noise {noise.name!r} has no images, or shares of variance beyond 1")
    normal = generator.standard_normal
    hard = np.float32(math.sqrt(noise.arm_item)) * normal((arms, noise.images), dtype=np.float32)
    hard += np.float32(math.sqrt(noise.item)) * normal(noise.images, dtype=np.float32)
    return hard


def answers(
    noise: Noise,
    truth: Array,
    off: Array,
    hard: NDArray[np.float32],
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw what each run of one game gets right, arms x seeds x images.

    Call it with the same `off` and other images for the same training, evaluated elsewhere.

    Args:
        noise: with images.
        truth: percent by arm.
        off: points by arm and seed, from `train`.
        hard: of the images, from `difficulty`.
        generator: source of luck.
    """
    arms, seeds = off.shape
    level = ndtri(truth / _PERCENT)[:, None] + off / _slope()
    chance = generator.standard_normal((arms, seeds, noise.images), dtype=np.float32)
    chance *= np.sqrt(_luck(noise, arms)).astype(np.float32)[:, None, None]
    chance += hard[:, None, :]
    return chance < level.astype(np.float32)[:, :, None]


def image_variance(noise: Noise, accuracy: float = BASE_TOP1) -> float:
    """Return the variance, per image, that images alone give a difference of two like arms.

    Divided by the number of images it is the floor that no number of seeds lowers, in points^2.
    """
    same = _both(accuracy, noise.item + noise.arm_item)
    return 2 * _PERCENT**2 * (same - _both(accuracy, noise.item))


def luck_variance(noise: Noise, accuracy: float = BASE_TOP1) -> float:
    """Return the variance, per image, of one run's accuracy given its images, in points^2."""
    return _PERCENT**2 * (accuracy / _PERCENT - _both(accuracy, noise.item + noise.arm_item))


def _luck(noise: Noise, arms: int) -> Array:
    """Return the share of an answer's variance that is luck, by arm."""
    return 1 - noise.item - noise.arm_item - noise.sd(arms) ** 2 / _slope() ** 2


def _both(accuracy: float, correlation: float) -> float:
    """Return the chance that two answers with this correlation are both right (Owen 1956)."""
    level = float(ndtri(accuracy / _PERCENT))
    apart = math.sqrt((1 - correlation) / (1 + correlation))
    return float(ndtr(level) - 2 * owens_t(level, apart))


def _slope() -> float:
    """Return points of accuracy per unit of the threshold, at the base."""
    level = float(ndtri(BASE_TOP1 / _PERCENT))
    return _PERCENT * math.exp(-(level**2) / 2) / math.sqrt(2 * math.pi)
