"""What the built objects of a recipe are and do, observed on a few images before any training.

The certificate (`ablations.certificate`) compares such observations. They are made on a CPU with
one fixed seed, whatever the runs will use, so that equal recipes give equal observations.
"""

from lightning_modules.probe.observe import observe

__all__ = ["observe"]
