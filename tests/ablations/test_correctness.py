from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ablations.correctness import MISSING, KeptImages
from ablations.ledger import Ledger
from ablations.plans import Outcome, Run

RIGHT = np.array([True] * 9 + [False] * 4)  # 13 images: two bytes, three bits of padding


def outcome(value: float = 900 / 13, images: int | None = 13, status: str = "finished") -> Outcome:
    return Outcome(
        run=Run(id="r0", arm="base", seed=0),
        status=status,
        value=value if status == "finished" else None,
        evaluated_images=images,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(tmp_path)
    found.run_folder("r0").mkdir(parents=True)
    np.save(found.run_folder("r0") / "correct.npy", np.packbits(RIGHT))
    return found


def test_what_a_run_got_right_comes_back(ledger: Ledger) -> None:
    images = KeptImages(ledger, [outcome()])
    row = images.of("base", 0)
    assert row is not None
    assert row.tolist() == RIGHT.astype(float).tolist()
    assert images.unread == {}


def test_nothing_is_read_before_it_is_asked_for_or_twice(ledger: Ledger) -> None:
    images = KeptImages(ledger, [outcome()])
    path = ledger.run_folder("r0") / "correct.npy"
    kept = path.read_bytes()
    path.unlink()
    path.write_bytes(kept)
    assert images.of("base", 0) is not None
    path.unlink()
    assert images.of("base", 0) is not None


def test_a_run_of_before_has_none_and_says_why(ledger: Ledger) -> None:
    (ledger.run_folder("r0") / "correct.npy").unlink()
    images = KeptImages(ledger, [outcome()])
    assert images.of("base", 0) is None
    assert images.unread == {("base", 0): MISSING}


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00\x76\x00{'descr'"])
def test_a_damaged_file_costs_no_result(ledger: Ledger, content: bytes) -> None:
    path = ledger.run_folder("r0") / "correct.npy"
    path.write_bytes(content)
    images = KeptImages(ledger, [outcome()])
    assert images.of("base", 0) is None
    assert images.unread["base", 0].startswith(f"{path} is damaged: ")


def test_an_array_of_another_kind_is_damaged(ledger: Ledger) -> None:
    np.save(ledger.run_folder("r0") / "correct.npy", RIGHT.astype(float))
    images = KeptImages(ledger, [outcome()])
    assert images.of("base", 0) is None
    assert "is damaged: it does not hold bits" in images.unread["base", 0]


@pytest.mark.parametrize("count", [None, 0, 8, 17])
def test_another_number_of_images_is_told(ledger: Ledger, count: int | None) -> None:
    images = KeptImages(ledger, [outcome(images=count)])
    assert images.of("base", 0) is None
    assert f"is not of {count} images" in images.unread["base", 0]


def test_bits_that_do_not_give_the_runs_accuracy_are_told(ledger: Ledger) -> None:
    images = KeptImages(ledger, [outcome(value=80.0)])
    assert images.of("base", 0) is None
    assert "has 69.23 percent, not 80.00" in images.unread["base", 0]


def test_a_run_that_did_not_finish_or_is_unknown_has_none(ledger: Ledger) -> None:
    images = KeptImages(ledger, [outcome(status="failed")])
    assert images.of("base", 0) is None
    assert images.of("base", 1) is None
    assert images.unread == {}


def test_the_bits_of_many_runs_stay_bits(tmp_path: Path) -> None:
    ledger, outcomes = Ledger(tmp_path), []
    for seed in range(3):
        folder = ledger.run_folder(f"r{seed}")
        folder.mkdir(parents=True)
        np.save(folder / "correct.npy", np.packbits(np.ones(80_000, dtype=bool)))
        run = Run(id=f"r{seed}", arm="base", seed=seed)
        outcomes.append(Outcome(run=run, status="finished", value=100.0, evaluated_images=80_000))
    images = KeptImages(ledger, outcomes)
    for seed in range(3):
        row = images.of("base", seed)
        assert row is not None and row.sum() == 80_000
    assert sum(len(bits) for bits in images._bits.values() if bits is not None) == 3 * 10_000
