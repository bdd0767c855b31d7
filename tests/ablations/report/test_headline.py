"""The answer in sentences is made of the numbers of the document, and of nothing else."""

from __future__ import annotations

from typing import Any

from ablations.replay import replay
from ablations.report import document
from ablations.report.headline import headline
from recipes.published import Ladder, load
from tests.ablations.report.studies import changed, study


def side(delta: float | None, low: float = 0, high: float = 0, verdict: str = "helps") -> Any:
    interval = None if delta is None else [low, high]
    return {"delta": delta, "interval": interval, "n": 5, "verdict": verdict}


def about(**changes: Any) -> dict[str, Any]:
    sides = {"training": side(3.2, 2.9, 3.5), "architecture": side(1.2, 0.9, 1.5)}
    return {
        "base": {"recipe": "tiny", "value": 79.0, "interval": None, "n": 5},
        "contrasts": [],
        "split": {"by_ladder": sides, "by_blocks": None},
        "runs": [],
    } | changes


def test_the_split_is_told_first_with_intervals_shares_and_verdicts() -> None:
    assert headline(about()) == [
        "Training changes gave +3.20 [2.90, 3.50] of +4.40 points (73 %, helps); architecture"
        " changes gave +1.20 [0.90, 1.50] (27 %, helps), in this order."
    ]


def test_the_four_arms_are_believed_before_the_order_of_the_ladder() -> None:
    ladder = {"training": side(9.0), "architecture": side(9.0)}
    blocks = {
        "training": side(1.0, 0.5, 1.5),
        "architecture": side(2.0, 1.5, 2.5),
        "interaction": side(0.1),
    }
    found = headline(about(split={"by_ladder": ladder, "by_blocks": blocks}))
    assert found[0].startswith("Training changes gave +1.00 [0.50, 1.50] of +3.00 points (33 %")
    assert found[0].endswith(", by the four arms of the split.")


def test_an_unresolved_side_has_no_share() -> None:
    sides = {"training": side(3.0, -1, 7, "unresolved"), "architecture": side(1.0, 0.5, 1.5)}
    (found,) = headline(about(split={"by_ladder": sides, "by_blocks": None}))
    assert (
        "%" not in found
        and found.endswith(", in this order.")
        and "+3.00 [-1.00, 7.00] of +4.00 points (unresolved)" in found
    )


def test_a_side_that_may_be_nothing_has_no_share_though_nobody_tested_it() -> None:
    wide = {"training": side(3.0, -1, 7, ""), "architecture": side(1.0, -1, 3, "")}
    (found,) = headline(about(split={"by_ladder": wide, "by_blocks": None}))
    assert "%" not in found


def test_without_a_split_the_largest_effect_is_told_or_that_none_is_resolved() -> None:
    plan, outcomes = study("ls,ra,sd", design="one-at-a-time")
    first, second = headline(document(plan, outcomes))
    assert first.startswith("The largest of 3 effects (alone) is +ls: +1.5") and "helps" in first
    assert second.startswith("Alone: it helps to add +ls, +sd; not resolved: +ra")
    few, some = study("ra", design="one-at-a-time", seeds=8)
    assert headline(document(few, some))[0].startswith(
        "The one effect (alone) is not resolved, +ra: "
    )


def test_runs_that_are_left_are_said_last() -> None:
    plan, outcomes = study("ls,se")
    left = changed(outcomes, "ls", {0, 1}, status="interrupted", value=None)
    assert headline(document(plan, left))[-1].startswith("2 of 16 runs have not finished")


def test_failures_and_what_there_are_too_few_runs_for_are_told() -> None:
    plan, outcomes = study("ls,se")
    broken = changed(outcomes, "ls", {0, 1, 2, 3}, status="diverged", value=None)
    told = headline(document(plan, broken))
    assert "4 of 16 runs failed (4 diverged)." in told
    assert not any("+ls" in sentence for sentence in told)  # it has no number
    few, one = study("ls,se", seeds=1)
    assert headline(document(few, one))[-1].startswith("No interval and no verdict: ")
    two, pairs = study("ls", design="one-at-a-time", seeds=2)
    assert headline(document(two, pairs))[-1] == "No verdict: there are too few runs for one."


def test_a_base_alone_is_told_as_such() -> None:
    assert headline(about(split={"by_ladder": {}, "by_blocks": None})) == [
        "The base has 79.00 %; no change has a number yet."
    ]


def test_the_paper_s_ladder_is_told_in_its_own_numbers() -> None:
    ladder = load("resnet-rs")
    assert isinstance(ladder, Ladder)
    assert headline(replay(ladder)) == [
        "Training changes gave +3.20 of +4.40 points (73 %); architecture changes gave +1.20"
        " (27 %), in this order."
    ]
