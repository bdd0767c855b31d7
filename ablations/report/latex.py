"""A report as LaTeX for a paper: tables in the style of booktabs, a fragment of a document.

Numbers line up because all of a column have as many digits after the point; no other package than
booktabs is needed. A table holds at most as many rows as a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.report import words
from ablations.report.headline import headline
from ablations.report.tex import comment, escape, name

HEAD = r"""
% Needs \usepackage{booktabs} in the preamble. To use: \input{this file}.
""".strip()
ROWS = 40  # of a table, so that it fits a page
_MANY = 9  # columns; more are set smaller
_WIDEST = 24  # letters of a label before it is set on several lines
_NARROW = r"0.2\linewidth"  # of such a label
NOTHING = "--"
_OF_COSTS = (
    "Of a run of the arm that has it: parameters, multiply-adds, training speed, peak memory, time."
)
# In pairs: the columns of a table, and their names.
_EFFECTS = (
    "lrrr@{ }rrrl",
    r"change & value & $\Delta$ & \multicolumn{2}{c}{interval} & $n$ & $p$ (Holm) & verdict \\",
)
_SPLIT = (
    "llrr@{ }rrrl",
    r"split & part & $\Delta$ & \multicolumn{2}{c}{interval} & share & $n$ & verdict \\",
)
_COSTS = ("change", "kind", "params", "MACs", "images/s", "memory", "seconds")


def to_latex(document: Mapping[str, Any]) -> str:
    """Return what was measured, the base, the contrasts by question, the split and the notes.

    The answer in sentences stands before them as comments: a paper has words of its own.
    """
    base, stem = document["base"], name(document["study"])
    value = words.estimated(base["value"], base["interval"])
    about = [
        f"{words.measured(document)}.",
        f"Base {base['recipe']}: {value}, n {base['n']}.",
    ]
    first = [f"Study {document['study']}.", *headline(document), *about]
    parts = ["\n".join([*map(comment, first), HEAD])]
    place = 0
    for question, contrasts in words.by_estimand(document):
        for start in range(0, len(contrasts), ROWS):
            place += 1
            asked = f"{question[:1].upper()}{question[1:]}{' (continued)' if start else ''}."
            rows = [_effect(document, one) for one in contrasts[start : start + ROWS]]
            parts.append(table([asked, *about], f"{stem}-{place}", *_EFFECTS, rows))
    if split := list(_split(document)):
        told = ["The training / architecture split.", *about]
        parts.append(table(told, f"{stem}-split", *_SPLIT, split))
    parts += _costs(document, stem)
    if document["notes"]:
        parts.append(items(document["notes"]))
    return "\n\n".join(parts) + "\n"


def table(
    told: Sequence[str], key: str, columns: str, header: str, rows: Sequence[Sequence[str]]
) -> str:
    """Return a table that floats.

    Args:
        told: sentences of its caption, as text.
        key: of its label.
        columns: as a tabular has them.
        header: their names, in LaTeX.
        rows: the cells, in LaTeX.
    """
    wide = len(columns.replace("@{ }", "")) > _MANY
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(' '.join(told))}}}",
        rf"  \label{{tab:{key}}}",
        rf"  \smallskip\{'scriptsize' if wide else 'footnotesize'}",
        rf"  \setlength{{\tabcolsep}}{{{2 if wide else 4}pt}}",
        *([r"  \makebox[\linewidth]{%"] if wide else []),  # what is wider stands out on both sides
        rf"  \begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"    \toprule",
        f"    {header}",
        r"    \midrule",
        *(rf"    {' & '.join(row)} \\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}" + ("}" if wide else ""),
        r"\end{table}",
    ]
    return "\n".join(lines)


def items(texts: Sequence[str]) -> str:
    """Return a list; its lines may be spaced loosely, since many hold names that do not break."""
    found = [rf"  \item {escape(text)}" for text in texts]
    return "\n".join([r"\begin{itemize}", r"  \sloppy", *found, r"\end{itemize}"])


def _effect(document: Mapping[str, Any], contrast: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        label(contrast["label"]),
        _cell(words.number(words.arm_value(document, contrast["treatment"]))),
        _signed(contrast["delta"]),
        *_interval(contrast["interval"]),
        str(contrast["n"]),
        _probability(contrast["p_holm"]),
        _cell(words.decision(contrast)),
    )


def _costs(document: Mapping[str, Any], stem: str) -> Iterator[str]:
    """Yield tables of kinds and costs, each change once, with the columns of which any is known."""
    contrasts = [one for one in document["contrasts"] if one["kind"]]
    rows = list(dict.fromkeys(_cost(one) for one in contrasts))
    known = [place for place in range(len(_COSTS)) if {row[place] for row in rows} - {NOTHING}]
    told = ["Kind of each change."]
    if len(known) > _COSTS.index("kind") + 1:
        told = ["Kind and cost of each change.", _OF_COSTS]
    columns = "".join("l" if _COSTS[place] in ("change", "kind") else "r" for place in known)
    header = " & ".join(_COSTS[place] for place in known) + r" \\"
    for start in range(0, len(rows), ROWS):
        cells = [[row[place] for place in known] for row in rows[start : start + ROWS]]
        more = ["(Continued.)"] if start else []
        yield table([*told, *more], f"{stem}-cost-{start // ROWS + 1}", columns, header, cells)


def _cost(contrast: Mapping[str, Any]) -> tuple[str, ...]:
    cost = contrast["cost"]
    return (
        label(contrast["label"]),
        _cell(contrast["kind"]),
        _cell(words.amount(cost["params"])),
        _cell(words.amount(cost["macs"])),
        _cell(words.amount(cost["train_images_per_second"])),
        _cell(words.memory(cost["peak_memory_bytes"])),
        _cell(words.seconds(cost["seconds"])),
    )


def _split(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for way, sides in words.split_ways(document):
        percent, both = words.shares(sides), words.whole(sides)
        for place, (part, side) in enumerate(sides.items()):
            yield (
                "" if place else _cell(way),
                _cell(part),
                _signed(side["delta"]),
                *_interval(side["interval"]),
                rf"{percent[part]}\,\%" if part in percent else NOTHING,
                str(side["n"]),
                _cell(side["verdict"] or words.NOTHING),
            )
        if both is not None:
            yield "", "both sides", _signed(both), *_interval(None), *[NOTHING] * 3


def label(text: str) -> str:
    """Return words as a cell; long ones on several lines, for a column that stays narrow."""
    if len(text) <= _WIDEST:
        return escape(text)
    return rf"\parbox[t]{{{_NARROW}}}{{\raggedright\strut {escape(text)}\strut}}"


def _cell(text: str) -> str:
    return NOTHING if text == words.NOTHING else escape(text)


def _signed(value: float | None) -> str:
    """Return a difference with a real minus; its sign takes as much room as a plus."""
    return NOTHING if value is None else f"${words.signed(value)}$"


def _interval(limits: Sequence[float] | None) -> tuple[str, str]:
    """Return both limits as cells of their own, so that each lines up with its like."""
    if limits is None:
        return "", NOTHING
    low, high = (f"${limit:.2f}$" for limit in limits)
    return f"{{[}}{low},", f"{high}{{]}}"


def _probability(value: float | None) -> str:
    text = words.probability(value)
    return f"${text}$" if value is not None else NOTHING
