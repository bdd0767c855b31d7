"""Text as LaTeX: laws that hold for any text. That pdflatex takes it is tested in test_latex.py."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.report.tex import comment, escape, name

ANY = st.text(st.characters(), max_size=60)  # surrogates and control characters too
ESCAPED = re.compile(
    r"\\(?:[{}$&#%_]|[A-Za-z]+(?![A-Za-z])|[`'^~=.\"])"  # a command
    r"|\$\^\{[0-9]\}\$|\$\^\{\\circ\}\$|\$\\[A-Za-z]+\$|\$-\$"  # a formula of ours
)


@given(ANY)
def test_any_text_is_one_line_of_ascii_without_a_special_character(text: str) -> None:
    found = escape(text)
    assert found.isascii() and found.isprintable()
    rest = ESCAPED.sub("", found)
    assert not set(rest) & set('\\$&#%_~^<>|"')
    depth = 0
    for letter in rest:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0


@given(ANY)
def test_a_row_or_an_item_never_begins_with_an_option(text: str) -> None:
    assert not escape(text).startswith(("[", "*"))


@given(ANY)
def test_a_comment_is_one_line_of_ascii(text: str) -> None:
    found = comment(text)
    assert found.startswith("% ") and found.isascii() and found.isprintable()


@given(ANY)
def test_a_label_is_letters_digits_and_hyphens(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name(text))


@given(st.text(st.sampled_from("-`',?!a"), max_size=12))
def test_no_two_characters_become_one(text: str) -> None:
    found = escape(text)
    assert found.replace("{}", "") == text or r"\allowbreak" in found
    assert not any(pair in found for pair in ("--", "``", "''", ",,", "?`", "!`"))


@given(st.text(st.characters(categories=("Lu", "Ll")), min_size=25, max_size=60))
def test_a_long_word_may_be_broken_and_keeps_its_letters(text: str) -> None:
    pieces = escape(text).split(r"\allowbreak{}")
    assert len(pieces) > 1
    assert len("".join(pieces)) >= len(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain words, 95 of them", "plain words, 95 of them"),
        ("a_b & 5 % of #1 {x}", r"a\_b \& 5 \% of \#1 \{x\}"),
        (r"C:\x ~ ^", r"C:\textbackslash{}x \textasciitilde{} \textasciicircum{}"),
        ("[a] *", "{[}a{]} {*}"),
        ("--rope", "-{}-rope"),
        ("2 × 3 − 1 ± µ", r"2 $\times$ 3 $-$ 1 $\pm$ $\mu$"),
        ("é è ñ ç ö å ï", r"{\'{e}} {\`{e}} {\~{n}} {\c{c}} {\"{o}} {\r{a}} {\"{\i}}"),
        ("e\N{COMBINING ACUTE ACCENT}", r"{\'{e}}"),
        ("ế", r"{\^{e}}"),  # of two accents the first
        ("ą ł ß ð", r"a \l{} \ss{} dh"),
        ("α Σ ς Ο Α", r"$\alpha$ $\Sigma$ $\varsigma$ O A"),
        ("ﬁ ĳ ２", "fi ij 2"),
        ("中文 😀", r"\texttt{U+4E2D U+6587} \texttt{U+1F600}"),
        ("a\x07b \x00 \udcff", r"a\texttt{U+0007}b \texttt{U+0000} \texttt{U+DCFF}"),
        ("x\N{RIGHT-TO-LEFT OVERRIDE}y", r"x\texttt{U+202E}y"),
        (" two\n\nlines\t", "two lines"),
        ("", ""),
    ],
)
def test_what_latex_has_is_written_with_it(text: str, wanted: str) -> None:
    assert escape(text) == wanted


def test_a_long_name_may_be_broken_after_its_punctuation() -> None:
    found = escape("package.module:AComponent(layers=2)")
    assert found == (
        r"package.\allowbreak{}module:\allowbreak{}AComponent(\allowbreak{}layers=\allowbreak{}2)"
    )
