"""What a dashboard of a study shows, as plain values: tables, numbers and words. No W&B here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.report import words
from ablations.report.markdown import escape

if TYPE_CHECKING:
    from ablations.report.story import ArmTold, Story

Cell = str | float | int | None

# Of `ablations.report.effects.EFFECTS`: what a reader compares. The rest is in `Study.effects`.
EFFECTS = (
    "name", "family", "estimand", "component", "delta", "low", "high", "simultaneous_low",
    "simultaneous_high", "p", "p_holm", "n", "verdict",
)  # fmt: skip
ARMS = (
    "arm", "side", "value", "low", "high", "n", "runs", "params", "macs", "images_per_second",
    "peak_memory_bytes", "seconds",
)  # fmt: skip
_SPLIT = {"by_ladder": "by ladder", "by_blocks": "by blocks"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of plain values; of one width, that of the columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that the boards of a study say that the server cannot work out itself."""

    study: str
    measured: str  # what was measured, on what, by which protocol
    headline: tuple[str, ...]  # the answer in sentences
    split: tuple[str, ...]  # the training / architecture split in sentences
    doubts: tuple[str, ...]
    effects: Table
    arms: Table
    recipes: Table  # what each arm changes: arms in rows, leaves in columns
    numbers: Mapping[str, Cell]  # for the summary of a run, as `split/by_blocks/training`
    markdown: str  # the effects as Markdown, by question
    components: tuple[str, ...]  # keys, in the order of the request
    first_seed: int | None


def shown_of(story: Story, components: Sequence[str]) -> Shown:
    """Return what the boards of a study say.

    Args:
        story: all that pages show of the study.
        components: the keys of its components, in the order of the request.
    """
    document = story.document
    return Shown(
        study=document["study"],
        measured=words.measured(document),
        headline=tuple(story.headline),
        split=tuple(words.split_sentences(document)),
        doubts=tuple(document["notes"]),
        effects=Table(
            columns=EFFECTS,
            rows=tuple(tuple(row[name] for name in EFFECTS) for row in story.effects),
        ),
        arms=Table(columns=ARMS, rows=tuple(map(_arm, story.arms))),
        recipes=recipes_of(story.arms),
        numbers=_numbers(document),
        markdown=effects_markdown(document, story.effects),
        components=tuple(components),
        first_seed=document["seeds"][0] if document["seeds"] else None,
    )


def recipes_of(arms: Sequence[ArmTold]) -> Table:
    """Return the leaves in which the arms differ: one row per arm, one column per leaf."""
    base: dict[str, str] = {}  # of every leaf that some arm changes
    for arm in arms:
        base |= {path: old for path, old, _ in arm.changes}
    rows = []
    for arm in arms:
        own = base | {path: new for path, _, new in arm.changes}
        rows.append((arm.name, *own.values()))
    return Table(columns=("arm", *base), rows=tuple(rows))


def effects_markdown(document: Mapping[str, Any], effects: Iterable[Mapping[str, Any]]) -> str:
    """Return the effects as Markdown tables by question, the split last; nothing in them is markup.

    The rows that come before the split are those of the document's contrasts, in their order.
    """
    rows = list(effects)
    of = {id(one): row for one, row in zip(document["contrasts"], rows, strict=False)}
    parts = []
    for question, contrasts in words.by_estimand(document):
        lines = [
            _line(one["label"], one["kind"], of[id(one)], words.decision(one)) for one in contrasts
        ]
        parts.append(f"**{safe(question)}**\n\n{_HEADER}\n" + "\n".join(lines))
    sides = [row for row in rows if row["name"].partition(" ")[0] in _SPLIT]
    if any(row["delta"] is not None for row in sides):
        lines = [
            _line(_SPLIT[way] + " " + side, None, row, row["verdict"] or words.NOTHING)
            for row in sides
            for way, _, side in [row["name"].partition(" ")]
        ]
        parts.append(f"**the split**\n\n{_HEADER}\n" + "\n".join(lines))
    return "\n\n".join(parts)


_HEADER = (
    "| change | kind | delta | interval | all at once | n | p (Holm) | verdict |\n"
    "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | :--- |"
)


def safe(text: str) -> str:
    """Return text that the server's Markdown shows as it is: `$` begins a formula there."""
    return escape(text).replace("$", r"\$")


def _line(label: str, kind: str | None, row: Mapping[str, Any], verdict: str) -> str:
    pointwise, together = _limits(row, ""), _limits(row, "simultaneous_")
    cells = (
        label,
        kind or words.NOTHING,
        words.signed(row["delta"]),
        words.interval(pointwise),
        words.interval(together),
        str(row["n"]),
        words.probability(row["p_holm"]),
        verdict,
    )
    return f"| {' | '.join(map(safe, cells))} |"


def _limits(row: Mapping[str, Any], which: str) -> tuple[float, float] | None:
    low, high = row[f"{which}low"], row[f"{which}high"]
    return None if low is None or high is None else (low, high)


def _arm(arm: ArmTold) -> tuple[Cell, ...]:
    low, high = arm.interval or (None, None)
    return (
        arm.name, arm.side, arm.value, low, high, arm.n, arm.runs, arm.params, arm.macs,
        arm.images_per_second, arm.memory, arm.seconds,
    )  # fmt: skip


def _numbers(document: Mapping[str, Any]) -> dict[str, Cell]:
    """Return what a table of runs can show of a study: the base and the split, with limits."""
    base = document["base"]
    found: dict[str, Cell] = {"base/value": base["value"], "base/n": base["n"]}
    for way, sides in document["split"].items():
        for side, told in (sides or {}).items():
            name = f"split/{way}/{side}"
            low, high = told["interval"] or (None, None)
            found |= {
                name: told["delta"],
                f"{name}/low": low,
                f"{name}/high": high,
                f"{name}/n": told["n"],
                f"{name}/verdict": told["verdict"],
            }
    statuses = [run["status"] for run in document["runs"]]
    for status in sorted(set(statuses)):
        found[f"runs/{status}"] = statuses.count(status)
    return {name: value for name, value in found.items() if value is not None}
