"""Any text as LaTeX that pdflatex sets, in ASCII, so that it does not matter how files are read.

What LaTeX has a command for is written with it; of accents, the first that it has is put onto the
letter, and the others are left out. What it cannot set (another script, a control character, an
emoji) is shown by its number, as `U+4E2D`.
"""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 24  # letters of a word before LaTeX may break it where it usually would not
_PIECE = 12  # letters of such a word before it may break between any two

_ASCII = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # These print as other characters in LaTeX's first encoding.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    # These are options to what stands before them, at the beginning of a row or an item.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
_SIGNS = {
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{DIVISION SIGN}": r"$\div$",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MIDDLE DOT}": r"\textperiodcentered{}",
    "\N{DEGREE SIGN}": r"$^{\circ}$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{NOT EQUAL TO}": r"$\neq$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{TILDE OPERATOR}": r"$\sim$",
    "\N{INFINITY}": r"$\infty$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{LEFTWARDS ARROW}": r"$\leftarrow$",
    "\N{LEFT RIGHT ARROW}": r"$\leftrightarrow$",
    "\N{SUPERSCRIPT ONE}": "$^{1}$",
    "\N{SUPERSCRIPT TWO}": "$^{2}$",
    "\N{SUPERSCRIPT THREE}": "$^{3}$",
    "\N{VULGAR FRACTION ONE HALF}": "1/2",
    "\N{VULGAR FRACTION ONE QUARTER}": "1/4",
    "\N{VULGAR FRACTION THREE QUARTERS}": "3/4",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{HYPHEN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{SOFT HYPHEN}": "",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "\N{BULLET}": r"\textbullet{}",
    "\N{SECTION SIGN}": r"\S{}",
    "\N{PILCROW SIGN}": r"\P{}",
    "\N{DAGGER}": r"\dag{}",
    "\N{DOUBLE DAGGER}": r"\ddag{}",
    "\N{POUND SIGN}": r"\pounds{}",
    "\N{COPYRIGHT SIGN}": r"\copyright{}",
    "\N{INVERTED EXCLAMATION MARK}": r"\textexclamdown{}",
    "\N{INVERTED QUESTION MARK}": r"\textquestiondown{}",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN CAPITAL LETTER AE}": r"\AE{}",
    "\N{LATIN SMALL LIGATURE OE}": r"\oe{}",
    "\N{LATIN CAPITAL LIGATURE OE}": r"\OE{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\O{}",
    "\N{LATIN SMALL LETTER L WITH STROKE}": r"\l{}",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
    "\N{GREEK SMALL LETTER FINAL SIGMA}": r"$\varsigma$",
    # Without a command in LaTeX's first encoding.
    "\N{LATIN SMALL LETTER ETH}": "dh",
    "\N{LATIN CAPITAL LETTER ETH}": "Dh",
    "\N{LATIN SMALL LETTER THORN}": "th",
    "\N{LATIN CAPITAL LETTER THORN}": "Th",
    "\N{LATIN SMALL LETTER D WITH STROKE}": "d",
    "\N{LATIN CAPITAL LETTER D WITH STROKE}": "D",
    "\N{EURO SIGN}": "EUR",
    "\N{MICRO SIGN}": r"$\mu$",
}
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")  # in the names of characters
_LIKE_LATIN = {  # Greek letters without a command: capitals, and a small one
    "ALPHA": "A",
    "BETA": "B",
    "EPSILON": "E",
    "ZETA": "Z",
    "ETA": "H",
    "IOTA": "I",
    "KAPPA": "K",
    "MU": "M",
    "NU": "N",
    "OMICRON": "O",
    "RHO": "P",
    "TAU": "T",
    "CHI": "X",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": r"\`",
    "\N{COMBINING ACUTE ACCENT}": r"\'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": r"\^",
    "\N{COMBINING TILDE}": r"\~",
    "\N{COMBINING MACRON}": r"\=",
    "\N{COMBINING BREVE}": r"\u",
    "\N{COMBINING DOT ABOVE}": r"\.",
    "\N{COMBINING DIAERESIS}": r"\"",
    "\N{COMBINING RING ABOVE}": r"\r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": r"\H",
    "\N{COMBINING CARON}": r"\v",
    "\N{COMBINING CEDILLA}": r"\c",
    "\N{COMBINING DOT BELOW}": r"\d",
    "\N{COMBINING MACRON BELOW}": r"\b",
}
_BELOW = "\N{COMBINING CEDILLA}\N{COMBINING DOT BELOW}\N{COMBINING MACRON BELOW}"
_LIGATURES = ("--", "''", "``", ",,", "?`", "!`")  # LaTeX makes one other character of each
_BREAKS = re.compile(r"(?<=[/_.,=:()-])(?=[^/_.,=:()-])")


def escape(text: str) -> str:
    """Return text, on one line, as LaTeX prints it in a paragraph, a cell or a caption."""
    return " ".join(_word(word) for word in unicodedata.normalize("NFC", text).split())


def comment(text: str) -> str:
    """Return text as lines that LaTeX passes over."""
    letters = " ".join(text.split())
    plain = "".join(one if " " <= one <= "~" else f"<{_number(one)}>" for one in letters)
    return f"% {plain}"


def name(text: str) -> str:
    """Return text as part of a label: letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "study"


def _word(word: str) -> str:
    """Return a word; LaTeX may break a long one after punctuation, as it does after a hyphen."""
    if len(word) <= _LONGEST:
        return _plain(word)
    pieces = (
        piece[start : start + _PIECE]
        for piece in _BREAKS.split(word)
        for start in range(0, len(piece), _PIECE)
    )
    return r"\allowbreak{}".join(map(_plain, pieces))


def _plain(text: str) -> str:
    parts, unknown = [], []
    for place, letter in enumerate(text):
        found = _letter(letter)
        if found is None:
            unknown.append(_number(letter))
            continue
        apart = "{}" if text[place - 1 : place + 1] in _LIGATURES else ""
        parts += [_shown(unknown), apart, found]
        unknown = []
    return "".join([*parts, _shown(unknown)])


def _letter(letter: str) -> str | None:
    """Return one character as LaTeX has it; None: it has none."""
    if letter in _ASCII:
        return _ASCII[letter]
    if " " <= letter <= "~":
        return letter
    if letter in _SIGNS:
        return _SIGNS[letter]
    if "\N{GREEK CAPITAL LETTER ALPHA}" <= letter <= "\N{GREEK SMALL LETTER OMEGA}":
        return _greek(letter)
    parts = unicodedata.normalize("NFD", letter)
    base, marks = parts[0], parts[1:]
    if base.isascii() and base.isalpha():
        mark = next((one for one in marks if one in _ACCENTS), None)
        if mark is None:
            return base
        bare = rf"\{base}" if base in "ij" and mark not in _BELOW else base
        return f"{{{_ACCENTS[mark]}{{{bare}}}}}"
    alike = unicodedata.normalize("NFKD", letter)  # as of a ligature, or a wide letter
    plain = alike.isascii() and alike.isprintable() and alike != letter
    return "".join(_ASCII.get(one, one) for one in alike) if plain else None


def _greek(letter: str) -> str | None:
    found = _GREEK.fullmatch(unicodedata.name(letter, ""))
    if found is None:
        return None
    case, word = found[1], {"LAMDA": "LAMBDA"}.get(found[2], found[2])
    if word == "OMICRON" or case == "CAPITAL" and word in _LIKE_LATIN:
        return _LIKE_LATIN[word] if case == "CAPITAL" else _LIKE_LATIN[word].lower()
    return rf"$\{word.lower() if case == 'SMALL' else word.capitalize()}$"


def _number(letter: str) -> str:
    return f"U+{ord(letter):04X}"


def _shown(numbers: list[str]) -> str:
    return rf"\texttt{{{' '.join(numbers)}}}" if numbers else ""
