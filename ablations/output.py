"""What a command says: its result on stdout, or in a file; everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ablations.errors import RequestError


def show_result(text: str) -> None:
    """Print a result; a reader that leaves, as `ablate ... | head` does, is no error."""
    try:
        print(text, end="\n" if text else "", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RequestError(f"the result cannot be written: {error.strerror}") from None


def deliver(text: str, output: Path | None) -> None:
    """Print a result, or write it to a file."""
    if output is None:
        show_result(text.rstrip("\n"))
        return
    from lightning_modules.files import write_text

    try:
        if output.exists() and not output.is_file():  # a pipe or device: never replaced
            output.write_text(text, encoding="utf-8")
        else:
            write_text(output.resolve(), text)
    except OSError as error:
        raise RequestError(f"{output} cannot be written: {error.strerror}") from None


def as_json(value: Any) -> str:
    """Return plain values as JSON."""
    return json.dumps(value, indent=2, allow_nan=False)


def say(text: str) -> None:
    """Say something beside the result, in signs that a terminal shows; an empty text is none."""
    shown = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
    if shown:
        print(shown, file=sys.stderr, flush=True)


def agreed(words: str) -> bool:
    """Ask on a terminal; elsewhere go on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"This takes {words}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
