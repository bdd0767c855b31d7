"""From the YAML of a published ladder or table to its value; every mistake is told together.

The status of a number is its own (`{value: 5, status: inferred}`), else that of its column or
field, else that of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes.errors import RecipeError
from recipes.kind import Kind
from recipes.leaf import nearest
from recipes.published.reader import Reader
from recipes.published.values import Beside, Column, Ladder, Rung, Status, Table
from recipes.spec import parse
from recipes.yaml import read_tree

_COMMON = ("form", "title", "source", "read_in", "status", "setting", "notes")
_LADDER = (*_COMMON, "base", "data", "statuses", "order", "rungs", "beside")
_TABLE = (*_COMMON, "columns", "rows")
_RUNG = ("step", "top1", "delta", "component", "kind", "group", "remark")
_KINDS = tuple(kind.value for kind in Kind)
_HOLDS = "the form (ladder or table), title, source, read_in, status and its numbers"


def read(text: str, name: str) -> Ladder | Table:
    """Read a published ladder or table.

    Raises:
        RecipeError: malformed YAML, or every unknown or missing key, number without a known
            status, and row of the wrong length, told together, each with its path.
    """
    source = f"{name}.yaml"
    tree = read_tree(text, source, _HOLDS)
    form = tree.get("form")
    if form not in ("ladder", "table"):
        raise RecipeError(f"{source}: form = {form!r} is not ladder or table")
    reader = Reader()
    found = _ladder(reader, tree, name) if form == "ladder" else _table(reader, tree, name)
    if reader.wrong:
        raise RecipeError([f"{source}: {problem}" for problem in reader.wrong])
    return found


def _common(reader: Reader, tree: Mapping[str, Any], name: str, usual: Status) -> dict[str, Any]:
    setting = tree.get("setting") or {}
    if not isinstance(setting, Mapping):
        reader.wrong.append(f"setting = {setting!r} is not a mapping")
        setting = {}
    cells = {key: reader.cell(raw, usual, f"setting.{key}") for key, raw in setting.items()}
    return {
        "name": name,
        "title": reader.words(tree.get("title"), "title"),
        "source": reader.words(tree.get("source"), "source"),
        "read_in": reader.words(tree.get("read_in"), "read_in"),
        "setting": {str(key): cell for key, cell in cells.items() if cell is not None},
        "notes": tuple(
            reader.remark(raw, f"notes.{place}")
            for place, raw in enumerate(reader.rows(tree.get("notes") or [], "notes"))
        ),
    }


def _ladder(reader: Reader, tree: Mapping[str, Any], name: str) -> Ladder:
    reader.keys(tree, _LADDER, "")
    usual = reader.status(tree.get("status"), "status")
    fields = reader.keys(tree.get("statuses") or {}, ("top1", "delta"), "statuses")
    by_field = {key: reader.status(raw, f"statuses.{key}") for key, raw in fields.items()}
    base = reader.words(tree.get("base"), "base", optional=True)
    rungs = []
    for place, raw in enumerate(reader.rows(tree.get("rungs"), "rungs")):
        rungs.append(_rung(reader, raw, place, bool(base), usual, by_field))
    if len(rungs) < 2:
        reader.wrong.append(f"rungs: {len(rungs)} of them; a ladder has a base and a step")
    beside = []
    for place, raw in enumerate(reader.rows(tree.get("beside") or [], "beside")):
        keys = ("table", "step", "finding")
        inside = reader.keys(raw, keys, f"beside.{place}")
        beside.append(
            Beside(**{key: reader.words(inside.get(key), f"beside.{place}.{key}") for key in keys})
        )
    steps = [rung.component for rung in rungs[1:] if rung.component]
    for place, one in enumerate(beside):
        if one.step not in steps:
            hint = nearest(one.step, steps)
            reader.wrong.append(f"beside.{place}.step = {one.step!r} is no component here{hint}")
    return Ladder(
        base=base,
        data=reader.words(tree.get("data"), "data"),
        order=reader.status(tree.get("order"), "order"),
        rungs=tuple(rungs),
        beside=tuple(beside),
        **_common(reader, tree, name, usual),
    )


def _rung(
    reader: Reader,
    raw: Any,
    place: int,
    ours: bool,
    usual: Status,
    by_field: Mapping[str, Status],
) -> Rung:
    path = f"rungs.{place}"
    tree = reader.keys(raw, _RUNG, path)
    first = place == 0
    component = reader.words(tree.get("component"), f"{path}.component", optional=True)
    kind = tree.get("kind")
    if first and (component or kind or tree.get("delta") is not None):
        reader.wrong.append(f"{path} is the base: it has no component, kind or delta")
    if not first and kind not in _KINDS:
        hint = nearest(str(kind), _KINDS)
        reader.wrong.append(f"{path}.kind = {kind!r} is not one of {', '.join(_KINDS)}{hint}")
    if not first and ours and not component:
        reader.wrong.append(f"{path} lacks the component that a ladder with a base recipe needs")
    if component:
        _check_component(reader, component, kind, path)
    remark = tree.get("remark")
    return Rung(
        step=reader.words(tree.get("step"), f"{path}.step"),
        top1=reader.number(tree.get("top1"), by_field.get("top1", usual), f"{path}.top1"),
        delta=None
        if first
        else reader.number(tree.get("delta"), by_field.get("delta", usual), f"{path}.delta"),
        component=component,
        kind=Kind(kind) if kind in _KINDS else None,
        group=reader.words(tree.get("group"), f"{path}.group", optional=True),
        remark=None if remark is None else reader.remark(remark, f"{path}.remark"),
    )


def _check_component(reader: Reader, component: str, kind: Any, path: str) -> None:
    try:
        found = parse(component)
    except RecipeError as error:
        reader.wrong += [f"{path}.component: {problem}" for problem in error.problems]
        return
    if len(found) != 1:
        reader.wrong.append(f"{path}.component = {component!r} is not one component")
    elif kind in _KINDS and kind != found[0].kind.value:
        reader.wrong.append(
            f"{path}.kind = {kind!r}, but {component} is of kind {found[0].kind.value}"
        )


def _table(reader: Reader, tree: Mapping[str, Any], name: str) -> Table:
    reader.keys(tree, _TABLE, "")
    usual = reader.status(tree.get("status"), "status")
    columns, statuses = [], []
    for place, raw in enumerate(reader.rows(tree.get("columns"), "columns")):
        path = f"columns.{place}"
        inside = reader.keys(raw, ("name", "unit", "status"), path)
        own = inside.get("status")
        statuses.append(usual if own is None else reader.status(own, f"{path}.status"))
        columns.append(
            Column(
                name=reader.words(inside.get("name"), f"{path}.name"),
                unit=reader.words(inside.get("unit"), f"{path}.unit", optional=True),
            )
        )
    if len({column.name for column in columns}) < len(columns):
        reader.wrong.append("columns: two have one name")
    rows = []
    for place, raw in enumerate(reader.rows(tree.get("rows"), "rows")):
        cells = reader.rows(raw, f"rows.{place}")
        if len(cells) != len(columns):
            reader.wrong.append(f"rows.{place} has {len(cells)} cells for {len(columns)} columns")
            continue
        rows.append(
            tuple(
                reader.cell(cell, status, f"rows.{place}.{column.name}")
                for cell, status, column in zip(cells, statuses, columns, strict=True)
            )
        )
    if not rows:
        reader.wrong.append("rows: none of them")
    for place, column in enumerate(columns):
        if rows and all(row[place] is None for row in rows):
            reader.wrong.append(f"columns.{place}: {column.name} holds nothing")
    return Table(columns=tuple(columns), rows=tuple(rows), **_common(reader, tree, name, usual))
