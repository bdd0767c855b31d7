"""How figures look: colours by their role, the same on paper and on a page in light and dark.

Every role has a colour of its own (two of one colour differ in their last digit), so that a page
can put its own in place of each. Hues are Okabe and Ito's (2008, jfly.uni-koeln.de/color), which
the colour-blind tell apart; what a colour says is said by a shape or a word too.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Role: its colour on white and on a dark page.
ROLES = {
    "ink": ("#1a1a1a", "#ececec"),
    "faint": ("#6b6b6b", "#a3a3a3"),
    "grid": ("#dedede", "#3a3a3a"),
    "paper": ("#ffffff", "#16181b"),
    "training": ("#0072b2", "#56b4e9"),
    "architecture": ("#d55e00", "#ff9d5c"),
    "interaction": ("#cc79a7", "#e3a6c6"),
    "other": ("#7a7a7a", "#9a9a9a"),
    "helps": ("#0072b3", "#56b4ea"),
    "hurts": ("#d55e01", "#ff9d5d"),
    "equal": ("#009e73", "#3cc9a0"),
    "unresolved": ("#7a7a7b", "#9a9a9b"),
    "series0": ("#1a1a1b", "#ececed"),
    "series1": ("#0072b4", "#56b4eb"),
    "series2": ("#d55e02", "#ff9d5e"),
    "series3": ("#009e74", "#3cc9a1"),
    "series4": ("#cc79a8", "#e3a6c7"),
    "series5": ("#b8860b", "#e6c34a"),
    "series6": ("#56b4e8", "#8fd0f5"),
    "series7": ("#7a5195", "#b79ad1"),
}
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)), (0, (8, 2)))
MARKS = {"helps": "^", "hurts": "v", "equal": "s", "unresolved": "o"}
_REFERENCE = re.compile(r"(?:url\(|^)#([a-z][0-9a-f]{10})(?=\)|$)")  # to another element of it
_MAGNIFIED = 1.35  # pixels per point, so that its text is as large as the page's
_FORMATS = ("pdf", "svg", "png")
_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # names are text, whatever signs they hold
    "svg.fonttype": "none",  # text stays text: found, read aloud, in the page's colour
    "svg.hashsalt": "ablate",  # the same figure is the same file
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
}


def colour(role: str) -> str:
    """Return the colour of a role on white; of something without one: `other`."""
    return ROLES.get(role, ROLES["other"])[0]


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw with these settings, whatever a user's own say; and without notes about fonts."""
    import matplotlib

    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    settings: Any = _RC | {name: colour("ink") for name in inked}
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            with matplotlib.rc_context(settings):
                yield
    finally:
        log.setLevel(level)


def panels(width: float, height: float, count: int = 1) -> tuple[Figure, list[Any]]:
    """Return a figure of so many inches with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    return figure, list(axes)


def grid(axes: Any, axis: str) -> None:
    """Put a faint grid behind the data, across one axis."""
    axes.grid(axis=axis, color=colour("grid"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def as_bytes(figure: Figure, form: str) -> bytes:
    """Return a figure as a file of `pdf`, `svg` or `png`, the same bytes every time."""
    if form not in _FORMATS:
        raise ValueError(f"{form!r} is not one of {', '.join(_FORMATS)}")
    about = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with drawing():
        file = io.BytesIO()
        figure.savefig(file, format=form, metadata=about[form], facecolor=colour("paper"))
    return file.getvalue()


def for_page(figure: Figure, name: str, words: str) -> str:
    """Return a figure as an SVG element whose colours are the page's own: `var(--training)`.

    Args:
        figure: what is shown.
        name: begins the identities in it, so that two figures on one page do not meet.
        words: what it shows, for who cannot see it.
    """
    root = ElementTree.fromstring(as_bytes(figure, "svg"))
    by_colour = {light: f"var(--{role})" for role, (light, _) in ROLES.items()}
    values = [value for one in root.iter() for value in one.attrib.values()]
    used = {found[1] for value in values for found in _REFERENCE.finditer(value)}
    for parent in list(root.iter()):
        for one in list(parent):
            if one.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(one)
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
        given = {key.rpartition("}")[2]: value for key, value in one.attrib.items()}
        if (identity := given.pop("id", "")) in used:
            given["id"] = f"{name}-{identity}"
        for key in ("fill", "stroke"):  # a page's colours are of its style
            if given.get(key) in by_colour:
                given["style"] = f"{key}: {given.pop(key)}; {given.get('style', '')}".rstrip("; ")
        for key, value in given.items():
            if key == "style":
                value = re.sub(r" font-family: [^;]*;", "", value)
                value = re.sub(r"#[0-9a-f]{6}", lambda at: by_colour.get(at[0], at[0]), value)
            given[key] = _REFERENCE.sub(lambda at: at[0].replace("#", f"#{name}-", 1), value)
        one.attrib = given
    box = root.attrib["viewBox"]
    root.attrib = {
        "viewBox": box,
        "style": f"max-width: {_MAGNIFIED * float(box.split()[2]):.0f}px",
        "role": "img",
        "aria-label": words,
    }
    return ElementTree.tostring(root, encoding="unicode")
