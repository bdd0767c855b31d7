"""What the doctor says: one result, a bound with its evidence, and advice that numbers support."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.doctor import advice, document_of, table
from lightning_modules.sections import STEP, Sections
from recipes import edit, load
from tests.ablations.conftest import Said

Call = Callable[..., Said]


def sections(evaluation: float = 0.1, **milliseconds: float) -> Sections:
    """Sections of 100 steps on a device with a peak of 100 GFLOP/s."""
    return Sections(
        step={name: milliseconds.get(name, 0.0) / 1000 for name in STEP},
        step_seconds=sum(milliseconds.values()) / 1000,
        steps_measured=10, steps=100, start=0.1, evaluation=evaluation, evaluated_images=10,
        checkpoint=0.01, checkpoints=1, flops=1e9, matmul_peak=1e11, copied=1e10, batch_size=32,
        device="cpu", threads=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        (sections(input=50, forward=20, backward=30), "the input"),
        (sections(input=1, forward=6, backward=12), "the network's arithmetic"),
        (sections(input=1, forward=60, backward=120), "the network, but not by its products"),
        (sections(forward=5, backward=5, optimiser=5, rest=5), "fixed overhead per step"),
        (sections(forward=5, backward=5, evaluation=9.0), "evaluation"),
    ],
)
def test_the_bound_is_where_the_time_was_put(found: Sections, bound: str) -> None:
    document = document_of(found, load("tiny"))
    assert document["bound"] == bound
    assert sum(row["share_of_run"] for row in document["sections"]) == pytest.approx(1.0)
    assert f"bound by {bound}: " in table(document)


def test_advice_is_given_only_where_a_share_supports_it() -> None:
    recipe = edit(load("tiny"), {"data.stored_size": 0})
    assert (
        advice(document_of(sections(forward=6, backward=12), recipe)["evidence"], recipe, "cpu")
        == []
    )
    slow = document_of(sections(input=50, forward=5, backward=5), recipe)
    assert "--set data.stored_size=" in slow["advice"][0]
    assert "another recipe" in slow["advice"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sped --base tiny", "did you mean"),
        ("speed", "--base is missing"),
        ("speed --base tinny", "tinny"),
        ("speed --base tiny --add nothing", "nothing"),
        ("speed --base tiny --format csv", "table or json"),
        ("speed --base tiny --seconds 0", "1 or more"),
    ],
)
def test_what_is_wrong_is_one_message(words: str, told: str, call: Call, tmp_path: Path) -> None:
    said = call("doctor", *words.split(), "--home", str(tmp_path / "home"))
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_the_result_is_one_document(call: Call, tmp_path: Path) -> None:
    said = call(
        "doctor", "speed", "--base", "tiny", "--add", "ls,se", "--seconds", "1", "--device", "cpu",
        "--format", "json", "--home", str(tmp_path / "home"),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.json["schema_version"] == 1
    assert {row["section"] for row in said.json["sections"]} >= {*STEP, "evaluation", "start"}
