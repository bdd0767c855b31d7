"""The LaTeX of a report: what is in it, and, where pdflatex is installed, that it compiles."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ablations.replay import replayed
from ablations.report import render
from ablations.report.document import document
from ablations.report.headline import headline
from ablations.report.published import render_table
from ablations.report.tex import escape
from recipes.published import Table
from recipes.published import load as load_published
from tests.ablations.report.studies import study
from tests.ablations.report.test_formats import contrast, example, markdown_rows

HOSTILE = (
    r"\end{document}\input{/etc/hostname}\write18{ls} a_b %d #1 $x$ {z} ~ ^ ^^4d & < > | "
    "\" [x] *y* --- ``a'' ?` é ü ł ø ß × − – “q” … ą ế ð α Ω 中文 😀 \u202e \x07 \x00 \udcff % end"
)
# Every letter of Latin-1, Latin Extended-A, Greek, and signs beyond.
LETTERS = " ".join(map(chr, [*range(0xA0, 0x180), *range(0x370, 0x400), *range(0x2000, 0x2300)]))
MAIN = r"""
\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\begin{document}
\input{report}
Table~\ref{tab:demo-1}.
\end{document}
""".lstrip()


def tables(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def rows(table: str) -> list[list[str]]:
    """The cells of a table as they are printed, less TeX's own words."""
    body = table.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    found = []
    for line in body.strip().splitlines():
        plain = re.sub(
            r"\\parbox\[t\]\{[^}]*\}|\\raggedright|\\strut|\\allowbreak\{\}|\$", "", line
        )
        cells = re.split(r"(?<!\\)&", plain.removesuffix(r"\\"))
        found.append([re.sub(r"\\([%,])|[{}]", r"\1", cell).strip() for cell in cells])
    return found


def test_what_markdown_says_of_an_effect_stands_in_latex_too() -> None:
    found = example(
        contrast("+ls", 1.5),
        contrast("+se", None),
        contrast("+ra(layers=2, magnitude=15)", -0.25, p_holm=0.042, kind="augmentation"),
    )
    header, *told = markdown_rows(render(found, "markdown"))
    first, *_, costs = tables(render(found, "latex"))
    for effect, cost, cells in zip(rows(first), rows(costs), told, strict=True):
        want = {key: value.replace("-", "--") if value == "-" else value
                for key, value in zip(header, cells, strict=True)}  # fmt: skip
        label, value, delta, low, high, n, p, verdict = effect
        assert label.replace(" ", "") == want["change"].replace(" ", "")
        assert (value, delta, n, p, verdict) == tuple(
            want[key] for key in ("value", "delta", "n", "p (Holm)", "verdict")
        )
        assert f"{low} {high}".strip() == want["interval"]
        assert cost[1:] == [
            want["kind"],
            want["parameters"].replace("11000000", "11M"),
            *(want[key] for key in ("multiply-adds", "images/s", "memory", "seconds")),
        ]


def test_the_caption_and_a_comment_say_what_was_measured() -> None:
    text = render(example(), "latex")
    first, *_ = tables(text)
    measured = "top1 in percent on the digits demonstration; validation at 16 px; seeds 0, 1, 2"
    base = "Base tiny: 85.12 [84.50, 85.75], n 3."
    assert f"% {measured}; 95 % intervals.\n% {base}\n" in text
    told = re.sub(r"[{}]", "", first.partition(r"\caption")[2].splitlines()[0])
    assert told == (
        f"In order: each on top of those before it. {measured}; 95 \\% intervals. {base}"
    )
    assert all(f"% {sentence}\n" in text for sentence in headline(example()))
    assert r"% Needs \usepackage{booktabs} in the preamble." in text
    assert r"\label{tab:demo-1}" in first


def test_the_split_is_a_table_with_parts_and_their_sum() -> None:
    split = next(one for one in tables(render(example(), "latex")) if "-split}" in one)
    assert rows(split) == [
        ["by ladder", "training", "+3.00", "[2.40,", "3.80]", "67,%", "3", "helps"],
        ["", "architecture", "+1.50", "[1.00,", "2.00]", "33,%", "3", "helps"],
        ["", "both sides", "+4.50", "", "--", "--", "--", "--"],
        ["by blocks", "training", "+3.00", "[2.40,", "3.80]", "67,%", "3", "helps"],
        ["", "architecture", "+1.50", "[1.00,", "2.00]", "33,%", "3", "helps"],
        ["", "interaction", "-0.50", "", "--", "--", "3", "--"],
        ["", "both sides", "+4.50", "", "--", "--", "--", "--"],
    ]
    nothing = {"delta": None, "interval": None, "n": 0, "verdict": None}
    sides = {"training": nothing, "architecture": nothing}
    text = render(example(split={"by_ladder": sides, "by_blocks": None}), "latex")
    assert "-split}" not in text


def test_each_question_has_a_table_and_every_row_as_many_cells_as_columns() -> None:
    plan, outcomes = study(design="bracket")
    text = render(document(plan, outcomes), "latex")
    assert "\\caption{Alone: each by itself on the base." in text
    assert "\\caption{In recipe: each beside all the others." in text
    for table in tables(text):
        columns = re.sub(r"@\{[^}]*\}", "", re.findall(r"\{tabular\}\{(.*)\}", table)[0])
        assert {len(row) for row in rows(table)} == {len(columns)}
        assert set(columns) <= set("lr")


def test_a_long_table_goes_on_in_another() -> None:
    found = example(*(contrast(f"+c{number}", 1.0) for number in range(90)))
    text = render(found, "latex")
    assert [len(rows(table)) for table in tables(text) if "-split}" not in table] == [
        40, 40, 10, 40, 40, 10,
    ]  # fmt: skip
    assert text.count("before it (continued)") == 2
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels))


def test_notes_are_items_and_there_is_no_list_without_them() -> None:
    text = render(example(notes=["a_b", "[c]"]), "latex")
    assert "\\begin{itemize}\n  \\sloppy\n  \\item a\\_b\n  \\item {[}c{]}\n\\end{itemize}" in text
    assert "itemize" not in render(example(notes=[]), "latex")


def hostile() -> dict[str, Any]:
    """A document whose every text is out to break LaTeX, and does not fit."""
    base = {"recipe": HOSTILE, "value": None, "interval": None, "n": 0}
    return example(
        contrast(f"[{HOSTILE}", 1.0),
        contrast(f"*{HOSTILE}", None, outcome="already_present"),
        contrast("", -1e6, interval=[-1e7, 1e7], verdict="unresolved"),
        contrast("+" + "x" * 200, 2.0, estimand=HOSTILE),
        base=base,
        data=f"imagefolder:/{'very_long/' * 20}{HOSTILE}",
        study="a_b.c-é",
        notes=[HOSTILE, f"[{HOSTILE}]", "*", "", " ", "%", "\\", "y" * 400, LETTERS],
    )


def test_no_text_leaves_its_place() -> None:
    text = render(hostile(), "latex")
    assert text.isascii()
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert any("\\input{/etc" in line for line in comments)  # a comment may say anything
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for command in ("\\end{document}", "\\input", "\\write18", "^^"):
        assert command not in code
    known = ("table", "tabular", "itemize")
    assert set(re.findall(r"\\(?:begin|end)\{(\w+)\}", code)) == set(known)


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where TeX keeps fonts that it makes: not in the home folder of who runs the tests."""
    return tmp_path_factory.mktemp("fonts")


def compiled(text: str, folder: Path, fonts: Path) -> str:
    """Compile a document that takes in `text`, twice for its references; return TeX's log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed: that the LaTeX compiles is not tested here")
    if subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).returncode:
        pytest.skip("booktabs is not installed: that the LaTeX compiles is not tested here")
    (folder / "main.tex").write_text(MAIN)
    (folder / "report.tex").write_text(text, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    for _ in range(2):
        done = subprocess.run(
            [*command, "main.tex"],
            cwd=folder,
            env={**os.environ, "TEXMFVAR": str(fonts), "max_print_line": "1000"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        log = (folder / "main.log").read_text(encoding="latin-1")
        assert done.returncode == 0, log[-3000:]
    assert (folder / "main.pdf").stat().st_size > 1000
    return log


def test_a_report_compiles_within_the_lines_of_an_article(tmp_path: Path, fonts: Path) -> None:
    found = example(
        contrast("+ls", 1.5),
        contrast("+se", None),
        contrast("+ra(layers=2, magnitude=15)", -11.25, p_holm=0.042, verdict="unresolved"),
        contrast("+resnetd", 0.001, kind="architecture", estimand="alone"),
        notes=["+se is not applicable: there is no block", "words " * 60],
    )
    log = compiled(render(found, "latex"), tmp_path, fonts)
    assert "Overfull" not in log and "undefined" not in log and "multiply defined" not in log


def test_a_hostile_report_compiles(tmp_path: Path, fonts: Path) -> None:
    log = compiled(render(hostile(), "latex").replace("tab:a-b-c-1", "tab:demo-1"), tmp_path, fonts)
    assert "Missing character" not in log
    assert "/etc/hostname" not in re.sub(r"\n", "", log)


def test_a_published_table_compiles(tmp_path: Path, fonts: Path) -> None:
    published = load_published("resnet-rs-table-3")
    assert isinstance(published, Table)
    text = render_table(published, "latex")
    log = compiled(text.replace("tab:resnet-rs-table-3-1", "tab:demo-1"), tmp_path, fonts)
    assert "Overfull" not in log and "undefined" not in log


def test_a_kind_and_a_cost_that_nobody_knows_have_no_column() -> None:
    text, _ = replayed("resnet-rs", "latex")
    costs = next(one for one in tables(text) if "cost" in one)
    assert "Kind of each change." in costs and "change & kind \\\\" in costs
    assert {len(row) for row in rows(costs)} == {2}


def test_everything_that_is_written_with_a_command_has_one(tmp_path: Path, fonts: Path) -> None:
    log = compiled(f"\\label{{tab:demo-1}}{escape(LETTERS)}\n", tmp_path, fonts)
    assert "Missing character" not in log and "invalid in math mode" not in log
