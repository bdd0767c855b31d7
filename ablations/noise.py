"""What is known of a study's noise before it is trained: from runs of the home, else by assumption.

Only plans read this. An answer measures its own noise.
"""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import COMPONENTS, Outcome, Plan, values_by_arm
from ablations.priors import DISAGREEMENT, IMAGE_VARIANCE, SEED_SD
from ablations.randomised_block import fit_blocks

ENOUGH_DF = 6  # from fewer, a standard deviation may be off by a factor of 2 (chi-squared)
_PLENTY_DF = 60  # beyond, no further study is asked: a standard deviation within 20 % (95 %)
_STUDIES = 20  # other studies that are asked at most, newest first
_SEEDS = 3  # runs of an arm whose predictions are compared at most

# By evaluated image: whether it was right, else what was predicted; and which of the two.
Answers = tuple[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a plan counts with, in accuracy points; variances in their squares."""

    seed_variance: float  # of a run about its arm and seed
    seed_df: int | None  # behind it; None: given or assumed
    image_variance: float  # over images, of what a change is worth on one image
    images: int  # that are evaluated
    source: str  # the numbers and where they come from, in words

    @property
    def seed_sd(self) -> float:
        """Return the standard deviation of a run about its arm and seed, in points."""
        return math.sqrt(self.seed_variance)

    @property
    def image_sd(self) -> float:
        """Return what a change is uncertain by, in points, for the choice of the images alone."""
        return math.sqrt(self.image_variance / self.images)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """What finished runs say: squares about arm and seed, and what changes are worth by image."""

    squares: float
    df: int
    runs: int
    image_variances: tuple[float, ...]  # by change


def known_noise(plan: Plan, images: int, ledger: Ledger, given: float | None = None) -> Noise:
    """Return the noise that a plan counts with. Trains nothing and writes nothing.

    What was given comes first; then finished runs of the plan's own arms; then runs of other
    studies of the home on the same data under the same protocol, of the same backbone before
    others; then the assumptions of `ablations.priors`.

    Args:
        plan: whose arms are to be trained.
        images: that the plan evaluates, 1 or more.
        ledger: the home.
        given: standard deviation between seeds in points, from the user.
    """
    sample, whose = _sample(plan, ledger)
    df = None
    # Runs that answer image by image differ by sqrt(p (1 - p) / images) at least.
    variance = max(SEED_SD**2, 100**2 * DISAGREEMENT / 2 / images)
    how = "assumed: the home has too few runs on these data"
    if given is not None:
        variance, how = given**2, f"as --noise {given:g} says"
    elif sample is not None:
        variance, df = sample.squares / sample.df, sample.df
        how = f"measured: {sample.runs} runs of {whose}, {df} degrees of freedom"
    by_image, image_how = IMAGE_VARIANCE, "assumed"
    if sample is not None and sample.image_variances:
        by_image = max(math.fsum(sample.image_variances) / len(sample.image_variances), 0.0)
        image_how = f"measured in {'the same' if given is None else f'{sample.runs}'} runs"
    return Noise(
        seed_variance=variance,
        seed_df=df,
        image_variance=by_image,
        images=images,
        source=f"{math.sqrt(variance):.2g} points between seeds ({how}),"
        f" {math.sqrt(by_image / images):.2g} points between sets of {images} images ({image_how})",
    )


def _sample(plan: Plan, ledger: Ledger) -> tuple[_Sample | None, str]:
    """Return what the nearest runs say that are enough, and whose they are; None: too few."""
    seen: set[str] = set()
    found = [_of_study(plan, _finished(plan, ledger, seen), ledger)]
    if _enough(found):
        return _sum(found), "this plan's arms"
    near, far = list(found), list(found)
    for study in _others(plan, ledger):
        try:
            one = _of_study(study, _finished(study, ledger, seen), ledger)
        except RequestError:  # a damaged run of another study: not what was asked about
            continue
        if _backbone(study) == _backbone(plan):
            near.append(one)
        far.append(one)
        if sum(sample.df for sample in near) >= _PLENTY_DF:
            break
    for samples, whose in (
        (near, f"{_backbone(plan)} on these data"),
        (far, "this home on these data"),
    ):
        if _enough(samples):
            return _sum(samples), whose
    return None, ""


def _finished(plan: Plan, ledger: Ledger, seen: set[str]) -> list[Outcome]:
    """Return the finished runs of a plan that were not seen before; dummies share no seed."""
    runs = [run for run in plan.runs if run.arm not in plan.layout.dummies and run.id not in seen]
    seen.update(run.id for run in runs)
    outcomes = [ledger.outcome(run) for run in runs if ledger.status(run.id) == "finished"]
    return [one for one in outcomes if one.value is not None]


def _others(plan: Plan, ledger: Ledger) -> Iterator[Plan]:
    """Yield other studies of the home with the same data and protocol, newest first."""
    wanted = f"data_fingerprint: {plan.data_fingerprint}"
    found = 0
    for name in ledger.studies():
        folder = ledger.study_folder(name)
        # The text first: reading a plan takes a tenth of a second.
        if name == plan.study or wanted not in _text(folder / "plan.yaml"):
            continue
        try:
            study = thaw(folder)[0]
        except RequestError:
            continue
        if study.protocol == plan.protocol:
            yield study
            found += 1
        if found == _STUDIES:
            return


def _of_study(plan: Plan, finished: Sequence[Outcome], ledger: Ledger) -> _Sample:
    values = {arm: by_seed for arm, by_seed in values_by_arm(finished).items() if by_seed}
    squares, df = 0.0, 0
    if values:
        trainings = plan.layout.trainings
        spread = fit_blocks(values, trainings).spread
        squares, df = spread.error, spread.error_df
        if df == 0:  # one arm, or none that share seeds: the seeds' own part is noise too
            squares, df = spread.seed, spread.seed_df
    used = [one for one in finished if len(values[one.run.arm]) > 1]
    return _Sample(
        squares=squares,
        df=df if squares > 0 else 0,  # zero spread says nothing of the next arm's
        runs=len(used) if squares > 0 else 0,
        image_variances=tuple(_image_variances(plan, finished, values, ledger)),
    )


def _image_variances(
    plan: Plan,
    finished: Sequence[Outcome],
    values: Mapping[str, Mapping[int, float]],
    ledger: Ledger,
) -> Iterator[float]:
    """Yield the variance over images of what each change is worth on an image, from its two arms.

    Two runs of the two arms differ on more images than two runs of one arm, by the mean square of
    what the change is worth by image; the square of its mean is no variance.
    """
    answers: dict[str, list[tuple[int, Answers]]] = {}
    for one in finished:
        if len(values[one.run.arm]) > 1 and len(answers.setdefault(one.run.arm, [])) < _SEEDS:
            read = _answers(ledger.run_folder(one.run.id), one.evaluated_images)
            if read is not None:
                answers[one.run.arm].append((one.run.seed, read))
    means = {arm: math.fsum(found.values()) / len(found) for arm, found in values.items()}
    for contrast in plan.layout.contrasts:
        control, treatment = contrast.control, contrast.treatment
        if control is None or treatment is None or contrast.family != COMPONENTS:
            continue
        both = [
            _disagreement(answers.get(arm, ()), answers.get(arm, ()))
            for arm in (control, treatment)
        ]
        across = _disagreement(answers.get(control, ()), answers.get(treatment, ()))
        if across is not None and both[0] is not None and both[1] is not None:
            square = 100**2 * (across - (both[0] + both[1]) / 2)
            yield square - (means[treatment] - means[control]) ** 2


def _disagreement(
    first: Iterable[tuple[int, Answers]], second: Iterable[tuple[int, Answers]]
) -> float | None:
    """Return the share of images on which runs of different seeds differ; None without a pair."""
    shares = [
        float(np.mean(one != other))
        for (seed, (kind, one)), (another, (same, other)) in itertools.product(first, second)
        if seed != another and kind == same and one.shape == other.shape
    ]
    return math.fsum(shares) / len(shares) if shares else None


def _answers(folder: Path, images: int | None) -> Answers | None:
    """Return a run's answers by image; None where they are not there or cannot be read."""
    try:
        if images and (folder / "correct.npy").exists():  # a bit by image, first bit first
            bits = np.load(folder / "correct.npy", allow_pickle=False)
            return "correct", np.unpackbits(bits, count=images).astype(np.int64)
        # Opened here, since numpy leaves a damaged file open.
        path = folder / "predictions.npz"
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return "predicted", stored["predicted"].astype(np.int64)
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _enough(samples: Sequence[_Sample]) -> bool:
    return sum(one.df for one in samples) >= ENOUGH_DF


def _sum(samples: Sequence[_Sample]) -> _Sample:
    return _Sample(
        squares=math.fsum(one.squares for one in samples),
        df=sum(one.df for one in samples),
        runs=sum(one.runs for one in samples),
        image_variances=tuple(one for sample in samples for one in sample.image_variances),
    )


def _backbone(plan: Plan) -> str:
    return plan.layout.arms[0].recipe.model.backbone


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
