"""The chosen arm on fresh seeds: the choice, its runs, and what they say."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ablations import open_study, plan
from ablations.answers import document_of
from ablations.confirmation import Choice, chosen, confirmation_of
from ablations.designs import DESIGNS
from ablations.ledger import Ledger
from ablations.plans import Outcome, Plan, Run
from ablations.report.staged import confirmed
from ablations.revisions import open_or_freeze
from ablations.stages import decide, runs_so_far, stages_of, with_stages
from tests.ablations.made_up import carry_out

TRUTH = {"base": 70.0, "ls": 80.0, "se": 70.0, "do": 60.0}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planned(tmp_path_factory.mktemp("home"))


def planned(home: Path, **more: Any) -> Plan:
    given = {"design": "one-at-a-time", "confirm": 3, "home": home, "study": "mine"}
    return plan("tiny", "ls,se,do", **(given | more)).plan


def outcomes(runs: Mapping[Run, float], minival: Mapping[str, float]) -> list[Outcome]:
    return [
        Outcome(run=run, status="finished", value=value, minival=minival.get(run.arm, 50.0))
        for run, value in runs.items()
    ]


def made_up(one: Plan, minival: Mapping[str, float]) -> list[Outcome]:
    # Values that speak against the choice: it does not read them.
    values = {run: 80 + 0.1 * run.seed - minival[run.arm] / 10 for run in one.runs}
    return outcomes(values, minival)


# The choice -------------------------------------------------------------------------------------


def test_the_arm_that_is_best_on_minival_is_chosen(one: Plan) -> None:
    found = chosen(one, made_up(one, {"base": 70.0, "ls": 71.0, "se": 72.0, "do": 69.0}))
    assert (found.arm, found.base) == ("se", "base")
    assert found.minival == {"base": 70.0, "ls": 71.0, "se": 72.0, "do": 69.0}


def test_of_equal_arms_that_with_fewest_components_is_chosen(tmp_path: Path) -> None:
    full = planned(tmp_path, design="leave-one-out")
    minival = {arm.name: 70.0 + bool(arm.components) for arm in full.layout.arms}
    best = chosen(full, made_up(full, minival)).arm
    assert len(full.layout.arm(best).components) == 2


def test_its_seeds_are_beyond_every_seed_of_any_arm_and_its_runs_new(one: Plan) -> None:
    more = dataclasses.replace(one, runs=(*one.runs, Run(id="x", arm="do", seed=7)))
    minival = {"base": 70.0, "ls": 71.0, "se": 72.0, "do": 69.0}
    found = chosen(more, made_up(more, minival))
    assert found.seeds == (8, 9, 10)
    pairs = [(arm, seed) for seed in (8, 9, 10) for arm in ("base", "se")]
    assert [(run.arm, run.seed) for run in found.runs] == pairs
    assert not {run.id for run in found.runs} & {run.id for run in more.runs}


def test_a_base_that_is_the_best_leaves_nothing_to_confirm(one: Plan) -> None:
    found = chosen(one, made_up(one, {"base": 72.0, "ls": 72.0, "se": 71.0, "do": 69.0}))
    assert (found.arm, found.seeds, found.runs) == ("base", (), ())
    words = confirmed(confirmation_of(one, found, [], []))
    assert words == "nothing to confirm: base itself is the best on minival"


def test_an_arm_with_a_failed_run_is_not_chosen(one: Plan) -> None:
    ends = made_up(one, {"base": 70.0, "ls": 71.0, "se": 72.0, "do": 69.0})
    place = next(place for place, end in enumerate(ends) if end.run.arm == "se")
    ends[place] = Outcome(run=ends[place].run, status="diverged")
    assert chosen(one, ends).arm == "ls"
    bad = [Outcome(run=end.run, status="failed") if end.run.arm == "base" else end for end in ends]
    found = chosen(one, bad)
    assert found.runs == ()
    assert confirmed(confirmation_of(one, found, bad, [])) == (
        "nothing is confirmed: runs of base failed"
    )


@pytest.mark.parametrize("design", DESIGNS)
def test_the_base_under_another_name_is_not_chosen_and_all_else_may_be(
    tmp_path: Path, design: str
) -> None:
    null = planned(tmp_path, design=design, null=True, confirm=1)
    assert null.layout.dummies
    for best in null.layout.arms:
        minival = {arm.name: 70.0 + (arm is best) for arm in null.layout.arms}
        found = chosen(null, made_up(null, minival))
        wanted = null.layout.arms[0].name if best.name in null.layout.dummies else best.name
        assert found.arm == wanted
        assert found.base in found.minival
        assert bool(found.runs) == (wanted != found.base)


# What fresh seeds say ---------------------------------------------------------------------------


def in_study(one: Plan) -> dict[Run, float]:
    """Values with a spread of about 0.1 and a chosen arm that was lucky."""
    up = {"base": 0.0, "ls": 1.9, "se": 0.2, "do": 0.1}
    waves = {"base": (0, 0.1, -0.1), "ls": (0.1, 0, -0.1), "se": (-0.1, 0.1, 0), "do": (0, 0, 0)}
    return {run: 80 + up[run.arm] + waves[run.arm][run.seed] for run in one.runs}


def confirmed_by(one: Plan, deltas: list[float]) -> tuple[Choice, list[Outcome], list[Outcome]]:
    ends = outcomes(in_study(one), {"ls": 90.0})
    choice = chosen(one, ends)
    values = {run: 80 + (deltas[run.seed - 3] if run.arm == "ls" else 0.0) for run in choice.runs}
    return choice, ends, outcomes(values, {})


def test_the_fresh_difference_is_that_of_the_fresh_seeds_alone(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    found = confirmation_of(one, choice, ends, fresh)
    assert found.fresh is not None and found.in_study is not None
    assert found.fresh.delta == pytest.approx(1.2)
    assert found.in_study.delta == pytest.approx(1.9)
    assert found.fresh.n == 3
    assert found.holds


def test_its_error_is_pooled_with_the_studys(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    found = confirmation_of(one, choice, ends, fresh).fresh
    assert found is not None and found.interval is not None and found.error_df == 6 + 2
    values = in_study(one)
    table = [[values[run] for run in one.runs if run.arm == arm.name] for arm in one.layout.arms]
    everything = statistics.fmean(value for row in table for value in row)
    columns = [statistics.fmean(column) for column in zip(*table, strict=True)]
    squares = sum(
        (value - statistics.fmean(row) - columns[seed] + everything) ** 2
        for row in table
        for seed, value in enumerate(row)
    )
    squares += sum((delta - 1.2) ** 2 / 2 for delta in (1.2, 1.3, 1.1))
    reach = stats.t.isf(0.025, 8) * math.sqrt(2 * squares / 8 / 3)
    assert found.interval == pytest.approx((1.2 - reach, 1.2 + reach))


def test_fresh_runs_tell_nothing_of_the_study_and_the_study_nothing_of_them(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    lucky = [  # a great seed in the study does not move the fresh difference
        dataclasses.replace(end, value=(end.value or 0) + 5) if end.run.seed == 0 else end
        for end in ends
    ]
    one_way, other = (confirmation_of(one, choice, some, fresh) for some in (ends, lucky))
    assert one_way.fresh is not None and other.fresh is not None
    assert one_way.fresh.delta == pytest.approx(other.fresh.delta)
    more = [dataclasses.replace(end, value=(end.value or 0) + 5) for end in fresh]
    assert confirmation_of(one, choice, ends, more).in_study == one_way.in_study


def test_what_fresh_seeds_do_not_show_is_not_confirmed(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [0.1, -0.1, 0.0])
    found = confirmation_of(one, choice, ends, fresh)
    assert not found.holds
    words = confirmed(found)
    assert words.startswith("not confirmed on fresh seeds 3, 4, 5: ls over base +0.00 [-")
    assert "in the study it had +1.90, which has the luck of having been chosen in it" in words


def test_a_confirmation_says_seeds_interval_n_and_whose_error(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    words = confirmed(confirmation_of(one, choice, ends, fresh))
    assert words.startswith("confirmed on fresh seeds 3, 4, 5: ls over base +1.20 [")
    assert "(n 3; error pooled with the study, 8 degrees of freedom)" in words


def test_fresh_runs_that_fail_confirm_nothing(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    bad = [Outcome(run=end.run, status="failed") for end in fresh]
    found = confirmation_of(one, choice, ends, bad)
    assert not found.holds
    assert (
        confirmed(found) == "not confirmed: ls over base has no result on fresh seeds 3, 4, 5;"
        " failed: base seed 3, ls seed 3, base seed 4, ls seed 4, base seed 5, ls seed 5"
    )


def test_a_fresh_run_that_fails_is_told_and_nothing_is_confirmed(one: Plan) -> None:
    choice, ends, fresh = confirmed_by(one, [1.2, 1.3, 1.1])
    place = next(place for place, end in enumerate(fresh) if end.run.arm == "ls")
    seed = fresh[place].run.seed
    fresh[place] = Outcome(run=fresh[place].run, status="out_of_memory")
    found = confirmation_of(one, choice, ends, fresh)
    assert found.fresh is not None and found.fresh.interval is not None
    assert found.fresh.interval[0] > 0
    assert not found.holds
    words = confirmed(found)
    assert words.startswith(
        f"not confirmed: out of memory: ls seed {seed}; on fresh seeds 3, 4, 5,"
    )


def test_too_few_degrees_of_freedom_confirm_nothing(one: Plan) -> None:
    few = dataclasses.replace(one, runs=tuple(run for run in one.runs if run.seed < 2))
    values = {run: value for run, value in in_study(one).items() if run.seed < 2}
    ends = outcomes(values, {"ls": 90.0})
    choice = dataclasses.replace(chosen(few, ends))
    fresh = outcomes({run: 80 + 5.0 * (run.arm == "ls") for run in choice.runs[:2]}, {})
    found = confirmation_of(few, choice, ends, fresh)
    assert found.fresh is not None and found.fresh.interval is not None
    assert found.fresh.error_df == 3
    assert found.fresh.interval[0] > 0
    assert not found.holds
    words = confirmed(found)
    assert words.startswith("not confirmed: 3 degrees of freedom of the error, and a verdict needs")
    assert found.fresh.error_df is not None
    one_df = dataclasses.replace(found, fresh=dataclasses.replace(found.fresh, error_df=1))
    assert "not confirmed: 1 degree of freedom of the error" in confirmed(one_df)


# In a study -------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [None, "verdicts"])
def test_the_choice_is_written_before_its_runs_and_never_changed(
    tmp_path: Path, until: str | None
) -> None:
    ledger = Ledger(tmp_path)
    made = plan(
        "tiny", "ls,se,do", design="one-at-a-time", until=until, confirm=2, home=tmp_path, study="m"
    )
    open_or_freeze(made, ledger)
    one = made.plan
    carry_out(ledger, one, TRUTH)
    choice = stages_of(one, ledger).choice
    assert choice is not None
    assert choice.arm == "ls"
    last = max(run.seed for run in with_stages(one, ledger).runs)
    assert choice.seeds == (last + 1, last + 2)
    assert [run in choice.runs for run in runs_so_far(one, ledger).runs[-4:]] == [True] * 4
    assert decide(one, ledger) is False

    study = open_study("m", tmp_path)
    found = study.document
    fresh = {run.id for run in choice.runs}
    assert not fresh & {row["id"] for row in found["runs"]}  # no contrast reads them
    assert not set(choice.seeds) & set(found["seeds"])
    confirmation = study.confirmation
    assert confirmation is not None and confirmation.holds
    assert confirmation.fresh is not None and confirmation.fresh.image_error is None
    assert confirmed(confirmation) in document_of(one, ledger)["notes"]

    # Less good on minival now, as a file says: the choice stands.
    for run in choice.runs:
        (ledger.run_folder(run.id) / "status.json").unlink()
    carry_out(ledger, one, {**TRUTH, "ls": 50.0})
    assert stages_of(one, ledger).choice == choice
    assert not (again := open_study("m", tmp_path).confirmation) or not again.holds


def test_a_choice_that_is_not_made_yet_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    one = planned(tmp_path)
    told = document_of(one, ledger)["notes"]
    assert "the choice that fresh seeds are to confirm is not made yet" in told
