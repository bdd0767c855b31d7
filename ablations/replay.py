"""Published ladders through the same designs, attribution and report as a study of our own.

A ladder whose steps are all ours is laid out by its base and components; any other by its words.
What the source never trained has no outcome, so its contrasts are null, as in any study.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ablations.designs import by_blocks, by_ladder, lay_out
from ablations.errors import RequestError
from ablations.plans import BASE, Contrast, Layout, Outcome, Plan, Published, Run, Split
from ablations.report import HTML, TEXTS, document, render
from ablations.report.analysis import analysis_of
from ablations.report.effects import effects
from ablations.report.published import known, remark, render_table, stated
from ablations.report.story import Story, gather
from ablations.report.words import shares, signed
from recipes import load, parse
from recipes.published import Ladder, Number, Rung, Status, Table, Text
from recipes.published import load as load_published

_PROTOCOL = ("split", "resolution", "crop_fraction", "interpolation", "checkpoint")
_SEED = 0  # a stand-in: each arm has one number, and no seed is published


def replayed(name: str, format: str) -> tuple[str, str]:
    """Return published numbers as text in one of FORMATS, and what cannot be said in it.

    Raises:
        RecipeError: nothing is published under this name.
    """
    found = load_published(name)
    if isinstance(found, Table):
        if format == HTML:
            known = ", ".join(TEXTS)
            raise RequestError(f"--format {format!r}: {name} is a table; choose from {known}")
        return render_table(found, format), ""
    if format == HTML:
        from ablations.report.page import render_page

        return render_page(story(found)), ""
    answer, tables = replay(found), list(_beside(found))
    if format == "csv":  # one table only
        told = [
            f"{one.finding}: see `ablate replay {one.table} --format csv`" for one in found.beside
        ]
        return render(answer, format), "\n".join(told)
    if format == "json":
        notes = [*answer["notes"], *(_effects(table) for table in tables)]
        return render(answer | {"notes": notes}, format), ""
    return "\n".join([render(answer, format), *(render_table(one, format) for one in tables)]), ""


def story(ladder: Ladder) -> Story:
    """Return what a page shows of a published ladder; the tables beside it are in its notes.

    Raises:
        ValueError: a step of the ladder changes nothing in its base recipe.
    """
    plan, outcomes = published_plan(ladder)
    answer, found = analysis_of(plan, outcomes), replay(ladder)
    told = [_effects(table) for table in _beside(ladder)]
    return gather(
        plan,
        outcomes,
        found | {"notes": [*found["notes"], *told]},
        effects(plan.layout, answer),
        {arm: (mean.value, mean.interval) for arm, mean in answer.analysis.means.items()},
    )


def replay(ladder: Ladder) -> dict[str, Any]:
    """Return the document of a published ladder, without the tables that stand beside it.

    Raises:
        ValueError: a step of the ladder changes nothing in its base recipe.
    """
    plan, outcomes = published_plan(ladder)
    found = document(plan, outcomes)
    labels = ["base", *(contrast.label for contrast in plan.layout.contrasts)]
    by_label = dict(zip(labels, ladder.rungs, strict=True))
    told = [
        *_split_notes(plan, found),
        *_status_notes(ladder, by_label),
        *_remarks(ladder, by_label),
    ]
    return found | {"notes": [*found["notes"], *told]}


def published_plan(ladder: Ladder) -> tuple[Plan, list[Outcome]]:
    """Return the plan that a ladder amounts to, and its numbers as outcomes: one per arm.

    Raises:
        ValueError: a step of the ladder changes nothing in its base recipe.
    """
    layout = _layout(ladder)
    outcomes = [_outcome(ladder, 0, BASE)]
    for place, contrast in enumerate(layout.contrasts, start=1):
        if contrast.treatment is None:
            raise ValueError(f"{ladder.name}: {contrast.label} changes nothing: {contrast.reason}")
        outcomes.append(_outcome(ladder, place, contrast.treatment))
    plan = Plan(
        study=ladder.name,
        base=ladder.base or ladder.rungs[0].step,
        layout=layout,
        seeds=(),
        runs=tuple(outcome.run for outcome in outcomes),
        data=ladder.data,
        data_fingerprint="",
        published=Published(source=ladder.source, protocol=_protocol(ladder)),
    )
    return plan, outcomes


def _beside(ladder: Ladder) -> Iterator[Table]:
    """Yield the tables to be read beside a ladder, each with a note that says why."""
    deltas = {rung.component: rung.delta for rung in ladder.rungs}
    for one in ladder.beside:
        table, delta = load_published(one.table), deltas[one.step]
        assert isinstance(table, Table) and delta is not None
        why = (
            f"{one.finding}: its step in the ladder is {signed(delta.value)}; by another protocol,"
            " so never in one table with it"
        )
        yield replace(table, notes=(Text(why, Status.INFERRED), *table.notes))


def _effects(table: Table) -> str:
    """Return in a sentence the last column of a table, each number with its context."""
    by_first: dict[str, list[str]] = {}
    for *context, effect in table.rows:
        assert isinstance(effect, Number)
        first, *others = [cell.value for cell in context if isinstance(cell, Text)]
        by_first.setdefault(first, []).append(f"{signed(effect.value)} ({', '.join(others)})")
    parts = "; ".join(f"{first} {', '.join(effects)}" for first, effects in by_first.items())
    notes = "; ".join(remark(note) for note in table.notes)
    return (
        f"{table.name}, {table.title}, in {table.columns[-1].unit}: {parts};"
        f" {stated(table.setting)}; {notes}"
    )


def _layout(ladder: Ladder) -> Layout:
    if ladder.base:
        components = [one for rung in ladder.rungs[1:] for one in parse(rung.component)]
        return lay_out("ladder", load(ladder.base), components)
    steps = ladder.rungs[1:]
    contrasts = [_contrast(steps, place) for place in range(len(steps))]
    sides = [
        [step for step in steps if step.kind is not None and step.kind.side == side]
        for side in ("training", "architecture")
    ]
    both = all(sides)
    names = (BASE, *map(_arm, sides), _arm(steps))
    return Layout(
        design="ladder",
        arms=(),
        contrasts=tuple(contrasts),
        split=Split(by_ladder=by_ladder(contrasts), by_blocks=by_blocks(*names) if both else None),
    )


def _contrast(steps: tuple[Rung, ...], place: int) -> Contrast:
    step = steps[place]
    control, treatment = _arm(steps[:place]), _arm(steps[: place + 1])
    return Contrast(
        label=f"+{_name(step)}",
        component=parse(step.component)[0].key if step.component else None,
        kind=step.kind,
        control=control,
        treatment=treatment,
        weights={control: -1.0, treatment: 1.0},
    )


def _name(step: Rung) -> str:
    return step.step.removeprefix("+").strip()


def _arm(steps: Iterable[Rung]) -> str:
    return ",".join(_name(step) for step in steps) or BASE


def _outcome(ladder: Ladder, place: int, arm: str) -> Outcome:
    run = Run(id=f"{ladder.name}-{place}", arm=arm, seed=_SEED)
    return Outcome(run=run, status="finished", value=float(ladder.rungs[place].top1.value))


def _protocol(ladder: Ladder) -> dict[str, Any]:
    cells = {key: ladder.setting.get(key) for key in _PROTOCOL}
    return {key: None if cell is None else cell.value for key, cell in cells.items()}


def _split_notes(plan: Plan, found: Mapping[str, Any]) -> Iterator[str]:
    sides = found["split"]["by_ladder"]
    percent = shares(sides)
    if percent:
        whole = sum(side["delta"] for side in sides.values())
        yield (
            f"of the {signed(whole)} points, training is {percent['training']} % and architecture"
            f" {percent['architecture']} %, in this order"
        )
    blocks = plan.layout.split.by_blocks
    if blocks is None:
        return
    trained = {run.arm for run in plan.runs}
    for side in ("architecture", "training"):  # an arm of the side alone is in its half-difference
        for arm in blocks[side]:
            if arm not in trained and blocks[side][arm] > 0:
                yield (
                    f"the source never trained the {side} alone ({arm}), so there is no"
                    " interaction and no split by blocks"
                )


def _status_notes(ladder: Ladder, rungs: Mapping[str, Rung]) -> Iterator[str]:
    values = {label: rung.top1.status for label, rung in rungs.items()}
    deltas = {label: rung.delta.status for label, rung in rungs.items() if rung.delta is not None}
    yield (
        f"how the numbers are known: values {known(values)}; printed deltas {known(deltas)};"
        f" order of the steps {ladder.order.value}"
    )
    if ladder.setting:
        yield f"setting: {stated(ladder.setting)}"
    yield f"read in: {ladder.read_in}"


def _remarks(ladder: Ladder, rungs: Mapping[str, Rung]) -> Iterator[str]:
    for label, rung in rungs.items():
        if rung.remark is not None:
            yield f"{label}: {remark(rung.remark)}"
    for note in ladder.notes:
        yield remark(note)
