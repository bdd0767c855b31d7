"""Recipes and plans as YAML, both ways. The only file that uses OmegaConf.

OmegaConf reads the text; the tree is walked here, because OmegaConf stops at the first error and a
user wants all of them. Interpolations and resolvers are refused: they could read secrets.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.errors import RecipeError
from recipes.facts import Fact, Facts
from recipes.leaf import nearest
from recipes.recipe import Hook, Recipe
from recipes.schedule import Schedule, parse_scalar
from recipes.text import plain_value
from recipes.tree import SECTIONS, declarations, defaults, leaf_types, leaves, unknown_leaf
from recipes.validate import check, wanted

_YAML_WORDS = ("y", "yes", "true", "on", "n", "no", "false", "off")  # booleans, in some YAML
_TOP = (*SECTIONS, "task", "custom", "about")


def dumps(recipe: Recipe, about: Mapping[str, Any] | None = None) -> str:
    """Return the recipe as YAML: every leaf that is not off, by section."""
    tree = ({"about": dict(about)} if about else {}) | plain_recipe(recipe)
    if recipe.model.facts is not None:
        tree["model"]["facts"] = plain_facts(recipe.model.facts)
    return dump_tree(tree)


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return every leaf that is not off, by section, as plain dictionaries; without facts."""
    tree: dict[str, Any] = {}
    for path, value in leaves(recipe).items():
        if path not in defaults() or value != defaults()[path]:
            section, dot, name = path.partition(".")
            if dot:
                tree.setdefault(section, {})[name] = plain_value(value)
            else:
                tree[section] = plain_value(value)
    return tree


def loads(text: str, source: str = "the YAML") -> Recipe:
    """Read a complete recipe.

    Raises:
        RecipeError: malformed YAML, or every unknown key, missing leaf, wrong type and impossible
            value, told together, each with its path.
    """
    return from_tree(read_tree(text, source), source)


def load_file(path: Path) -> Recipe:
    """Read a recipe from a file; as `loads`."""
    return loads(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        RecipeError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not a text file in UTF-8") from None
    except ValueError as error:
        raise RecipeError(f"{str(path)!r} cannot be read: {error}") from None


def read_tree(
    text: str, source: str, holds: str = f"the sections {', '.join(SECTIONS)}"
) -> dict[str, Any]:
    """Read YAML into plain dictionaries; `holds` says what should stand in it, for messages.

    Raises:
        RecipeError: malformed YAML (with its line), or not a mapping at the top.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        # OmegaConf's limit on nodes is against aliases that multiply; a text without them has fewer
        # nodes than letters, and a plan of 100 arms has more than the default of 10,000.
        nodes = max(len(text), 10_000)
        tree = OmegaConf.create(text, max_yaml_expanded_nodes=nodes)
        found = OmegaConf.to_container(tree, resolve=False)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{source} is not well-formed YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, AssertionError) as error:
        # OmegaConf asserts that the top is not a number.
        reason = next(iter(str(error).splitlines()), "a value stands where sections should")
        raise RecipeError(f"{source} is not well-formed YAML: {reason}") from None
    if not found:
        raise RecipeError(f"{source} is empty; it should hold {holds}")
    if not isinstance(found, dict) or (len(found) == 1 and next(iter(found.values())) is None):
        raise RecipeError(f"{source} does not hold a mapping; it should hold {holds}")
    return {str(key): value for key, value in found.items()}


def dump_tree(tree: Mapping[str, Any]) -> str:
    """Return plain dictionaries as YAML in their own order, as OmegaConf writes it.

    Not by OmegaConf itself, which makes a node of every value first: 15 s for 1,000 arms.

    Raises:
        yaml.YAMLError: a value is not plain.
    """
    import yaml

    return yaml.dump(dict(tree), Dumper=_dumper(), allow_unicode=True, sort_keys=False)


def from_tree(tree: Mapping[str, Any], source: str) -> Recipe:
    """Build a recipe from plain dictionaries; as `loads`."""
    wrong = [f"there is no section {key!r}{nearest(key, _TOP)}" for key in tree if key not in _TOP]
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for section in SECTIONS:
        inside = tree.get(section) or {}
        if not isinstance(inside, Mapping):
            wrong.append(f"{section} = {inside!r} is not a mapping of leaves")
            continue
        for name, raw in inside.items():
            path = f"{section}.{name}"
            if path == "model.facts":
                continue
            if path not in declarations():
                wrong.append(unknown_leaf(path))
                continue
            try:
                values[section][name] = value = read_plain(raw, leaf_types()[path])
            except ValueError as error:
                wrong.append(f"{path}: {error}")
                continue
            problem = check(path, value, declarations()[path])
            wrong += [problem] if problem else []
        wrong += [
            f"{path} is missing: {declarations()[path].doc}; {wanted(path)}"
            for path in declarations()
            if path.startswith(f"{section}.")
            and path not in defaults()
            and path.partition(".")[2] not in inside
        ]
    task = tree.get("task", defaults()["task"])
    problem = check("task", task, declarations()["task"])
    wrong += [problem] if problem else []
    hooks, problems = _read_hooks(tree.get("custom") or {})
    wrong += problems
    if wrong:
        raise RecipeError([f"{source}: {problem}" for problem in wrong])
    sections = {section: owner(**values[section]) for section, owner in SECTIONS.items()}
    facts = (tree.get("model") or {}).get("facts")
    if facts is not None:
        sections["model"] = SECTIONS["model"](**values["model"], facts=read_facts(facts, source))
    try:
        return Recipe(**sections, custom=hooks, task=task)
    except RecipeError as error:
        raise RecipeError([f"{source}: {problem}" for problem in error.problems]) from None


def read_plain(raw: Any, kind: Any) -> Any:
    """Turn a plain YAML or JSON value into a leaf's: lists to tuples, schedules from text."""
    if isinstance(raw, str) and Schedule in typing.get_args(kind):
        return parse_scalar(raw)
    if isinstance(raw, str) and type(None) in typing.get_args(kind) and raw.lower() == "none":
        return None
    if kind is str and isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)  # precision: 32
    return tuple(raw) if isinstance(raw, list) else raw


def read_facts(tree: Any, source: str) -> Facts:
    """Read the facts of a backbone from plain dictionaries."""
    try:
        rows = tree.get("leaves") or {}
        unknown = {row["status"] for row in rows.values()} - {"can", "present", "cannot"}
        if unknown:
            raise ValueError(f"there is no status {', '.join(map(repr, unknown))}")
        return Facts(
            family=str(tree["family"]),
            input_size=int(tree["input_size"]),
            stages=int(tree["stages"]),
            batch_norm=bool(tree["batch_norm"]),
            fixed_size=bool(tree.get("fixed_size", False)),
            smallest_size=int(tree.get("smallest_size", 0)),
            layers=tuple(int(blocks) for blocks in tree.get("layers", ())),
            leaves=tuple(
                Fact(
                    path=path,
                    status=row["status"],
                    reason=row.get("reason", ""),
                    values=tuple(str(value) for value in row.get("values", ())),
                )
                for path, row in rows.items()
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{source}: model.facts is not as describe() writes it: {error}"
        ) from None


def plain_facts(facts: Facts) -> dict[str, Any]:
    """Return the facts of a backbone as plain dictionaries; `read_facts` reads them back."""
    return {
        "family": facts.family,
        "input_size": facts.input_size,
        "stages": facts.stages,
        "batch_norm": facts.batch_norm,
        **({"fixed_size": True} if facts.fixed_size else {}),
        **({"smallest_size": facts.smallest_size} if facts.smallest_size else {}),
        **({"layers": list(facts.layers)} if facts.layers else {}),
        "leaves": {
            fact.path: {"status": fact.status}
            | ({"reason": fact.reason} if fact.reason else {})
            | ({"values": list(fact.values)} if fact.values else {})
            for fact in facts.leaves
        },
    }


@functools.cache
def _dumper() -> Any:
    """Return a dumper that quotes the texts which OmegaConf would read as something else."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what two arms share is written out in both

    def text(dumper: Any, value: str) -> Any:
        quotes = "'" if value.lower() in _YAML_WORDS or _is_number(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=quotes)

    Dumper.add_representer(str, text)
    return Dumper


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_hooks(tree: Any) -> tuple[tuple[Hook, ...], list[str]]:
    hooks, wrong = [], []
    if not isinstance(tree, Mapping):
        return (), [f"custom = {tree!r} is not a mapping of hooks"]
    for name in tree:
        row = tree[name]
        keys = {"hook", "target", "source"}
        if not isinstance(row, Mapping) or not keys <= set(row) <= keys | {"arguments"}:
            wrong.append(f"custom.{name} needs hook, target and source (and may have arguments)")
            continue
        arguments = row.get("arguments") or {}
        if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
            wrong.append(f"custom.{name}: arguments = {arguments!r} is not a mapping of names")
            continue
        hooks.append(
            Hook(
                name=str(name),
                hook=row["hook"],
                target=row["target"],
                arguments=tuple(sorted(arguments.items())),
                source=row["source"],
            )
        )
    return tuple(hooks), wrong
