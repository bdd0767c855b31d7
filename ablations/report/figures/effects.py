"""Figures of effects: the waterfall, the forest plot, the split and what pairs do together.

Longer than most: the four share how they write numbers, verdicts and sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablations.report import words
from ablations.report.effects import LACK_OF_FIT
from ablations.report.figures.style import MARKS, colour, drawing, grid, panels
from ablations.report.story import REST, Step, Story

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEPS = 40  # bars that can be told apart
_ROWS = 60  # of a forest plot; the largest effects of a study with more
_CROSSED = 12  # components of a heat map: those of the largest interactions
_LONGEST = 34  # letters of a name
_HATCHES = {"training": "", "architecture": "///", "interaction": ".."}
_SIDES = tuple(_HATCHES)


def waterfall(story: Story) -> Figure | None:
    """Draw the changes as they add up from the base to the full recipe."""
    steps, base = story.steps[:_STEPS], story.document["base"]["value"]
    if not steps or base is None:
        return None
    with drawing():
        figure, (axes,) = panels(max(4.5, 1.2 + 0.62 * (len(steps) + 2)), 3.6)
        ends = [("base", base), (_whole(story, len(steps)), steps[-1].end)]
        for place, (_, value) in zip((0, len(steps) + 1), ends, strict=True):  # no bars: no zero
            axes.plot([place - 0.3, place + 0.3], [value] * 2, color=colour("ink"), linewidth=3)
            _say(axes, place, value, words.number(value))
        reached = [base, steps[-1].end]
        for place, one in enumerate(steps, start=1):
            reached += _step(axes, place, one)
        room = 0.12 * (max(reached) - min(reached) or 1)
        axes.set_ylim(min(reached) - room, max(reached) + room)
        names = [ends[0][0], *(short(one.label) for one in steps), ends[1][0]]
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_ylabel(f"{story.document['metric']} (%)")
        grid(axes, "y")
        _key(figure, story)
    return figure


def _step(axes: Any, place: int, one: Step) -> list[float]:
    """Draw a step; return the levels that it reaches."""
    role = one.side or "interaction"
    bottom, top = sorted((one.start, one.end))
    axes.bar(
        place,
        top - bottom,
        bottom=bottom,
        color=colour(role),
        width=0.6,
        alpha=0.85,
        hatch=_HATCHES[role],
        edgecolor=colour("paper"),
    )
    axes.plot([place - 0.7, place + 0.3], [one.start] * 2, color=colour("faint"), linewidth=0.8)
    reached = [bottom, top]
    for limits, at, look in (
        (one.interval, place, {"color": colour("ink"), "linewidth": 1.1}),
        (one.band, place + 0.22, {"color": colour("faint"), "linewidth": 3}),
    ):
        if limits is not None:
            ends = [one.start + limit for limit in limits]
            axes.plot([at, at], ends, **look)
            reached += ends
    _say(axes, place, max(reached), words.signed(one.end - one.start))
    return reached


def _say(axes: Any, x: float, y: float, text: str) -> None:
    """Write something above a place."""
    axes.annotate(text, (x, y), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8)


def _whole(story: Story, shown: int) -> str:
    """Return what the last level is: of the full recipe, or of as many steps as have numbers."""
    numbers = sum(step.label != REST for step in story.steps[:shown])
    return "all" if numbers == story.planned else f"after {numbers} of {story.planned}"


def _key(figure: Figure, story: Story) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    roles = {one.side or "interaction" for one in story.steps}
    made: list[Any] = [
        Patch(
            facecolor=colour(role),
            hatch=_HATCHES[role],
            edgecolor=colour("paper"),
            label=REST if role == "interaction" else role,
        )
        for role in _SIDES
        if role in roles
    ]
    if any(one.interval is not None for one in story.steps):
        made.append(
            Line2D([], [], color=colour("ink"), linewidth=1.1, label="interval of the step")
        )
    if any(one.band is not None for one in story.steps):
        made.append(
            Line2D(
                [], [], color=colour("faint"), linewidth=3, label="in all orders trained (range)"
            )
        )
    figure.legend(handles=made, loc="outside upper left", ncols=3, fontsize=8)


def forest(story: Story) -> Figure | None:
    """Draw every effect with its interval and verdict, by question; the split last."""
    rows = [row for row in story.effects if row["delta"] is not None and row["name"] != LACK_OF_FIT]
    if not rows:
        return None
    count = len(rows)
    if count > _ROWS:
        largest = sorted(rows, key=lambda row: -abs(row["delta"]))[:_ROWS]
        kept = {id(row) for row in largest}
        rows = [row for row in rows if id(row) in kept]
    lines: list[Mapping[str, Any] | str] = []
    for group in dict.fromkeys(_group(row) for row in rows):
        lines += [group, *(row for row in rows if _group(row) == group)]
    with drawing():
        figure, (axes,) = panels(6.8, 0.7 + 0.24 * len(lines))
        axes.axvline(0, color=colour("faint"), linewidth=0.9)
        for place, row in enumerate(lines):
            if isinstance(row, str):
                continue
            _row(axes, place, row)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_yticks(
            range(len(lines)),
            [one if isinstance(one, str) else short(_name(one)) for one in lines],
        )
        for label, row in zip(axes.get_yticklabels(), lines, strict=True):
            if isinstance(row, str):
                label.set_fontweight("bold")
        some = f"the {_ROWS} largest effects" if len(rows) < count else "effect"
        axes.set_xlabel(f"{some} on {story.document['metric']} (points)")
        grid(axes, "x")
        axes.spines["left"].set_visible(False)
        _verdicts(figure, rows)
    return figure


def _row(axes: Any, place: int, row: Mapping[str, Any]) -> None:
    role = row["verdict"] or "other"
    if row["simultaneous_low"] is not None:
        axes.plot(
            [row["simultaneous_low"], row["simultaneous_high"]],
            [place, place],
            color=colour(role),
            linewidth=0.8,
        )
    if row["low"] is not None:
        axes.plot([row["low"], row["high"]], [place, place], color=colour(role), linewidth=2.4)
    axes.plot(
        [row["delta"]],
        [place],
        marker=MARKS.get(role, "D"),
        color=colour(role),
        markeredgecolor=colour("paper"),
        markersize=7,
        linestyle="none",
    )
    axes.annotate(
        f"{words.signed(row['delta'])} {row['verdict'] or ''}".strip(),
        (1.01, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        annotation_clip=False,
    )


def _name(row: Mapping[str, Any]) -> str:
    name = str(row["name"])
    return name.split()[-1] if row["family"] == "split" else name  # its group says by which way


def _group(row: Mapping[str, Any]) -> str:
    if row["family"] == "split":
        return "split by " + str(row["name"]).split()[0].removeprefix("by_")
    if row["family"] == "null":
        return "true zeros"
    question = str(row["estimand"])
    pair = row["component"] is None and " x " in str(row["name"])
    return "interactions" if pair else question.replace("_", " ")


def _verdicts(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    seen = {row["verdict"] for row in rows}
    made = [
        Line2D([], [], color=colour(verdict), marker=mark, linestyle="none", label=verdict)
        for verdict, mark in MARKS.items()
        if verdict in seen
    ]
    if any(row["simultaneous_low"] is not None for row in rows):
        ink = colour("ink")
        made.append(Line2D([], [], color=ink, linewidth=2.4, label="interval"))
        made.append(Line2D([], [], color=ink, linewidth=0.8, label="all at once"))
    if made:
        figure.legend(handles=made, loc="outside upper left", ncols=len(made), fontsize=8)


def split(story: Story) -> Figure | None:
    """Draw what training and architecture are worth, by each way to tell them apart."""
    ways = {
        way: sides
        for way, sides in story.document["split"].items()
        if sides and sum(_is_told(side) for side in sides.values()) > 1
    }
    if not ways:
        return None
    with drawing():
        figure, axes = panels(3.0 * len(ways) + 0.6, 2.9, len(ways))
        for panel, (way, sides) in zip(axes, ways.items(), strict=True):
            names = [name for name in _SIDES if name in sides and _is_told(sides[name])]
            for place, name in enumerate(names):
                side = sides[name]
                if side["delta"] is None:
                    _say(panel, place, 0.0, side["verdict"])
                    continue
                panel.bar(
                    place,
                    side["delta"],
                    color=colour(name),
                    width=0.6,
                    alpha=0.85,
                    hatch=_HATCHES[name],
                    edgecolor=colour("paper"),
                )
                if side["interval"] is not None:
                    panel.plot([place] * 2, side["interval"], color=colour("ink"), linewidth=1.1)
                ends = [0.0, side["delta"], *(side["interval"] or ())]
                text = words.signed(side["delta"])
                text += f"\n{side['verdict']}" if side["verdict"] else ""
                _say(panel, place, max(ends), text)
            panel.axhline(0, color=colour("faint"), linewidth=0.9)
            panel.margins(y=0.25)
            panel.set_xticks(range(len(names)), names)
            panel.set_title(way.replace("_", " "))
            grid(panel, "y")
        axes[0].set_ylabel("points")
    return figure


def _is_told(side: Mapping[str, Any]) -> bool:
    return side["delta"] is not None or side["verdict"] is not None


def interactions(story: Story) -> Figure | None:
    """Draw what each two components are worth together, beyond each by itself."""
    cells = dict(story.pairs)
    if not cells:
        return None
    largest: dict[str, float] = {}
    for pair, one in cells.items():
        for name in pair:
            largest[name] = max(largest.get(name, 0.0), abs(one.delta))
    shown = sorted(largest, key=lambda name: -largest[name])[:_CROSSED]
    cells = {pair: one for pair, one in cells.items() if set(pair) <= set(shown)}
    if not cells:
        return None
    names = [name for name in largest if name in shown]
    most = max(abs(one.delta) for one in cells.values()) or 1.0
    with drawing():
        from matplotlib.patches import Rectangle

        side = max(2.6, 0.95 * len(names))
        figure, (axes,) = panels(side + 1.2, side + 0.6)
        for (first, second), one in cells.items():
            row, column = sorted((names.index(first), names.index(second)), reverse=True)
            role = "helps" if one.delta > 0 else "hurts"
            strength = 0.08 + 0.62 * math.sqrt(abs(one.delta) / most)
            axes.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.48), 0.96, 0.96, color=colour(role), alpha=strength
                )
            )
            text = words.signed(one.delta)
            text += f"\n{one.verdict}" if one.verdict else ""
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, len(names) - 1.5)
        axes.set_ylim(len(names) - 0.5, 0.5)
        axes.set_xticks(range(len(names) - 1), [short(name) for name in names[:-1]])
        axes.set_yticks(range(1, len(names)), [short(name) for name in names[1:]])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title("points beyond the sum of both")
    return figure


def short(text: str) -> str:
    """Return a name that fits beside an axis, without what no SVG may hold."""
    text = "".join(letter for letter in text if letter.isprintable())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
