"""Figures: those that a study has numbers for, as files of what they say, in known colours."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablations.report.figures import FORMATS, draw, write_figures
from ablations.report.figures.runs import amount, front
from ablations.report.figures.style import ROLES, as_bytes, for_page
from tests.ablations.report.studies import hostile, story, study

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def test_a_study_has_the_figures_that_it_has_numbers_for() -> None:
    alone = {"forest", "cost"}
    assert set(draw(story(*study("ls,se", design="one-at-a-time")))) == alone
    assert set(draw(story(*study("ls,se")))) == alone | {"waterfall", "split", "interactions"}
    plan, outcomes = study("ls,se")
    missing = [type(one)(run=one.run, status="missing") for one in outcomes]
    assert draw(story(plan, missing)) == {}


def test_figures_are_written_as_pdf_svg_and_png_and_as_the_same_bytes(tmp_path: Path) -> None:
    told = story(*study("ls", design="one-at-a-time"))  # two figures
    written = write_figures(told, tmp_path / "new" / "figures")
    assert {path.name for path in written} == {
        f"{name}.{form}" for name in draw(told) for form in FORMATS
    }
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".png":
            with Image.open(io.BytesIO(content)) as image:
                assert image.width > 400
        elif path.suffix == ".svg":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert content.startswith(b"%PDF-")
    before = {path.name: path.read_bytes() for path in written}
    again = {path.name: path.read_bytes() for path in write_figures(told, tmp_path)}
    assert again == before


def test_names_are_drawn_as_text_whatever_signs_they_hold() -> None:
    drawn = draw(story(*hostile()))
    assert drawn.keys() >= {"waterfall", "forest", "interactions"}
    for name, figure in drawn.items():
        root = ElementTree.fromstring(for_page(figure, name, "words <&\"'>"))
        assert {one.tag for one in root.iter()} <= {
            "svg", "g", "path", "text", "tspan", "use", "defs", "clipPath", "rect", "pattern",
        }  # fmt: skip
        assert not any(key.startswith("on") for one in root.iter() for key in one.attrib)
        as_bytes(figure, "pdf")


def test_a_page_s_figure_has_the_page_s_colours_and_identities_of_its_own() -> None:
    for name, figure in draw(story(*study("ls,se", design="factorial"))).items():
        element = for_page(figure, name, "words")
        for light, _ in ROLES.values():
            assert light not in element
        assert "var(--ink)" in element and "http" not in element
        own = set(re.findall(r'id="([^"]*)"', element))
        used = set(re.findall(r"url\(#([^)]*)\)", element)) | set(
            re.findall(r'href="#([^"]*)"', element)
        )
        assert used <= own and all(one.startswith(f"{name}-") for one in own)


def test_every_role_has_a_colour_of_its_own_and_the_colour_blind_can_tell_them() -> None:
    assert len({light for light, _ in ROLES.values()}) == len(ROLES)
    pairs = [("training", "architecture"), ("helps", "hurts"), ("helps", "equal")]
    for first, second in pairs:
        for place in (0, 1):
            one, other = (_deuteranope(ROLES[role][place]) for role in (first, second))
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 50


def _deuteranope(colour: str) -> tuple[float, ...]:
    """Return a colour as who lacks the middle cones sees it (Machado et al. 2009, severity 1)."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return (
        0.367322 * red + 0.860646 * green - 0.227968 * blue,
        0.280085 * red + 0.672501 * green + 0.047413 * blue,
        -0.011820 * red + 0.042940 * green + 0.968881 * blue,
    )


@given(POINTS)
def test_the_front_is_of_points_that_none_beats_at_their_cost_or_below(
    points: list[tuple[int, int]],
) -> None:
    best = front([(float(x), float(y)) for x, y in points])
    for x, y in points:
        beaten = any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in best) == (not beaten)


@pytest.mark.parametrize(
    ("value", "words"), [(None, "-"), (0, "0"), (999, "999"), (5.4e9, "5.4G"), (64.67e6, "64.7M")]
)
def test_amounts_are_short(value: float | None, words: str) -> None:
    assert amount(value) == words
