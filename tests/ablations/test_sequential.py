"""Laws of the stopping rule, on values that are made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import RequestError, plan
from ablations.request import Request
from ablations.sequential import (
    OUT_OF_REACH,
    looked_at,
    next_runs,
    spent,
    stopping_of,
    undecided,
)
from tests.ablations.staged_games import Game, Values, planned, rule_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


# The rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [2, 3, 7, 30])
@pytest.mark.parametrize("more", [{}, {"seeds": 1}, {"seeds": 5}, {"max_runs": 200}])
def test_stages_grow_from_the_seeds_that_were_asked_for_and_share_alpha(
    arms: int, more: dict[str, int]
) -> None:
    rule = rule_of(arms, **more)
    assert rule.stages[0] == more.get("seeds", 3)
    assert list(rule.stages) == sorted(set(rule.stages))
    assert len(rule.shares) == len(rule.stages)
    assert sum(rule.shares) == pytest.approx(1)
    assert len({share for share in rule.shares if share}) == 1  # equal: see `spent`
    for seeds, share in zip(rule.stages, rule.shares, strict=True):
        assert (share > 0) == ((arms - 1) * (seeds - 1) >= 6)  # a verdict is possible
    assert rule.max_runs is not None
    assert rule.max_runs == more.get("max_runs", arms * rule.stages[-1])


def test_the_usual_stages() -> None:
    assert rule_of(7).stages == (3, 4, 6, 9, 13, 20)
    assert rule_of(7).max_runs == 140


def test_stages_that_no_run_is_left_for_take_no_alpha() -> None:
    assert rule_of(7, max_runs=30).stages == (3, 4, 6, 9)  # 9 runs more are 4 seeds of 2 arms
    assert rule_of(7, max_runs=21).stages == (3,)
    assert rule_of(7, max_runs=21).shares == (1,)


def test_a_larger_bound_makes_longer_stages() -> None:
    assert rule_of(7, max_runs=700).stages[-1] == 100


@pytest.mark.parametrize("until", ["verdicts", "0.2"])
def test_fewer_runs_than_the_first_stage_are_refused_with_the_number(until: str) -> None:
    with pytest.raises(RequestError, match=r"--max-runs 20: the first stage alone has 21 runs"):
        rule_of(7, until=until, max_runs=20)


def test_a_width_needs_an_error_to_be_measured_first() -> None:
    with pytest.raises(RequestError, match=r"--until 0.2 .* 2 error degrees .* give --seeds 7"):
        rule_of(2, until="0.2", seeds=3)
    assert rule_of(2, until="0.2", seeds=7).max_runs == 92


def test_without_until_there_is_no_rule() -> None:
    assert stopping_of(Request(base="b", add="a"), 3) is None


def test_the_report_tests_with_the_share_of_the_stage_that_ended_it(home: Path) -> None:
    verdicts, width = planned(home), planned(home, "0.2")
    assert [spent(verdicts, stage) for stage in range(6)] == [pytest.approx(1 / 6)] * 6
    assert spent(width, 0) == spent(width, 1) == 1
    assert spent(dataclasses.replace(width, stopping=None), 0) == 1


# Verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("more", [{}, {"max_runs": 17}, {"max_runs": 26}, {"rope": 0.5}])
def test_no_more_runs_than_allowed_none_twice_and_none_for_what_is_closed(
    home: Path, seed: int, more: dict[str, Any]
) -> None:
    one = planned(home, **more)
    random = np.random.default_rng(seed)
    truth = {arm.name: float(random.normal(0, 0.3)) for arm in one.layout.arms}
    values, stages, closed = Game(truth, seed=seed).play(one)
    assert one.stopping is not None and one.stopping.max_runs is not None
    assert sum(map(len, values.values())) <= one.stopping.max_runs
    assert len(stages) <= len(one.stopping.stages)
    for by_seed in values.values():  # the smallest seeds, so that arms share them
        assert sorted(by_seed) == list(range(len(by_seed)))
    arms = {"0 +ls": "ls", "1 +se": "se", "2 +do": "do"}
    for name, verdict in closed.items():
        assert verdict in ("helps", "hurts", "equal", OUT_OF_REACH)
        assert len(values[arms[name]]) <= max(map(len, values.values()))


def test_a_closed_contrast_gets_nothing_more(home: Path) -> None:
    one = planned(home)
    game = Game({"base": 0.0, "ls": 5.0, "se": 0.2, "do": -5.0})
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    closed, runs = next_runs(one, 0, values)
    assert closed == {"0 +ls": "helps", "2 +do": "hurts"}
    assert runs == [("base", 3), ("se", 3)]
    assert undecided(one, closed) == ["1 +se"]


def test_what_is_closed_stays_closed_whatever_is_seen_later(home: Path) -> None:
    one = planned(home)
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    closed, runs = next_runs(one, 0, values, closed={"1 +se": "helps"})
    assert closed["1 +se"] == "helps"
    assert {arm for arm, _ in runs} <= {"base", "ls", "do"}


def test_while_nothing_is_decided_all_arms_get_equally_many(home: Path) -> None:
    one = planned(home)
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    # Each arm as far from the base as is near a verdict, and none there.
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    for arm in ("ls", "se", "do"):
        off = 0.35 - np.mean([values[arm][seed] - values["base"][seed] for seed in range(3)])
        values[arm] = {seed: value + off for seed, value in values[arm].items()}
    closed, runs = next_runs(one, 0, values)
    assert closed == {}
    assert sorted(runs) == [(arm, 3) for arm in sorted(values)]


def test_all_is_asked_that_is_declared_but_the_interaction_of_the_sides(home: Path) -> None:
    one = plan("tiny", "ls,se", until="verdicts", home=home).plan
    assert undecided(one, {}) == [
        "by_ladder training",
        "by_ladder architecture",
        "by_blocks training",
        "by_blocks architecture",
        "0 +ls",
        "1 +se",
    ]


def test_nothing_is_spent_on_arms_that_failed(home: Path) -> None:
    one = planned(home)
    game = Game({"base": 0.0, "ls": 0.3, "se": 0.3, "do": 0.3})
    values = {
        arm: {seed: game.value(arm, seed) for seed in range(3)} for arm in ("base", "ls", "se")
    }
    values["do"] = {0: 80.0}
    closed, runs = next_runs(one, 0, values, failed={"do"})
    assert "2 +do" not in closed
    assert "do" not in {arm for arm, _ in runs}
    assert next_runs(one, 0, values, failed={"base"}) == ({}, [])


def test_the_contrasts_nearest_to_a_decision_come_first(home: Path) -> None:
    one = planned(home, max_runs=14)  # two more than the first stage: one seed of one contrast
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    for arm, delta in (("ls", 0.18), ("se", 0.22), ("do", -0.2)):
        off = delta - np.mean([values[arm][seed] - values["base"][seed] for seed in range(3)])
        values[arm] = {seed: value + off for seed, value in values[arm].items()}
    closed, runs = next_runs(one, 0, values)
    assert "1 +se" not in closed
    assert runs == [("base", 3), ("se", 3)]


def test_what_no_stage_is_likely_to_decide_gets_no_more(home: Path) -> None:
    one = planned(home)
    values: Values = {}
    wave = np.array([0.2, -0.1, -0.1] * 3)  # nine seeds, no mean
    for place, arm in enumerate(["base", "ls", "se", "do"]):
        values[arm] = dict(enumerate((80 + np.roll(wave, place) + (arm == "se") * 0.2).tolist()))
    closed, runs = next_runs(one, 3, values)
    assert closed["0 +ls"] == OUT_OF_REACH
    assert {arm for arm, _ in runs} <= {"base", "se"}


def test_a_rope_closes_what_is_nothing(home: Path) -> None:
    one = planned(home, rope=1.0)
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    assert next_runs(one, 0, values) == (
        {"0 +ls": "equal", "1 +se": "equal", "2 +do": "equal"},
        [],
    )


def test_a_stage_without_a_possible_verdict_is_no_look(home: Path) -> None:
    one = plan("tiny", "ls", design="one-at-a-time", until="verdicts", home=home).plan
    assert one.stopping is not None
    assert one.stopping.shares[0] == 0
    values = {"base": {0: 80.0, 1: 80.1, 2: 79.9}, "ls": {0: 90.0, 1: 90.1, 2: 90.0}}
    closed, runs = next_runs(one, 0, values)
    assert closed == {}
    assert sorted(runs) == [(arm, seed) for arm in ("base", "ls") for seed in range(3, 7)]


def test_a_study_whose_seeds_change_nothing_ends(home: Path) -> None:
    one = planned(home)
    values = {arm.name: dict.fromkeys(range(3), 80.0) for arm in one.layout.arms}
    closed, runs = next_runs(one, 0, values)
    assert set(closed.values()) == {OUT_OF_REACH}
    assert runs == []


def test_verdicts_of_a_look_have_its_share_of_alpha(home: Path) -> None:
    one = planned(home)
    game = Game({"base": 0.0, "ls": 0.4, "se": 0.5, "do": 0.6}, seed=3)
    values = {
        arm.name: {seed: game.value(arm.name, seed) for seed in range(3)} for arm in one.layout.arms
    }
    alone = dataclasses.replace(one, stopping=None)
    at_look, at_once = looked_at(one, 0, values), looked_at(alone, 0, values)
    for name in ("0 +ls", "1 +se", "2 +do"):
        ours, whole = at_look[name].p_holm, at_once[name].p_holm
        assert ours is not None and whole is not None
        assert ours == pytest.approx(min(6 * whole, 1))
