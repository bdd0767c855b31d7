"""Laws of the rule that ends with intervals of a width, on values that are made up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ablations.sequential import (
    REACHED,
    REFUSED,
    first_error,
    looked_at,
    next_runs,
)
from tests.ablations.staged_games import Game, Kept, Values, planned


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_a_width_is_reached_with_the_runs_that_it_takes(home: Path) -> None:
    one = planned(home, "0.15", max_runs=400)
    values, stages, closed = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0)).play(one)
    assert set(closed.values()) == {REACHED}
    assert len(stages) >= 2
    for estimate in looked_at(one, len(stages) - 1, values).values():
        if estimate.interval is not None:
            assert (estimate.interval[1] - estimate.interval[0]) / 2 <= 0.15
    assert len({len(by_seed) for by_seed in values.values()}) == 1  # one pooled error: equal seeds


def test_a_wide_enough_width_takes_the_first_stage_only(home: Path) -> None:
    one = planned(home, "5")
    values, stages, _ = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0)).play(one)
    assert stages == [[]]
    assert sum(map(len, values.values())) == len(one.runs)


def test_the_first_stages_error_is_that_of_its_runs_alone(home: Path) -> None:
    one = planned(home, "0.3")
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    first = {arm: {s: game.value(arm, s) for s in range(3)} for arm in ("base", "ls", "se", "do")}
    more = {arm: {s: game.value(arm, s) for s in range(9)} for arm in first}
    table = np.array([[*by_seed.values()] for by_seed in first.values()])
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    found = first_error(one, one.runs, more)
    assert found == (pytest.approx(float((rest**2).sum()) / 6), 6)
    assert first_error(one, one.runs, first) == found
    assert first_error(planned(home), one.runs, first) is None
    estimate = looked_at(one, 1, more, error=found)["0 +ls"]
    assert found is not None and estimate.error_df == 6
    assert estimate.standard_error == pytest.approx(math.sqrt(2 * found[0] / 9))


def test_intervals_of_a_width_cover_and_its_verdicts_are_right(home: Path) -> None:
    """The cell that re-estimation gets wrong: 6 df, null, 3.3 times the width's sd.

    With the error of all runs, 4,000 games have 5.7 % false verdicts and 93.1 % coverage; with that
    of the first stage 4.1 % and 95.1 % (measured). These 1,500 must be within three standard errors
    of Stein's promise, and the second stage reaches the width: but for arms whose variances look
    clearly different, which keep their own.
    """
    one = planned(home, "0.3", max_runs=2000)
    games, random = 1500, np.random.default_rng(3)
    false = covered = asked = short = 0
    for noise in random.normal(80, 0.2, (games, 4, 160)):
        rows = {arm.name: row.tolist() for arm, row in zip(one.layout.arms, noise, strict=True)}
        values: Values = {arm: dict(enumerate(row[:3])) for arm, row in rows.items()}
        error = first_error(one, one.runs, values)
        closed, runs = next_runs(one, 0, values, error=error)
        for arm, seed in runs:
            values[arm][seed] = rows[arm][seed]
        assert first_error(one, one.runs, values) == error
        if runs:
            closed, runs = next_runs(one, 1, values, closed=closed, error=error)
        short += set(closed.values()) != {REACHED}
        found = looked_at(one, 0, values, error=error)
        answers = [answer for name, answer in found.items() if name[0].isdecimal()]
        false += any(answer.verdict in ("helps", "hurts") for answer in answers)
        for answer in answers:
            assert answer.interval is not None
            covered += answer.interval[0] <= 0 <= answer.interval[1]
            asked += 1
    assert false / games <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / games)
    # Two contrasts of a game correlate by 1/2 at most (their base): 2/3 of one's variance.
    assert covered / asked >= 0.95 - 3 * math.sqrt(2 / 3 * 0.05 * 0.95 / games)
    assert short / games < 0.01


def test_a_width_beyond_one_contrast_goes_on_for_the_others(home: Path) -> None:
    random = np.random.default_rng(0)
    kind = random.random(4000) < 0.8
    other = random.random(4000) < 0.8
    right = {
        arm: {
            seed: (other if arm == "do" else kind) ^ (random.random(4000) < 0.02)
            for seed in range(3)
        }
        for arm in ("base", "ls", "se", "do")
    }
    values = {
        arm: {seed: 100 * float(one.mean()) for seed, one in by_seed.items()}
        for arm, by_seed in right.items()
    }
    closed, runs = next_runs(planned(home, "0.2"), 0, values, (), Kept(right))
    assert closed == {"2 +do": REFUSED}
    assert {arm for arm, _ in runs} == {"base", "ls", "se"}


def test_a_width_does_not_look_at_deltas(home: Path) -> None:
    one = planned(home, "0.15")
    game = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0))
    far = Game({"base": 0.0, "ls": 9.0, "se": -9.0, "do": 0.3})
    values, others = (
        {arm.name: {s: g.value(arm.name, s) for s in range(3)} for arm in one.layout.arms}
        for g in (game, far)
    )
    assert next_runs(one, 0, values) == next_runs(one, 0, others)


def test_a_bound_that_comes_before_the_width_is_kept(home: Path) -> None:
    one = planned(home, "0.01", max_runs=30)
    values, _, closed = Game(dict.fromkeys(["base", "ls", "se", "do"], 0.0)).play(one)
    assert closed == {}
    assert 24 <= sum(map(len, values.values())) <= 30


def test_a_width_below_what_the_images_leave_is_refused(home: Path) -> None:
    random = np.random.default_rng(0)
    arms = ["base", "ls", "se", "do"]
    # Arms that differ on a tenth of 400 images, whatever the seed: no seeds lower that noise.
    kind = {arm: random.random(400) < 0.8 for arm in arms}
    right = {
        arm: {seed: kind[arm] ^ (random.random(400) < 0.02) for seed in range(3)} for arm in arms
    }
    values = {
        arm: {seed: 100 * float(one.mean()) for seed, one in by_seed.items()}
        for arm, by_seed in right.items()
    }
    images = Kept(right)
    closed, runs = next_runs(planned(home, "0.5"), 0, values, (), images)
    assert set(closed.values()) == {REFUSED}
    assert runs == []
    assert REFUSED not in next_runs(planned(home, "0.5"), 0, values)[0].values()
    assert REFUSED not in next_runs(planned(home, "9"), 0, values, (), images)[0].values()
