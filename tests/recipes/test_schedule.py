"""Laws of numbers that move: evaluation against formulas, text, limits, words of errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import Schedule, at, cosine, linear, peak, step
from recipes.schedule import SHAPES, Scalar, parse_scalar

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def _schedules(draw: st.DrawFn) -> Schedule:
    places = sorted(draw(st.sets(st.floats(0, 1), min_size=1, max_size=4)))
    return Schedule(draw(st.sampled_from(SHAPES)), tuple((p, draw(_NUMBERS)) for p in places))


@given(_schedules())
def test_text_reads_back_to_an_equal_schedule(schedule: Schedule) -> None:
    assert parse_scalar(str(schedule)) == schedule
    assert str(parse_scalar(str(schedule))) == str(schedule)


@given(_NUMBERS)
def test_a_plain_number_is_the_same_at_every_progress(number: float) -> None:
    assert at(number, 0.3) == peak(number) == parse_scalar(repr(number)) == number


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_linear_is_the_straight_line(progress: float) -> None:
    assert at(linear(1e-4, 4e-5), progress) == pytest.approx(1e-4 + (4e-5 - 1e-4) * progress)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_cosine_is_half_a_wave(progress: float) -> None:
    wave = (1 + math.cos(math.pi * progress)) / 2
    assert at(cosine(0.4, 0.0), progress) == pytest.approx(0.4 * wave, abs=1e-15)


@pytest.mark.parametrize(("progress", "value"), [(0, 3), (0.33, 3), (0.34, 2), (0.67, 1), (1, 1)])
def test_step_holds_each_value_equally_long(progress: float, value: float) -> None:
    assert at(step(3, 2, 1), progress) == value


def test_a_step_takes_its_value_at_its_point_and_not_before() -> None:
    schedule = parse_scalar("step(0.1, 0.01@0.3)")
    assert at(schedule, 0.3) == 0.01
    assert at(schedule, math.nextafter(0.3, 0)) == 0.1


def test_a_schedule_is_constant_outside_its_points() -> None:
    schedule = parse_scalar("linear(1@0.25, 3@0.75)")
    assert [at(schedule, p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1, 1, 2, 3, 3]


@given(_schedules(), st.floats(0, 1))
def test_no_schedule_goes_above_its_peak(schedule: Schedule, progress: float) -> None:
    if all(abs(value) < 1e150 for _, value in schedule.points):
        assert at(schedule, progress) <= peak(schedule) + 1e-9 * abs(peak(schedule))


def test_peak_is_the_largest_value_wherever_it_stands() -> None:
    assert peak(linear(0.0, 0.3, 0.1)) == 0.3


def test_a_user_s_spelling_does_not_matter() -> None:
    assert parse_scalar(" linear( 1e-4 ,4e-5 ) ") == linear(1e-4, 4e-5)
    assert parse_scalar("step(0.1, 0.01@0.3)") == parse_scalar("step(0.1@0, 0.01@0.3)")


def test_whole_numbers_and_minus_zero_give_the_same_text() -> None:
    whole = Schedule("linear", ((0, 1), (1, 0)))
    assert str(whole) == str(linear(1.0, 0.0)) == str(linear(1.0, -0.0))
    assert str(Schedule("linear", [[0, 1], [1, 0]])) == str(whole)  # type: ignore[arg-type]


def test_a_schedule_can_be_a_key() -> None:
    made: Scalar = Schedule("linear", [[0, 1], [1, 0]])  # type: ignore[arg-type]
    assert {made: 1}[linear(1, 0)] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a number"),
        ("fast", "'fast' is not a number"),
        ("nan", "'nan' is not a finite number"),
        ("-inf", "'-inf' is not a finite number"),
        ("1e999", "'1e999' is not a finite number"),
        ("quadratic(1, 0)", r"not a number or a schedule: write 0.1 or one of linear\(0.1, 0\)"),
        ("linear(1, 0", "not a number or a schedule"),
        ("linear()", r"linear\(\) needs at least one value, as in linear\(0.1, 0\)"),
        ("linear(1,,0)", "'' is not a number"),
        ("linear(linear(1, 0), 0)", "is not a number"),
        ("linear(1, 0@2)", "a point after '@' is a progress between 0 and 1"),
        ("linear(1, 0@-0.1)", "a point after '@' is a progress between 0 and 1"),
        ("linear(1@0.5, 0@0.5)", "the points after '@' must increase"),
        ("linear(1, 0.5, 0@1)", "give every value after the first its place, as in 0.1@0.5"),
        ("linear(1, 0@half)", "'half' is not a number"),
    ],
)
def test_an_unreadable_text_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_scalar(text)


@pytest.mark.parametrize(
    ("shape", "points", "words"),
    [
        ("quadratic", ((0, 1),), "'quadratic' is not one of linear, cosine, step"),
        ("linear", (), "needs at least one value"),
        ("linear", None, "is not a list of"),
        ("linear", ((0, "a"),), "is not a list of"),
        ("linear", ((0, True),), "is not a list of"),
        ("linear", ((0, 1, 2),), "is not a list of"),
        ("linear", ((0, 10**400),), "is not a list of"),
        ("linear", ((0, math.nan),), "every value must be a finite number"),
        ("linear", ((math.nan, 1),), "progress between 0 and 1"),
    ],
)
def test_points_that_mean_nothing_are_refused(shape: str, points: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule(shape, points)  # type: ignore[arg-type]
