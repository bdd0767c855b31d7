"""Names that become folders of a home: none that a command or a file gives can leave it."""

from __future__ import annotations

import re

from ablations.errors import RequestError

_LONGEST = 200  # bytes of a study's name; file systems take 255
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # `digest` gives 20 hexadecimal digits


def is_identity(text: str) -> bool:
    """Return whether a text can be the identity of a run or a training."""
    return _IDENTITY.fullmatch(text) is not None


def checked_identity(text: str) -> str:
    """Return the identity of a run or a training, which a file may have given.

    Raises:
        RequestError: it is none.
    """
    if not is_identity(text):
        raise RequestError(
            f"the identity {text[:80]!r} of a run or a training: it has up to 64 letters, digits,"
            " '-' and '_', so what names this one is damaged"
        )
    return text


def checked_study(name: str) -> str:
    """Return the name of a study.

    Raises:
        RequestError: it could leave the home, or is hidden or too long.
    """
    plain = all(letter.isalnum() or letter in "-_." for letter in name)
    if not name or name[0] in ".-" or not plain or len(name.encode()) > _LONGEST:
        raise RequestError(
            f"the study name {name!r}: use letters, digits, '-', '_' and '.', at most {_LONGEST}"
            " bytes, a letter or digit first"
        )
    return name
