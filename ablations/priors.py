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

# Share of the images on which two runs of one recipe differ in being right: 11.1 %, over 21 runs of
# `ablate --base tiny --add ls,sd,ra,se,resnetd` (digits, 599 images; 7.4 to 15.1 % by arm), by
# `python tests/benchmarks/noise.py HOME`. Right or wrong by image, that alone makes runs differ.
DISAGREEMENT = 0.11
# Variance over images, in squared points, of what a change is worth on one image (the chance to be
# right, as seeds vary): 49 over the five changes of the same study (-0.5 to 151), by the same
# command. Divided by the number of images it is what more seeds cannot lower.
IMAGE_VARIANCE = 50.0
