"""`plan.json`: the tree of a `plan.yaml` once more, to be read in milliseconds.

Derived, and never believed by itself: it carries the digest of the very text that it was read from,
and one of its own. Where either does not fit, the YAML is read and this file is written again.
YAML of 1,000 arms takes many seconds, and every look at a study begins with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.ledger import recall
from lightning_modules.files import write_text
from recipes.identity import digest

SCHEMA = 1


def keep(path: Path, text: str, tree: Mapping[str, Any]) -> None:
    """Keep the tree of a plan beside it, once the whole plan has been found in order.

    A home that cannot be written is only slower to read.
    """
    row = {"schema_version": SCHEMA, "plan": digest(text), "digest": digest(tree), "tree": tree}
    with contextlib.suppress(OSError):
        write_text(_beside(path), json.dumps(row, allow_nan=False) + "\n")


def kept(path: Path, text: str) -> dict[str, Any] | None:
    """Return the tree of a plan with this text; None: it has to be read from the text."""
    found = recall(_beside(path))
    tree = found.get("tree")
    if found.get("schema_version") != SCHEMA or found.get("plan") != digest(text):
        return None
    return tree if isinstance(tree, dict) and found.get("digest") == digest(tree) else None


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
