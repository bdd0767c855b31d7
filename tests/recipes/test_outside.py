"""A user's own callables: found by name, known by their source, refused where they cannot be."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recipes import Recipe, RecipeError, dumps, edit, fingerprint, hook, loads, trajectory
from recipes.outside import load_target, source_digest

_TEXT = "def mine(logits, targets, k=1):\n    return logits\n"


def test_a_hook_is_called_by_name_with_its_arguments(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    module = user_module("mine_hook", _TEXT)
    made = hook("loss", module.mine, k=2, a="x")
    assert made.target == "mine_hook:mine"
    assert made.arguments == (("a", "x"), ("k", 2))
    assert load_target(made.target) is module.mine


def test_a_changed_source_is_another_recipe(
    user_module: Callable[[str, str], ModuleType], base: Recipe
) -> None:
    made = hook("loss", user_module("mine_change", _TEXT).mine)
    again = hook("loss", user_module("mine_change", _TEXT).mine)
    changed = hook("loss", user_module("mine_change", _TEXT + "\n# other\n").mine)
    found = [edit(base, {"custom.mine": value}) for value in (made, again, changed)]
    assert fingerprint(found[0]) == fingerprint(found[1]) != fingerprint(found[2])
    assert trajectory(found[0]) != trajectory(found[2])


def test_other_arguments_are_another_recipe(
    user_module: Callable[[str, str], ModuleType], base: Recipe
) -> None:
    mine = user_module("mine_arguments", _TEXT).mine
    found = {
        fingerprint(edit(base, {"custom.mine": hook("loss", mine, **arguments)}))
        for arguments in ({}, {"k": 1}, {"k": 2}, {"k": "1"})
    }
    assert len(found) == 4


def test_a_hook_reads_back_from_yaml(
    user_module: Callable[[str, str], ModuleType], base: Recipe
) -> None:
    mine = user_module("mine_yaml", _TEXT).mine
    made = hook("loss", mine, k=2, share=1 / 3, word="on", on=True)
    recipe = edit(base, {"custom.mine": made})
    assert loads(dumps(recipe)) == recipe


@pytest.mark.parametrize(
    "function",
    [lambda x: x, functools.partial(print, end=""), load_target.__call__, object()],
    ids=["lambda", "partial", "method", "object"],
)
def test_what_cannot_be_found_again_by_name_is_refused(function: Any) -> None:
    with pytest.raises(RecipeError, match="is not a function at the top level of a module"):
        hook("loss", function)


def test_a_closure_is_refused() -> None:
    def inner(x: Any) -> Any:
        return x

    with pytest.raises(RecipeError, match="is not a function at the top level of a module"):
        hook("loss", inner)


def test_a_function_without_a_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="has no source file, so a change of it could not be"):
        hook("loss", len)


def test_an_unknown_place_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no hook 'modle'; the hooks are model, batch, .*'model'"):
        hook("modle", load_target)


def test_an_argument_may_be_called_as_ours() -> None:
    assert hook("loss", load_target, place="x", function="y").arguments == (
        ("function", "y"),
        ("place", "x"),
    )


def test_arguments_must_be_plain(base: Recipe) -> None:
    made = hook("loss", load_target, k=[1])  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"custom.mine: k = \[1\] is not a word, a finite"):
        edit(base, {"custom.mine": made})


def test_a_wrapped_function_is_known_by_its_own_file(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    text = "import functools\ndef mine(x): return x\n"
    user_module("mine_inner", text)
    outer = user_module(
        "mine_outer",
        "import functools, mine_inner\n@functools.wraps(mine_inner.mine)\ndef mine(x): return x\n",
    )
    assert source_digest(outer.mine) == source_digest(sys.modules["mine_inner"].mine)


def test_the_current_folder_is_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_here.py").write_text("value = 3\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    assert load_target("mine_here:value") == 3
    del sys.modules["mine_here"]


@pytest.mark.parametrize("target", ["", "x", ":", "x:", ":x", "a:b:c", "..:x", "a b:c"])
def test_what_is_not_a_target_is_refused(target: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(repr(target))):
        load_target(target)
