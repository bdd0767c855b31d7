"""`plan.json`: the tree of a `plan.yaml` once more, to be read in milliseconds.

Derived, and never believed by itself: it begins with the digest of the very text that it was read
from, and with one of its own. Where either does not fit, the YAML is read and this file is written
again. YAML of 1,000 arms takes many seconds, and every look at a study begins with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_modules.files import write_text

SCHEMA = 1
_TREE = ', "tree": '


def keep(path: Path, text: str, tree: Mapping[str, Any]) -> None:
    """Keep the tree of a plan beside it, once the whole plan has been found in order.

    A home that cannot be written is only slower to read.
    """
    body = json.dumps(tree, allow_nan=False)
    with contextlib.suppress(OSError):
        write_text(_beside(path), f"{_head(text, body)}{_TREE}{body}}}\n")


def kept(path: Path, text: str) -> dict[str, Any] | None:
    """Return the tree of a plan with this text; None: it has to be read from the text."""
    try:
        found = _beside(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head, _, rest = found.partition(_TREE)
    body = rest.removesuffix("}\n")
    if head != _head(text, body):
        return None
    tree: dict[str, Any] = json.loads(body)
    return tree


def _head(text: str, body: str) -> str:
    """Return how the file begins: JSON, up to its last bracket."""
    known = {"schema_version": SCHEMA, "plan": _digest(text), "tree_digest": _digest(body)}
    return json.dumps(known)[:-1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
