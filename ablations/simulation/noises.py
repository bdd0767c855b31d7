"""The noises that games are played with.

Points are larger than on ImageNet, because a thousand images are: what decides is which part
dominates, not its size. By `noise.image_variance` and `luck_variance` the variance of a difference
of two arms is image part + seed part / n, in points^2:
"""

from __future__ import annotations

from ablations.simulation.noise import Noise

SEED = Noise(name="seed", seed_sd=1.0, images=1000, item=0.9)  # 0 + 3.03 / n
IMAGE = Noise(name="image", seed_sd=0.1, images=1000, item=0.6, arm_item=0.35)  # 1.35 + 0.75 / n
BOTH = Noise(name="both", seed_sd=0.5, images=1000, item=0.8, arm_item=0.1)  # 0.43 + 1.53 / n
MIXTURES = (SEED, IMAGE, BOTH)
# 0.05 + 0.28 / n: networks that agree on most images, so that published effects can be resolved.
FINE = Noise(name="fine", seed_sd=0.15, images=2000, item=0.97, arm_item=0.01)

# As on ImageNet, and without images: the analysis sees accuracies only. 0.15 as in priors.SEED_SD.
PLAIN = Noise(name="accuracies only", seed_sd=0.15)
CORRELATED = Noise(name="seeds correlated 0.9", seed_sd=0.15, correlation=0.9)
UNEQUAL = Noise(name="every second arm 4 x as noisy", seed_sd=0.15, stretch=4.0)
SLIGHTLY_UNEQUAL = Noise(name="every second arm 2 x as noisy", seed_sd=0.15, stretch=2.0)
