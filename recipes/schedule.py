"""Numbers that may move while a model trains: a `Scalar` is a float or a `Schedule` over progress.

Progress runs from 0 (first optimiser step) to 1 (end of training), so a schedule means the same
for every length of training. Separate from `recipe` because components and grammar share it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Shape: TypeAlias = Literal["linear", "cosine", "step"]
SHAPES: tuple[str, ...] = get_args(Shape)


@dataclass(frozen=True)
class Schedule:
    """A curve through `(progress, value)` points; constant before the first and after the last.

    `linear` and `cosine` (half a cosine wave) interpolate between neighbours, `step` holds each
    value until the next point. Written `linear(1e-4, 4e-5)`; a point moves with `@`:
    `step(0.1, 0.01@0.3, 0.001@0.6)`.

    Raises:
        ValueError: no point, progress outside [0, 1] or not increasing, or a value not finite.
    """

    shape: Shape
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"schedule {self.shape!r} is not one of {', '.join(SHAPES)}")
        if not isinstance(self.points, Sequence) or not all(map(_is_point, self.points)):
            raise ValueError(f"{self.points!r} is not a list of (progress, value) points")
        points = tuple((place + 0.0, value + 0.0) for place, value in self.points)
        object.__setattr__(self, "points", points)  # floats without -0.0: equal means equal text
        if not self.points:
            raise ValueError(f"{self.shape}() needs at least one value, as in {self.shape}(0.1, 0)")
        places = [place for place, _ in self.points]
        if not all(0.0 <= place <= 1.0 for place in places):
            raise ValueError(f"{self}: a point after '@' is a progress between 0 and 1")
        if any(later <= earlier for earlier, later in zip(places, places[1:], strict=False)):
            raise ValueError(f"{self}: the points after '@' must increase")
        if not all(math.isfinite(value) for _, value in self.points):
            raise ValueError(f"{self}: every value must be a finite number")

    def __str__(self) -> str:
        """Return the text that `parse_scalar` reads back to an equal schedule."""
        even = [place for place, _ in self.points] == _even(self.shape, len(self.points))
        words = [f"{value!r}" if even else f"{value!r}@{place!r}" for place, value in self.points]
        return f"{self.shape}({', '.join(words)})"


Scalar: TypeAlias = float | Schedule


def spread(shape: Shape, values: tuple[float, ...]) -> Schedule:
    """Return the schedule with `values` spread evenly over training.

    `linear(a, b)` ends at `b` when training ends; `step(a, b)` holds each value equally long.
    """
    return Schedule(shape, tuple(zip(_even(shape, len(values)), values, strict=True)))


def linear(*values: float) -> Schedule:
    """Return straight lines through `values`, spread evenly over training."""
    return spread("linear", values)


def cosine(*values: float) -> Schedule:
    """Return half cosine waves through `values`, spread evenly over training."""
    return spread("cosine", values)


def step(*values: float) -> Schedule:
    """Return a staircase of `values`, each held for an equal part of training."""
    return spread("step", values)


def at(scalar: Scalar, progress: float) -> float:
    """Return the value of `scalar` at `progress` in [0, 1]."""
    if not isinstance(scalar, Schedule):
        return scalar
    places = [place for place, _ in scalar.points]
    after = bisect.bisect_right(places, progress)
    if after == 0:
        return scalar.points[0][1]
    if after == len(places) or scalar.shape == "step":
        return scalar.points[after - 1][1]
    (start, first), (end, last) = scalar.points[after - 1], scalar.points[after]
    share = (progress - start) / (end - start)
    if scalar.shape == "cosine":
        share = (1.0 - math.cos(math.pi * share)) / 2.0
    return first + (last - first) * share


def peak(scalar: Scalar) -> float:
    """Return the largest value that `scalar` takes: 0 means that it is off for all of training."""
    if isinstance(scalar, Schedule):
        return max(value for _, value in scalar.points)
    return scalar


def parse_scalar(text: str) -> Scalar:
    """Read `0.1` or `linear(0.1, 0)`.

    Raises:
        ValueError: with the text and the accepted forms.
    """
    text = text.strip()
    name, bracket, rest = text.partition("(")
    if not bracket:
        return _number(text)
    shape = name.strip()
    if shape not in SHAPES or not rest.endswith(")"):
        raise ValueError(
            f"{text!r} is not a number or a schedule: write 0.1 or one of "
            + ", ".join(f"{known}(0.1, 0)" for known in SHAPES)
        )
    words = [word.strip() for word in rest[:-1].split(",")] if rest[:-1].strip() else []
    if not any("@" in word for word in words):
        return spread(shape, tuple(_number(word) for word in words))  # type: ignore[arg-type]
    points = []
    for position, word in enumerate(words):
        value, at_sign, place = word.partition("@")
        if not at_sign and position:
            raise ValueError(f"{text!r}: give every value after the first its place, as in 0.1@0.5")
        points.append((_number(place) if at_sign else 0.0, _number(value)))
    return Schedule(shape, tuple(points))  # type: ignore[arg-type]


def _even(shape: Shape, number: int) -> list[float]:
    steps = number if shape == "step" else max(number - 1, 1)
    return [place / steps for place in range(number)]


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, Sequence)
        and len(point) == 2
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in point)
        and all(abs(part) < 1e300 for part in point if isinstance(part, int))
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()!r} is not a finite number")
    return value
