from __future__ import annotations

from ablations.allocation import allocated

SEEDS = {"base": {0, 1}, "ls": {0, 1}, "se": {0, 1}}


def test_an_arm_gets_the_smallest_seeds_that_it_lacks() -> None:
    has = {"base": {0, 2}, "ls": {0, 1}}
    assert allocated(has, [{"base": 3, "ls": 4}], None) == [("base", 1), ("ls", 2), ("ls", 3)]


def test_a_run_that_two_contrasts_want_is_made_once() -> None:
    wanted = [{"base": 3, "ls": 3}, {"base": 3, "se": 3}]
    assert allocated(SEEDS, wanted, None) == [("base", 2), ("ls", 2), ("se", 2)]


def test_the_first_contrasts_come_first_where_runs_are_few() -> None:
    wanted = [{"base": 4, "se": 4}, {"base": 4, "ls": 4}]
    assert allocated(SEEDS, wanted, 4) == [("base", 2), ("se", 2), ("base", 3), ("se", 3)]
    # Two more bring the second contrast level with what the first left behind: base is there.
    assert {arm for arm, _ in allocated(SEEDS, wanted, 6)[4:]} <= {"base", "se", "ls"}
    assert sorted(allocated(SEEDS, wanted, 6)) == sorted(allocated(SEEDS, wanted, None))


def test_no_contrast_gets_a_seed_that_not_all_of_its_arms_can_have() -> None:
    assert allocated(SEEDS, [{"base": 3, "se": 3}], 1) == []
    assert allocated(SEEDS, [{"base": 3, "se": 3}, {"ls": 3}], 1) == [("ls", 2)]


def test_nothing_is_left_to_wish_for() -> None:
    assert allocated(SEEDS, [{"base": 2, "ls": 1}], None) == []
    assert allocated(SEEDS, [], 10) == []
    assert allocated(SEEDS, [{"base": 9}], 0) == []
