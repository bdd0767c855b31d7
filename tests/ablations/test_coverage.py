"""Games with known truth: 95 % intervals hold it in 93 to 97 %, whichever noise dominates.

The truth is that of the population of images and seeds. A cell fails only where the Monte Carlo
interval of its share lies outside; `ablate simulate` plays more games.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from ablations.attribution import analyse

GAMES, IMAGES = 400, 100
# sd in points: of a run, of an arm's main effect on one image, of a run on one image
DOMINANT = {"seeds": (0.3, 0.5, 0.5), "images": (0.02, 4.0, 1.0), "both": (0.3, 4.0, 4.0)}


class Drawn:
    """The images of a game's runs."""

    def __init__(self, table: NDArray[np.floating]) -> None:
        self.table = table / 100

    def of(self, arm: str, seed: int) -> NDArray[np.floating]:
        return self.table[int(arm), seed]


def within(count: int, games: int, low: float = 0.93, high: float = 0.97) -> bool:
    """Whether the Monte Carlo interval of a share meets the claim."""
    least, most = proportion_confint(count, games, method="wilson")
    return bool(most >= low and least <= high)


def play(generator: np.random.Generator, arms: int, runs: list[int], dominant: str) -> Drawn:
    """Draw a game whose true effects are all 0, at 80 percent; arms may lack later seeds."""
    run_sd, image_sd, noise_sd = DOMINANT[dominant]
    seeds = max(runs)
    table = 80 + generator.normal(0, 10, IMAGES) + generator.normal(0, run_sd / 2, (seeds, 1))
    table = table + generator.normal(0, run_sd, (arms, seeds, 1))
    table = table + generator.normal(0, image_sd, (arms, 1, IMAGES))
    return Drawn(table + generator.normal(0, noise_sd, (arms, seeds, IMAGES)))


def analysed(drawn: Drawn, runs: list[int], weights: dict[str, float]) -> tuple[bool, bool]:
    """Whether the interval of the contrast holds 0, and that of arm 0 its 80 percent."""
    values = {
        str(arm): {seed: 100 * float(drawn.of(str(arm), seed).mean()) for seed in range(count)}
        for arm, count in enumerate(runs)
    }
    found = analyse(values, {}, {"x": weights}, images=drawn)
    low, high = found.estimates["x"].interval or (1.0, -1.0)
    least, most = found.means["0"].interval or (1.0, -1.0)
    return low <= 0 <= high, least <= 80 <= most


@pytest.mark.parametrize("dominant", DOMINANT)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth_whichever_noise_dominates(seeds: int, dominant: str) -> None:
    generator = np.random.default_rng(seeds)
    runs = [seeds] * 4
    held = [
        analysed(play(generator, 4, runs, dominant), runs, {"1": -1.0, "2": 1.0})
        for _ in range(GAMES)
    ]
    effects, means = (sum(one) for one in zip(*held, strict=True))
    assert within(effects, GAMES)
    assert within(means, GAMES)


@pytest.mark.parametrize("dominant", DOMINANT)
def test_screens_take_their_noise_from_replicates(dominant: str) -> None:
    """Eight arms of one seed, half against half; base and full have four more seeds."""
    generator = np.random.default_rng(1)
    runs = [5, 5, 1, 1, 1, 1, 1, 1]
    weights = {str(arm): 0.25 if arm % 2 else -0.25 for arm in range(8)}
    held = [analysed(play(generator, 8, runs, dominant), runs, weights)[0] for _ in range(GAMES)]
    assert within(sum(held), GAMES)
