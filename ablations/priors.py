"""What is assumed before anything is known of the noise of a user's own runs. Accuracy points.

Used to choose a design and to say what it can resolve, never in an answer.
"""

from __future__ import annotations

# sd of one run between seeds: 0.1 to 0.2 for ImageNet networks (Picard 2021, Bouthillier 2021).
SEED_SD = 0.15
# sd of what two components are worth together beyond each by itself: ResNet-RS Table 2 has weight
# decay beside regularization at 1.0 to 1.5; 0.3 is the middle of the games that designs are
# compared on (`ablate simulate`).
INTERACTION_SD = 0.3
