from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from ablations.simulation import noises
from ablations.simulation.games import BASE_TOP1
from ablations.simulation.noise import (
    Noise,
    answers,
    difficulty,
    image_variance,
    luck_variance,
    train,
)

MANY = 4000


def drawn(
    noise: Noise, truth: np.ndarray, off: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    return answers(noise, truth, off, difficulty(noise, len(truth), generator), generator)


@pytest.mark.parametrize(
    "noise", [noises.PLAIN, noises.CORRELATED, noises.UNEQUAL], ids=lambda noise: noise.name
)
def test_training_noise_has_its_sd_and_its_correlation(noise: Noise) -> None:
    off = train(noise, MANY, 4, 3, np.random.default_rng(0))
    assert off.shape == (MANY, 4, 3)
    expected = [noise.seed_sd * (noise.stretch if arm % 2 else 1) for arm in range(4)]
    assert noise.sd(4).tolist() == expected
    assert off.std(axis=(0, 2)) == pytest.approx(expected, rel=0.04)
    found = np.corrcoef(off[:, 0].ravel(), off[:, 1].ravel())[0, 1]
    assert found == pytest.approx(noise.correlation, abs=0.05)
    other_seed = np.corrcoef(off[:, 0, 0], off[:, 1, 1])[0, 1]
    assert other_seed == pytest.approx(0, abs=0.07)


@pytest.mark.parametrize("noise", noises.MIXTURES, ids=lambda noise: noise.name)
def test_accuracy_over_images_and_seeds_is_the_truth(noise: Noise) -> None:
    generator = np.random.default_rng(1)
    truth = np.array([79.0, 60.0, 95.0])
    means = [
        drawn(noise, truth, train(noise, 1, 3, 2, generator)[0], generator).mean(axis=(1, 2))
        for _ in range(600)
    ]
    error = np.std(means, axis=0) / math.sqrt(len(means))
    assert np.all(np.abs(np.mean(means, axis=0) - truth / 100) < 4.5 * error)


@pytest.mark.parametrize("noise", noises.MIXTURES, ids=lambda noise: noise.name)
@pytest.mark.parametrize("seeds", [1, 4])
def test_a_difference_has_the_variance_of_its_parts(noise: Noise, seeds: int) -> None:
    generator = np.random.default_rng(2)
    truth = np.array([BASE_TOP1, BASE_TOP1])
    found = []
    for _ in range(1500):
        right = drawn(noise, truth, train(noise, 1, 2, seeds, generator)[0], generator)
        first, second = 100 * right.mean(axis=(1, 2))
        found.append(second - first)
    by_run = noise.seed_sd**2 + luck_variance(noise) / noise.images
    expected = image_variance(noise) / noise.images + 2 * by_run / seeds
    assert np.var(found) == pytest.approx(expected, rel=4 * math.sqrt(2 / 1500))


@pytest.mark.parametrize("noise", noises.MIXTURES, ids=lambda noise: noise.name)
def test_variances_are_those_of_the_bivariate_normal(noise: Noise) -> None:
    level = norm.ppf(BASE_TOP1 / 100)

    def both(correlation: float) -> float:
        spread = [[1, correlation], [correlation, 1]]
        return float(multivariate_normal([0, 0], spread).cdf([level, level]))

    same = both(noise.item + noise.arm_item)
    assert image_variance(noise) == pytest.approx(2e4 * (same - both(noise.item)), abs=0.05)
    assert luck_variance(noise) == pytest.approx(1e4 * (BASE_TOP1 / 100 - same), abs=0.05)


def test_other_images_share_the_training_and_nothing_else() -> None:
    noise = Noise(name="t", seed_sd=3.0, images=2000, item=0.5, arm_item=0.1)
    generator = np.random.default_rng(3)
    pairs = []
    for _ in range(400):
        off = train(noise, 1, 1, 1, generator)[0]
        first, second = (
            100 * drawn(noise, np.array([79.0]), off, generator).mean() for _ in range(2)
        )
        pairs.append((first, second, 79 + off[0, 0]))
    first, second, _ = np.array(pairs).T
    own = 1e4 * 0.79 * 0.21 / 2000  # of other images, points^2
    expected = 9 / (9 + own)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(expected, abs=0.1)


def test_noise_without_images_or_of_too_large_shares_is_refused() -> None:
    for noise in (noises.PLAIN, Noise(name="t", seed_sd=0.1, images=10, item=0.9, arm_item=0.2)):
        with pytest.raises(ValueError, match="has no images, or shares of variance beyond 1"):
            difficulty(noise, 2, np.random.default_rng(0))
