"""The live page in a real browser: it takes the place of the wait, and reloads when it is old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ablations.report.live import Live
from ablations.report.page import render_page
from tests.ablations.report.studies import changed, story, study
from tests.ablations.report.test_browser import browser as browser
from tests.ablations.report.test_browser import pytestmark as pytestmark
from tests.ablations.report.test_page import flips

PLAN, OUTCOMES = study("ls,se")
REPORT = {"new": changed(OUTCOMES, "ls", {0}, status="failed", value=None, error="it broke")}


class Changing:
    """A study of which a run fails while somebody looks."""

    def __init__(self) -> None:
        self.now = "none"

    def make(self) -> str:
        if self.now == "none":
            raise ValueError("the ledger is <b>damaged</b> for a moment")
        return render_page(story(PLAN, REPORT.get(self.now, OUTCOMES)), flips(), live=True)

    def state(self) -> str:
        return self.now


@pytest.fixture
def served() -> Iterator[tuple[Changing, str]]:
    changing = Changing()
    with Live(changing.make, changing.state, port=0, say=lambda text: None) as live:
        thread = threading.Thread(target=live.run)
        thread.start()
        yield changing, live.address
        live.stop()
        thread.join(10)


@pytest.mark.slow  # it waits for looks two seconds apart
def test_the_page_comes_by_itself_and_is_made_anew_by_itself(
    browser: Any, served: tuple[Changing, str]
) -> None:
    changing, address = served
    page = browser.new_context().new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_text("the ledger is <b>damaged</b> for a moment").wait_for(timeout=15_000)
    complaints.clear()  # Chromium's own word on the status 503
    changing.now = "old"
    page.get_by_text("live", exact=True).wait_for(timeout=15_000)
    failed = page.locator("#runs td", has_text="it broke")
    assert failed.count() == 0
    loads = asked.count(address)
    changing.now = "new"
    failed.first.wait_for(state="attached", timeout=15_000)
    page.get_by_text("live", exact=True).wait_for(timeout=15_000)
    page.wait_for_timeout(5_000)
    assert asked.count(address) == loads + 1  # once: the page knows which version it is
    assert [text for text in complaints if "503" not in text] == []
    assert {url.removeprefix(address) for url in asked if url[:5] != "data:"} == {"", "state"}
