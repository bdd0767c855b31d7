"""A report as one HTML page that needs nothing else: no network, no other file.

What comes from recipes, names and errors is text: the template escapes it, figures are text in
SVG, and the page's own policy lets no script run but the one that it was made with.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from ablations.report import words
from ablations.report.figures import draw
from ablations.report.figures.style import ROLES, for_page
from ablations.report.page import captions
from ablations.report.story import Story
from ablations.version import own_version

if TYPE_CHECKING:
    from ablations.report.flips import Flips

_MARKS = {"helps": "▲", "hurts": "▼", "equal": "■", "unresolved": "○"}
_SECTIONS = {
    "effects": "effects",
    "split": "training or architecture",
    "interactions": "interactions",
    "curves": "curves",
    "cost": "cost",
    "images": "flipped images",
    "certificates": "certificates",
    "runs": "runs",
    "doubt": "doubts",
}
_NOTHING: dict[str, Any] = {  # a certificate of which nothing is known
    "arm": "?",
    "parent": None,
    "declared": {},
    "changed": {},
    "unchanged": (),
    "wrong": (),
    "treated": False,
}
_OF_STUDIES = ("curves", "cost", "certificates", "runs")  # published numbers have none


def render_page(story: Story, flips: Flips | None = None, *, live: bool = False) -> str:
    """Return the page of a study.

    Args:
        story: what it shows.
        flips: images whose prediction a change flips; None: it has no such section.
        live: whether it is served while the study runs, and asks the server for news.
    """
    import jinja2
    from markupsafe import Markup, escape

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": words.signed,
        "amount": words.amount,
        "decision": words.decision,
        "probability": words.probability,
        "value": _shown,
        "names": lambda text: escape(text).replace(",", Markup(",<wbr>")),
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
    }
    document, words_of = story.document, captions.captions(story)
    script = _file("page.js") + (_file("live.js") if live else "")
    figures = {
        name: Markup(for_page(figure, name, words_of[name]))  # noqa: S704 - made here, not given
        for name, figure in draw(story).items()
    }
    base = document["base"]
    page: str = environment.get_template("page.html").render(
        document=document,
        headline=story.headline,
        measured=words.measured(document),
        base=words.estimated(base["value"], base["interval"]),
        sections=[*_sections(story, flips)],
        figures=figures,
        captions=words_of,
        marks=_MARKS,
        questions=[*_questions(story)],
        values={arm.name: arm.value for arm in story.arms},
        split_sentences=words.split_sentences(document) if "split" in figures else [],
        why_no_split=captions.why_no_split(story),
        why_no_pairs=captions.why_no_pairs(story),
        damaged=[str(one["damaged"]) for one in story.certificates if "damaged" in one],
        arms=story.arms,
        flips=flips,
        certificates=[{**_NOTHING, **one} for one in story.certificates if "damaged" not in one],
        runs=story.runs,
        environments=story.environments,
        missing=[*_missing(story)],
        uneven=any(arm.n < arm.runs for arm in story.arms),
        published=story.published,
        version=own_version(),
        live=live,
        policy=_policy(script, live),
        style=Markup(_style()),
        script=Markup(script),
    )
    return f"{page}\n"


def _sections(story: Story, flips: Flips | None) -> Iterator[tuple[str, str]]:
    for name, title in _SECTIONS.items():
        without = flips is None or not (flips.groups or flips.note)
        if name == "images" and without or story.published and name in _OF_STUDIES:
            continue
        yield name, title


def _questions(story: Story) -> Iterator[tuple[str, list[tuple[Mapping[str, Any], Any]]]]:
    """Yield the contrasts of each question, each with the row of its effect."""
    contrasts = story.document["contrasts"]
    rows = {
        id(one): row for one, row in zip(contrasts, story.effects[: len(contrasts)], strict=True)
    }
    for question, same in words.by_estimand(story.document):
        yield question, [(one, rows[id(one)]) for one in same]


def _missing(story: Story) -> Iterator[str]:
    for arm in story.arms:
        if arm.n < arm.runs:
            lacking = [run for run in story.runs if run.arm == arm.name and run.value is None]
            told = ", ".join(
                f"seed {run.seed} {run.status.replace('_', ' ')}" for run in lacking[:8]
            )
            more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
            yield f"{arm.name}: {arm.n} of {arm.runs} runs finished ({told}{more})"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return "''" if value == "" else "-" if value is None else str(value)


def _style() -> str:
    """Return the page's style, with a colour by role in light and in dark."""
    light, dark = (
        "; ".join(f"--{role}: {pair[place]}" for role, pair in ROLES.items()) for place in (0, 1)
    )
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n"
        f"@media print {{ :root:root:root {{ {light} }} }}\n{_file('page.css')}"
    )


def _policy(script: str, live: bool) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    asks = "connect-src 'self'; " if live else ""
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {asks}"
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
