from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from ablations.report import TEXTS, render
from recipes import RecipeError


def contrast(label: str, delta: float | None, **changes: Any) -> dict[str, Any]:
    applied = delta is not None
    return {
        "label": label,
        "base": "tiny",
        "component": "ls",
        "kind": "regularization",
        "outcome": "applied" if applied else "not_applicable",
        "edits": {"loss.label_smoothing": 0.1, "optim.schedule": "a, 'b' \"c\""},
        "control": "base" if applied else None,
        "treatment": label[1:] if applied else None,
        "estimand": "in_order",
        "delta": delta,
        "interval": None if delta is None else [delta - 0.25, delta + 0.5],
        "level": 0.95,
        "n": 3 if applied else 0,
        "error_df": 8 if applied else None,
        "verdict": "helps" if applied else None,
        "p": 0.01 if applied else None,
        "p_holm": 0.00002 if applied else None,
        "cost": {
            "params": 11_000_000 if applied else None,
            "macs": 5_400_000_000 if applied else None,
            "train_images_per_second": 321.4 if applied else None,
            "peak_memory_bytes": 2_500_000 if applied else None,
            "seconds": 123.4 if applied else None,
        },
    } | changes


def example(*contrasts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    effect = {"delta": 3.0, "interval": [2.4, 3.8], "n": 3, "verdict": "helps"}
    other = {"delta": 1.5, "interval": [1.0, 2.0], "n": 3, "verdict": "helps"}
    base = {"recipe": "tiny", "value": 85.125, "interval": [84.5, 85.75], "n": 3}
    return {
        "schema_version": 1,
        "study": "demo",
        "design": "ladder",
        "metric": "top1",
        "protocol": {"split": "validation", "resolution": 16},
        "data": "digits",
        "seeds": [0, 1, 2],
        "base": base,
        "bases": [base],
        "contrasts": list(contrasts) or [contrast("+ls", 1.5), contrast("+se", None)],
        "split": {
            "by_ladder": {"training": effect, "architecture": other},
            "by_blocks": {
                "training": effect,
                "architecture": other,
                "interaction": {"delta": -0.5, "interval": None, "n": 3, "verdict": None},
            },
        },
        "runs": [
            {
                "id": str(seed),
                "arm": "ls",
                "seed": seed,
                "status": status,
                "value": value,
                "seconds": 1.0,
            }
            for seed, status, value in (
                (0, "finished", 86.0),
                (1, "finished", 87.0),
                (2, "diverged", None),
            )
        ],
        "notes": ["+se is not applicable: there is no block"],
    } | changes


def markdown_rows(text: str) -> list[list[str]]:
    """Return the cells of all tables as GitHub reads them, without the rulers."""
    rows = []
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| :---"):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            rows.append([re.sub(r"\\(.)", r"\1", cell.strip()) for cell in cells])
    return rows


def test_json_is_the_document() -> None:
    assert json.loads(render(example(), "json")) == example()


def test_csv_has_a_row_per_contrast_and_every_number_in_full() -> None:
    found = example(contrast("+ra(layers=2, magnitude=15)", 1 / 3), contrast("+se", None))
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert len(rows) == 2
    first, second = rows
    assert first["label"] == "+ra(layers=2, magnitude=15)"
    assert float(first["delta"]) == 1 / 3
    assert [float(first[key]) for key in ("low", "high")] == found["contrasts"][0]["interval"]
    assert (first["n"], first["params"], first["seconds"]) == ("3", "11000000", "123.4")
    assert json.loads(first["edits"]) == found["contrasts"][0]["edits"]
    assert (second["delta"], second["low"], second["verdict"]) == ("", "", "")
    assert (second["outcome"], second["n"]) == ("not_applicable", "0")
    named = set(found["contrasts"][0]) - {"interval", "cost"} | set(found["contrasts"][0]["cost"])
    assert named | {"low", "high", "study", "data"} == set(first)


def test_markdown_tables_read_back() -> None:
    header, applied, other = markdown_rows(render(example(), "markdown"))
    found = dict(zip(header, applied, strict=True))
    assert found == {
        "change": "+ls",
        "kind": "regularization",
        "value": "86.50",
        "delta": "+1.50",
        "interval": "[1.25, 2.00]",
        "n": "3",
        "p (Holm)": "<0.001",
        "verdict": "helps",
        "parameters": "11000000",
        "multiply-adds": "5.4G",
        "images/s": "321",
        "memory": "2.5MB",
        "seconds": "123",
    }
    assert dict(zip(header, other, strict=True))["verdict"] == "not applicable"


@pytest.mark.parametrize(
    "name", ["a|b", "a\nb", "a\\|b", "`a` *b* _c_ <b>d</b> [e](f)", "a\r\n\r\nb"]
)
def test_no_name_and_no_error_breaks_a_markdown_table(name: str) -> None:
    text = render(example(contrast(f"+{name}", 1.0), notes=[name]), "markdown")
    header, row = markdown_rows(text)
    assert len(row) == len(header)
    assert row[0] == "+" + " ".join(name.split())
    assert text.splitlines()[-1].startswith("- ")


def test_table_starts_with_what_was_measured_and_names_the_demonstration() -> None:
    lines = render(example(), "table").splitlines()
    assert lines[0] == (
        "top1 in percent on the digits demonstration; validation at 16 px; seeds 0, 1, 2;"
        " 95 % intervals"
    )
    assert "demonstration" not in render(example(data="cifar10:/data"), "table")
    assert "top1 in percent on cifar10:/data" in render(example(data="cifar10:/data"), "table")
    assert "; 9 seeds;" in render(example(seeds=list(range(9))), "table")
    assert "; seed 0;" in render(example(seeds=[0]), "table")


def test_what_has_no_seeds_and_no_intervals_is_not_said_to_have_them() -> None:
    base = {"recipe": "tiny", "value": 85.125, "interval": None, "n": 1}
    found = example(contrast("+ls", 1.0, interval=None), seeds=[], base=base)
    lines = render(found, "table").splitlines()
    assert lines[0].endswith("validation at 16 px; no seeds")
    assert lines[2] == "base tiny  85.12  n 1"
    assert "Base tiny: 85.12, n 1" in render(found, "markdown")


def test_table_holds_every_number_and_lines_up() -> None:
    text = render(example(), "table")
    assert re.search(r"^base tiny  85\.\d\d \[84.50, 85.75\]  n 3$", text, re.M)
    header = next(line for line in text.splitlines() if line.startswith("change"))
    applied = next(line for line in text.splitlines() if line.startswith("+ls"))
    assert applied.split() == [
        "+ls", "regularization", "86.50", "+1.50", "[1.25,", "2.00]", "3", "123", "helps",
    ]  # fmt: skip
    assert header.index("verdict") == applied.index("helps")
    assert header.index("kind") == applied.index("regularization")
    assert header.index("value") + len("value") == applied.index("86.50") + len("86.50")
    assert re.search(r"^\+se .* - .* 0 .* not applicable$", text, re.M)
    assert "- +se is not applicable: there is no block" in text


def test_table_names_the_question_of_each_group() -> None:
    found = example(contrast("+ls", 1.0), contrast("+sd", 1.0, estimand="alone"))
    text = render(found, "table")
    assert "in order: each on top of those before it" in text
    assert "alone: each by itself on the base" in text


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_the_split_is_told_in_words(format: str) -> None:
    text = " ".join(render(example(), format).replace("\\", "").split())
    training = "training +3.00 (67 %) [2.40, 3.80] helps"
    ladder = f"{training}, architecture +1.50 (33 %) [1.00, 2.00] helps of +4.50"
    assert f"by ladder: {ladder} points" in text
    assert f"by blocks: {ladder} points; interaction -0.50" in text


@pytest.mark.parametrize(
    ("training", "architecture", "told"),
    [
        ((3.2, None), (1.2, None), "training +3.20 (73 %), architecture +1.20 (27 %)"),
        ((-1.0, "hurts"), (-3.0, "hurts"), "-1.00 (25 %) hurts, architecture -3.00 (75 %) hurts"),
        ((1.0, "helps"), (0.001, None), "+1.00 (100 %) helps, architecture +0.00 (0 %)"),
        ((3.2, "helps"), (-1.2, "hurts"), "training +3.20 helps, architecture -1.20 hurts"),
        ((3.2, "helps"), (0.0, None), "training +3.20 helps, architecture +0.00 of"),
        ((3.2, "helps"), (1.2, "unresolved"), "training +3.20 helps, architecture +1.20 unres"),
        ((3.2, "equal"), (1.2, "helps"), "training +3.20 equal, architecture +1.20 helps"),
        ((3.2, None), (None, None), "training +3.20, architecture -"),
    ],
)
def test_shares_are_told_where_both_sides_are_parts_of_the_whole(
    training: tuple[float | None, str | None],
    architecture: tuple[float | None, str | None],
    told: str,
) -> None:
    sides = {
        name: {"delta": delta, "interval": None, "n": 1, "verdict": verdict}
        for name, (delta, verdict) in (("training", training), ("architecture", architecture))
    }
    text = render(example(split={"by_ladder": sides, "by_blocks": None}), "table")
    assert told in " ".join(text.split())


def test_a_split_that_nobody_can_estimate_is_left_out() -> None:
    nothing = {"delta": None, "interval": None, "n": 0, "verdict": None}
    sides = {"training": nothing, "architecture": nothing}
    text = render(example(split={"by_ladder": sides, "by_blocks": None}), "table")
    assert "by ladder" not in text and "by blocks" not in text
    one = {"training": {**nothing, "delta": 1.0}, "architecture": {**nothing}}
    text = render(example(split={"by_ladder": one, "by_blocks": None}), "table")
    assert "by ladder: training +1.00, architecture -\n" in text


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_a_difference_that_rounds_to_zero_has_no_minus(format: str) -> None:
    text = render(example(contrast("+ls", -0.001)), format)
    assert "+0.00" in text and "-0.00 " not in text


def test_table_fits_a_terminal_whatever_the_names() -> None:
    long = "+somebody.package.module:AVeryLongNameOfAComponent(first=0.123456789, second=[1, 2, 3])"
    found = example(
        contrast(long * 2, -101.25, kind="regularization", verdict="unresolved"),
        contrast("+ls", None, outcome="already_present"),
        data="imagefolder:/" + "very_long/" * 20,
        notes=["word " * 60, "x" * 300],
    )
    lines = render(found, "table").splitlines()
    assert max(map(len, lines)) <= 100
    assert "-101.25" in "\n".join(lines) and "AVeryLong" in "\n".join(lines)


@pytest.mark.parametrize("format", TEXTS)
def test_every_format_is_ascii_and_ends_in_one_line_break(format: str) -> None:
    text = render(example(), format)
    assert text.isascii()
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        RecipeError,
        match="no format 'markdwn': the formats are table, .*, csv, latex; .* 'markdown'",
    ):
        render(example(), "markdwn")
