"""The page of a study: one file that asks nothing of anybody, in which what is given is text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

from ablations.replay import story as published
from ablations.report.curves import Curve
from ablations.report.figures.runs import shown_arms
from ablations.report.flips import FlipGroup, Flipped, Flips
from ablations.report.page import render_page
from recipes.published import Ladder, load
from tests.ablations.report.studies import HOSTILE, hostile, story, study

SECTIONS = ("effects", "split", "interactions", "curves", "cost", "certificates", "runs", "doubt")


class Elements(HTMLParser):
    """The elements of a page, their attributes and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text += data


def image(label: str = "7") -> Flipped:
    return Flipped(
        index=3, label=label, before="1", after=label, seeds=2, png=b"png", width=8, height=8
    )


def flips(words: str = "+ls") -> Flips:
    group = FlipGroup(
        label=words, control="base", treatment="ls", seeds=3, gained=4, lost=2,
        right=(image(words),), wrong=(),
    )  # fmt: skip
    return Flips(groups=(group,), note=words)


def test_the_answer_comes_first_and_every_section_is_there() -> None:
    told = story(*study("ls,se"))
    page = render_page(told, flips())
    assert page.index(told.headline[0].replace("'", "&#39;")) < page.index("<section")
    order = [name for name in re.findall(r'<section id="(\w+)"', page)]
    assert order == [*SECTIONS[:5], "images", *SECTIONS[5:]]
    linked = re.findall(r'<a href="#(\w+)"', page)
    assert linked == order


def test_the_numbers_are_the_document_s() -> None:
    told = story(*study("ls,se"))
    text = Elements(render_page(told)).text
    for one in told.document["contrasts"]:
        low, high = one["interval"]
        assert f"{one['delta']:+.2f}" in text and f"[{low:.2f}, {high:.2f}]" in text
    for note in told.document["notes"]:
        assert note in text
    for run in told.runs:
        assert f"{run.value:.2f}" in text and run.id in text


def test_the_page_asks_for_no_other_file() -> None:
    for live in (False, True):
        found = Elements(render_page(story(*study("ls,se")), flips(), live=live))
        for tag, given in found.tags:
            assert tag not in ("iframe", "object", "embed", "base", "form")
            for key in ("src", "href", "xlink:href", "action"):
                value = given.get(key)
                assert value is None or value.startswith(("#", "data:")), value
            assert "url(http" not in (given.get("style") or "")


def test_what_is_given_is_text() -> None:
    told = story(*hostile())
    found = Elements(render_page(told, flips(HOSTILE)))
    assert found.text.count(HOSTILE) > 10
    assert len(found.scripts) == 1 and "taken" not in found.scripts[0]
    assert {tag for tag, _ in found.tags if tag == "script"} == {"script"}
    assert not any(key.startswith("on") for _, given in found.tags for key in given)
    assert [given["src"] for tag, given in found.tags if tag == "img"] == [
        "data:image/png;base64,cG5n"
    ]


def test_the_policy_lets_only_the_page_s_own_script_run() -> None:
    for live in (False, True):
        found = Elements(render_page(story(*study("ls")), live=live))
        (policy,) = [
            given["content"] or ""
            for tag, given in found.tags
            if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy"
        ]
        digest = base64.b64encode(hashlib.sha256("".join(found.scripts).encode()).digest()).decode()
        assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
        assert ("connect-src 'self'" in policy) == live
        assert ("/state" in found.scripts[0]) == live


def test_a_failed_run_says_why_and_what_is_missing_is_listed() -> None:
    plan, outcomes = study("ls,se")
    broken = type(outcomes[-1])(
        run=outcomes[-1].run, status="failed", error="ValueError: no <memory>"
    )
    text = Elements(render_page(story(plan, [*outcomes[:-1], broken]))).text
    assert "ValueError: no <memory>" in text
    assert f"{broken.run.arm}: 3 of 4 runs finished (seed 3 failed)" in text


def test_a_published_ladder_has_what_its_source_has() -> None:
    ladder = load("resnet-rs")
    assert isinstance(ladder, Ladder)
    page = render_page(published(ladder))
    assert re.findall(r'<section id="(\w+)"', page) == ["effects", "split", "interactions", "doubt"]
    text = Elements(page).text
    assert "Training changes gave +3.20 of +4.40 points (73 %)" in text
    assert "resnet-rs-table-2" in text and "ablate replay resnet-rs" in text


def test_what_is_not_there_is_given_its_reason() -> None:
    plan, outcomes = study("ls,sd")
    text = Elements(render_page(story(plan, outcomes))).text
    assert "The request changes one side only" in text
    missing = [type(one)(run=one.run, status="missing") for one in outcomes]
    text = Elements(render_page(story(plan, missing))).text
    assert text.count("No run has finished.") == 1 and "No run has a point" in text
    damaged = replace(story(plan, outcomes), certificates=({"damaged": "certificates.json"},))
    assert "Certificates are damaged and cannot be shown: certificates.json" in render_page(damaged)


def test_a_few_of_many_curves_are_drawn_and_it_is_said() -> None:
    plan, outcomes = study("ls,sd,se,resnetd", design="factorial")
    curve = Curve(epochs=(1, 2), mean=(2.0, 1.0), low=(2.0, 1.0), high=(2.0, 1.0), n=1)
    told = story(plan, outcomes)
    told = replace(told, curves={"train/loss": {arm.name: curve for arm in told.arms}})
    shown = shown_arms(told)
    assert len(shown) == len(set(shown)) == 8 and shown[:2] == ["base", "ls,sd,se,resnetd"]
    value = {arm.name: arm.value or 0.0 for arm in told.arms}
    far = {name: abs(value[name] - value["base"]) for name in value if name not in shown[:2]}
    assert min(far[name] for name in shown[2:]) >= max(
        far[name] for name in far if name not in shown
    )
    assert "Shown are 8 of 16 arms" in Elements(render_page(told)).text
