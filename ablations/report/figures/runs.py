"""Figures of runs: how they learned, and what an arm costs beside what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablations.report.figures.effects import short
from ablations.report.figures.style import LINES, colour, drawing, grid, panels
from ablations.report.story import ZERO, ArmTold, Story
from ablations.report.words import amount

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = 8  # that can be told apart
_LOOKS = {  # colour and mark by an arm's side
    "base": ("ink", "*"),
    "training": ("training", "o"),
    "architecture": ("architecture", "s"),
    "both": ("ink", "D"),
    ZERO: ("other", "x"),
}
_TITLES = {
    "val/top1": ("accuracy on minival", "top1 (%)"),
    "train/loss": ("training loss", "mean of the epoch"),
}


def curves(story: Story) -> Figure | None:
    """Draw the curves of a few arms, each with a band from its lowest to its highest seed."""
    if not story.curves:
        return None
    wanted = shown_arms(story)
    with drawing():
        from matplotlib.ticker import MaxNLocator

        figure, axes = panels(4.2 * len(story.curves) + 0.4, 3.4, len(story.curves))
        for panel, (name, by_arm) in zip(axes, story.curves.items(), strict=True):
            for place, arm in enumerate(wanted):
                curve = by_arm.get(arm)
                if curve is None:
                    continue
                line = colour(f"series{place}")
                panel.fill_between(
                    curve.epochs, curve.low, curve.high, color=line, alpha=0.15, linewidth=0
                )
                panel.plot(
                    curve.epochs,
                    curve.mean,
                    color=line,
                    linestyle=LINES[place],
                    linewidth=1.3,
                    marker="o" if len(curve.epochs) == 1 else "",
                    label=short(arm),
                )
            title, label = _TITLES[name]
            panel.set_title(title)
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_ylabel(label)
            grid(panel, "y")
        drawn = {
            label: line
            for panel in axes
            for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def shown_arms(story: Story) -> list[str]:
    """Return the arms whose curves are drawn: all, or the base, the full recipe and the extremes.

    These are the arms that end farthest from the base, in the plan's order.
    """
    known = [arm for arm in story.arms if any(arm.name in one for one in story.curves.values())]
    if not known:
        return []
    full = max(known, key=lambda arm: len(arm.components))
    base = known[0].value

    def distance(arm: ArmTold) -> float:
        return 0.0 if arm.value is None or base is None else abs(arm.value - base)

    others = [arm for arm in known[1:] if arm is not full]
    farthest = sorted(others, key=distance, reverse=True)[: _CURVES - 2]
    chosen = {id(arm) for arm in (known[0], full, *farthest)}
    rest = [arm.name for arm in others if id(arm) in chosen]
    return list(dict.fromkeys([known[0].name, full.name, *rest]))


def cost(story: Story) -> Figure | None:
    """Draw accuracy against the multiplications of a network and the time of a run.

    A line joins the arms that no other one beats at their cost or below.
    """
    asked = (("macs", "multiply-adds per image"), ("seconds", "seconds of a run"))
    known = [
        (name, words)
        for name, words in asked
        if sum(_at(arm, name) is not None for arm in story.arms) > 1
    ]
    if not known:
        return None
    with drawing():
        figure, axes = panels(4.2 * len(known) + 0.3, 3.4, len(known))
        for panel, (name, label) in zip(axes, known, strict=True):
            points = [(at, arm) for arm in story.arms if (at := _at(arm, name)) is not None]
            best = front([(x, y) for (x, y), _ in points])
            for (x, y), arm in points:
                if arm.interval is not None:
                    panel.plot([x, x], arm.interval, color=colour("grid"), linewidth=1.2, zorder=1)
                role, mark = _LOOKS.get(arm.side, ("ink", "*"))
                panel.plot([x], [y], marker=mark, color=colour(role), linestyle="none", zorder=3)
            panel.step(*zip(*best, strict=True), where="post", color=colour("faint"), linewidth=1)
            panel.set_xlabel(label)
            panel.margins(x=0.15, y=0.1)
            _scaled(panel)
            _name(panel, [(point, arm.name) for point, arm in points], best)
            grid(panel, "both")
        axes[0].set_ylabel(f"{story.document['metric']} (%)")
        _sides(figure, story)
    return figure


def _name(
    panel: Any,
    points: Sequence[tuple[tuple[float, float], str]],
    best: Sequence[tuple[float, float]],
) -> None:
    """Write names beside points, the front's first, each where no other one stands."""
    panel.autoscale_view()  # else the places below are of before the points were drawn
    taken: list[tuple[float, float, float]] = []
    to_inches = panel.transData + panel.figure.dpi_scale_trans.inverted()
    middle = panel.figure.dpi_scale_trans.inverted().transform(
        panel.transAxes.transform((0.5, 0.5))
    )
    for point, name in sorted(points, key=lambda one: one[0] not in best):
        text = short(name)
        x, y = to_inches.transform(point)
        room = 0.055 * len(text) + 0.06
        to_left = x > middle[0]
        left, right = (x - room, x) if to_left else (x, x + room)
        if any(abs(y - at) < 0.11 and left < end and begin < right for begin, end, at in taken):
            continue
        taken.append((left, right, y))
        panel.annotate(
            text,
            point,
            xytext=(-4 if to_left else 4, 3),
            textcoords="offset points",
            ha="right" if to_left else "left",
            fontsize=7,
        )


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those points of (cost, value) that none of lower or equal cost reaches, by cost."""
    found: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or value > found[-1][1]:
            found.append((cost, value))
    return found


def _at(arm: ArmTold, name: str) -> tuple[float, float] | None:
    cost = getattr(arm, name)
    return None if cost is None or arm.value is None else (cost, arm.value)


def _scaled(panel: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))


def _sides(figure: Figure, story: Story) -> None:
    from matplotlib.lines import Line2D

    seen = {arm.side for arm in story.arms}
    made = [
        Line2D([], [], marker=mark, color=colour(role), linestyle="none", label=name)
        for name, (role, mark) in _LOOKS.items()
        if name in seen
    ]
    if sum(arm.value is not None for arm in story.arms) > 1:
        made.append(Line2D([], [], color=colour("faint"), label="best at its cost or below"))
    figure.legend(handles=made, loc="outside lower center", ncols=5, fontsize=8)
