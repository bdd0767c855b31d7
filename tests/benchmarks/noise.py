"""How runs on the digits differ and what they write: `python tests/benchmarks/noise.py HOME`.

The numbers behind `ablations/priors.py` and `ablations/disk.py`, of the newest study of a home, as
`ablate --base tiny --add ls,sd,ra,se,resnetd --home HOME` makes one.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Plan
from lightning_modules.data import open_source, parse_data


def main() -> None:
    """Print disagreement by arm, variance over images by contrast, and bytes by part."""
    ledger = Ledger(Path(sys.argv[1]))
    plan = thaw(ledger.study_folder(ledger.studies()[0]))[0]
    labels = open_source(parse_data("digits"), memory=None).validation.labels
    right: dict[str, dict[int, np.ndarray]] = {}
    for run in plan.runs:
        with np.load(ledger.run_folder(run.id) / "predictions.npz") as stored:
            right.setdefault(run.arm, {})[run.seed] = stored["predicted"] == labels
    if all(len(runs) > 1 for runs in right.values()):
        _print_noise(plan, right)
    for line in _bytes(plan, ledger):
        print(line)


def _print_noise(plan: Plan, right: dict[str, dict[int, np.ndarray]]) -> None:
    images = len(next(iter(right[plan.layout.arms[0].name].values())))
    within = {
        arm: np.mean([np.mean(a != b) for a, b in itertools.combinations(runs.values(), 2)])
        for arm, runs in right.items()
    }
    print(f"{len(plan.runs)} runs, {images} images; two runs of one arm differ in being right")
    shares = ", ".join(f"{arm} {100 * share:.1f}" for arm, share in within.items())
    print(f"  on {100 * np.mean(list(within.values())):.1f} % of the images (%: {shares})")
    variances = dict(_variances(plan, right))
    print("variance over images of what a change is worth on one, in squared points")
    words = ", ".join(f"{label} {one:.1f}" for label, one in variances.items())
    print(f"  {np.mean(list(variances.values())):.1f} ({words})")


def _variances(plan: Plan, right: dict[str, dict[int, np.ndarray]]) -> Iterator[tuple[str, float]]:
    """Yield the covariance over images of the effects that two different seeds show."""
    for contrast in plan.layout.contrasts:
        if contrast.control and contrast.treatment:
            control, treatment = right[contrast.control], right[contrast.treatment]
            effects = [100.0 * treatment[seed] - 100.0 * control[seed] for seed in control]
            pairs = itertools.combinations(effects, 2)
            yield contrast.label, float(np.mean([np.cov(one, other)[0, 1] for one, other in pairs]))


def _bytes(plan: Plan, ledger: Ledger) -> Iterator[str]:
    folders = [ledger.run_folder(run.id) for run in plan.runs]
    epochs = {arm.name: arm.recipe.optim.epochs for arm in plan.layout.arms}
    names = sorted({path.name for folder in folders for path in folder.iterdir()})
    mean_epochs = np.mean([epochs[run.arm] for run in plan.runs])
    yield f"mean bytes of a run's files, of {mean_epochs:g} epochs"
    for name in names:
        found = [(folder / name).stat().st_size for folder in folders if (folder / name).exists()]
        yield f"  {name:<18} {np.mean(found):>10,.0f}  in {len(found)} of {len(folders)}"
    tracked = (ledger.home / "tracking" / "wandb").glob("offline-run-*")
    sizes = [sum(path.lstat().st_size for path in one.rglob("*")) for one in tracked]
    yield f"  {'W&B, with folders':<18} {np.mean(sizes or [0]):>10,.0f}  in {len(sizes)}"
    study = ledger.study_folder(plan.study)
    total = sum(path.stat().st_size for path in study.iterdir())
    yield f"the study's own files: {total / len(epochs):,.0f} bytes by arm"


if __name__ == "__main__":
    main()
