"""What a plan says that it will write, against what a study wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ablations import plan
from ablations.disk import Disk, disk_of, size, state_bytes
from ablations.frozen import thaw
from ablations.ledger import Ledger
from lightning_modules import build
from lightning_modules.probe.structure import shapes
from recipes import load
from tests.ablations.conftest import Finished


def lengths(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_a_finished_study_wrote_what_its_plan_says(finished: Finished) -> None:
    ledger = Ledger(finished.home)
    study = thaw(ledger.study_folder(finished.study))[0]
    weights = {
        arm.name: state_bytes(shapes(build(arm.recipe.model, classes=10)))
        for arm in study.layout.arms
    }
    found = disk_of(
        study,
        study.runs,
        weights=weights,
        keeping=study.ends,
        images=599,
        decoded=1797,
        slots=2,
        tracked=False,
    )
    folders = [ledger.run_folder(run.id) for run in study.runs]
    files = [path for folder in folders for path in folder.iterdir()]
    kept = [path for path in files if path.name == "weights.pt"]
    own = list(ledger.study_folder(finished.study).iterdir())
    assert found.weights == pytest.approx(lengths(kept), rel=0.01)
    assert found.runs == pytest.approx(lengths(files + own) - lengths(kept), rel=0.3)
    assert found.images == pytest.approx(lengths(list(ledger.cache.glob("*.npy"))), rel=0.01)
    assert found.tracking == 0


def test_weights_are_counted_by_type_and_shape() -> None:
    network = build(load("tiny").model, classes=10)
    wanted = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    names = shapes(network)
    assert state_bytes(names) == pytest.approx(wanted + 250 * len(names))
    assert state_bytes({"a": "bfloat16[3, 5]", "b": "int64[]", "c": "bool[7]"}) == 45 + 750
    assert torch.tensor(0).numel() == 1  # a shape without sides is one number


def test_only_what_is_missing_is_counted(tmp_path: Path) -> None:
    study = plan("tiny", "ls,ema", seeds=2, home=tmp_path).plan

    def wanted(missing: object, **more: object) -> Disk:
        words = {"weights": {"base": 100, "ls": 200, "ls,ema": 300}, "keeping": ("base", "ls,ema")}
        words |= {"images": 0, "decoded": 0, "slots": 8, "tracked": True}
        return disk_of(study, missing, **(words | more))  # type: ignore[arg-type]

    everything, nothing = wanted(study.runs), wanted(())
    assert everything.weights == 2 * (100 + 300)
    assert everything.checkpoints == 3 * 6 * 3 * 300  # all runs at once, the largest's, in threes
    assert wanted(study.runs, slots=1).checkpoints == 3 * 3 * 300
    assert (nothing.weights, nothing.tracking, nothing.checkpoints) == (0, 0, 0)
    assert everything.runs > nothing.runs
    assert everything.kept == everything.runs + everything.weights + everything.tracking
    assert wanted(study.runs, keeping=()).weights == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0.0 kB"),
        (640, "0.6 kB"),
        (9_940, "9.9 kB"),
        (64_000, "64 kB"),
        (999_000, "999 kB"),
        (1_000_000, "1.0 MB"),
        (2_940_000_000, "2.9 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_bytes_are_said_as_a_person_says_them(number: float, words: str) -> None:
    assert size(number) == words
