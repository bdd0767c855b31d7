"""The page in a real browser: it renders without complaint, sorts, prints, runs nobody's code.

Needs Chromium (Debian's package `chromium`), which the tests find by its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablations.report.page import render_page
from tests.ablations.report.studies import hostile, story, study
from tests.ablations.report.test_page import flips

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page as the browser has it, with what it complained of and what it asked for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def column(self, table: str, place: int) -> list[str]:
        return [
            text.strip()
            for text in self.page.locator(
                f"{table} tbody tr > :nth-child({place + 1})"
            ).all_inner_texts()
        ]


def written(folder: Path, text: str) -> Path:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The page of a small study."""
    return written(tmp_path, render_page(story(*study("ls,sd,se,resnetd")), flips()))


def test_it_renders_from_a_file_without_a_complaint_or_a_request(browser: Any, plain: Path) -> None:
    opened = Opened(browser, plain)
    assert opened.complaints == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [plain.as_uri()]
    for figure in opened.page.locator("figure > svg").all():
        box = figure.bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 100
    assert opened.page.locator("#figure-waterfall text", has_text="+resnetd").is_visible()
    wide = opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0  # nothing is beside the page


def test_tables_sort_by_number_both_ways_and_by_keyboard(browser: Any, plain: Path) -> None:
    opened = Opened(browser, plain)
    table = "#effects table"
    before = opened.column(table, 0)
    button = opened.page.locator(f"{table} thead button", has_text="delta")
    button.click()
    rising = [float(text) for text in opened.column(table, 3)]
    assert rising == sorted(rising) and len(rising) == 4
    head = opened.page.locator(f"{table} thead th").nth(3)
    assert head.get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    falling = [float(text) for text in opened.column(table, 3)]
    assert falling == rising[::-1] and head.get_attribute("aria-sort") == "descending"
    assert sorted(opened.column(table, 0)) == sorted(before)  # rows move whole


def test_what_has_no_number_is_sorted_last_both_ways(browser: Any, tmp_path: Path) -> None:
    plan, outcomes = study("ls,se")
    broken = type(outcomes[0])(run=outcomes[0].run, status="failed", error="it broke")
    opened = Opened(browser, written(tmp_path, render_page(story(plan, [broken, *outcomes[1:]]))))
    button = opened.page.locator("#runs table", has_text="outcome").locator(
        "thead button", has_text="value"
    )
    for _ in range(2):
        button.click()
        values = opened.page.locator("#runs table").last.locator("tbody tr > :nth-child(4)")
        assert values.all_inner_texts()[-1].strip() == "-"


def test_dark_and_light_have_contrast_and_paper_is_always_white(browser: Any, plain: Path) -> None:
    def colours(opened: Opened) -> tuple[str, str, str]:
        found: tuple[str, str, str] = tuple(
            opened.page.evaluate(
                "['html', '#figure-forest text', '#figure-forest path'].map((name, place) => {"
                " const style = getComputedStyle(document.querySelector(name));"
                " return place ? style.fill : style.backgroundColor; })"
            )
        )
        return found

    seen = {}
    for scheme in ("light", "dark"):
        opened = Opened(browser, plain, color_scheme=scheme)
        seen[scheme] = colours(opened)
        page, ink, paper = seen[scheme]
        assert page == paper and _contrast(page, ink) > 7
    assert seen["light"][0] != seen["dark"][0]
    opened.page.locator("#theme").click()
    assert colours(opened) == seen["light"]
    opened.page.reload()
    assert colours(opened) == seen["light"]  # the choice stays
    opened = Opened(browser, plain, color_scheme="dark")
    opened.page.emulate_media(media="print")
    assert colours(opened) == seen["light"]


def test_it_prints_with_everything_open(browser: Any, tmp_path: Path) -> None:
    many = flips()
    page = render_page(story(*study("ls,se")), replace(many, groups=many.groups * 3))
    opened = Opened(browser, written(tmp_path, page))
    assert opened.page.locator("details:not([open])").count() > 0
    opened.page.evaluate(
        "addEventListener('beforeprint', () =>"
        " { window.shut = document.querySelectorAll('details:not([open])').length; })"
    )
    content = opened.page.pdf()
    assert content.startswith(b"%PDF-") and content.count(b"/Type /Page\n") >= 2
    assert opened.page.evaluate("window.shut") == 0
    assert opened.page.locator("details:not([open])").count() > 0  # and as it was


def test_nobody_s_code_runs(browser: Any, tmp_path: Path) -> None:
    opened = Opened(browser, written(tmp_path, render_page(story(*hostile()))))
    assert opened.complaints == [] and "taken" not in opened.page.title().replace(
        "title='taken'", ""
    )
    assert opened.page.locator("script").count() == 1
    assert opened.page.locator("img[src=x]").count() == 0
    opened.page.evaluate(  # even if some markup had come through
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.taken=1\">')"
    )
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.taken") is None


def _contrast(first: str, second: str) -> float:
    """Return the contrast of two colours by WCAG 2."""

    def luminance(text: str) -> float:
        parts = [int(part) / 255 for part in text[4:-1].split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
