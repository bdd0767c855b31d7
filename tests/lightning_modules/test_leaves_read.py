"""No silent no-op: a leaf that nobody reads would be a treatment that is never applied."""

import ast
from pathlib import Path

import lightning_modules
from lightning_modules.knobs import KNOBS
from recipes.tree import SECTIONS, declarations

SOURCES = sorted(Path(str(lightning_modules.__file__)).parent.rglob("*.py"))


def read_paths(source: str) -> set[str]:
    """Return `section.name` for every `<...>.section.name` or `section.name` that is read."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        owner = node.value
        section = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)
        if section in SECTIONS:
            found.add(f"{section}.{node.attr}")
        elif section == "recipe":
            found.add(node.attr)
    return found


def test_every_leaf_is_read_by_the_interpreter():
    read = set(KNOBS).union(*(read_paths(path.read_text(encoding="utf-8")) for path in SOURCES))
    meant = {path for path, leaf in declarations().items() if leaf.hashed}
    assert sorted(meant - read) == []


def test_provenance_is_read_by_nobody():
    read = set().union(*(read_paths(path.read_text(encoding="utf-8")) for path in SOURCES))
    assert {path for path, leaf in declarations().items() if not leaf.hashed} & read == set()
