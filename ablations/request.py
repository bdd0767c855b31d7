"""What a user asks for, as one value: the identity of a study."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ablations.errors import RequestError
from recipes.identity import digest
from recipes.leaf import nearest

MAX_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """Base, components, design, seeds, data and settings: what decides which runs are made."""

    base: str
    add: str
    design: str = "ladder"
    seeds: int = 3
    data: str | None = None  # None: the data set of the base where embedded, else digits
    settings: tuple[str, ...] = ()  # "path=value" of --set, in order
    skip_corrupt: bool = False
    recipe_of: str | None = None  # a family whose recipe the base gets; None: its own

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise RequestError(f"--seeds {self.seeds}: give a number from 1 to {MAX_SEEDS}")

    def name(self) -> str:
        """Return the default name of the study: readable, and a digest of the request."""
        stem = "".join(letter if letter.isalnum() else "-" for letter in self.base.lower())[-40:]
        return f"{stem.strip('-')}-{self.design}-{digest(self.plain())[:8]}"

    def plain(self) -> dict[str, Any]:
        """Return the request as YAML and JSON hold it; what came later only where it is used."""
        found = dataclasses.asdict(self) | {"settings": list(self.settings)}
        if self.recipe_of is None:  # so that older studies keep their names
            del found["recipe_of"]
        return found


def from_plain(tree: Any, source: str) -> Request:
    """Read a request from a YAML file's mapping.

    Raises:
        RequestError: unknown or missing keys, or values of a wrong type, told together.
    """
    if isinstance(tree, dict) and isinstance(tree.get("add"), list):  # a list, as YAML has them
        tree = {**tree, "add": ",".join(str(part) for part in tree["add"])}
    if not isinstance(tree, dict):
        raise RequestError(f"{source} does not hold a mapping with base and add")
    fields = {entry.name: entry for entry in dataclasses.fields(Request)}
    wrong = [f"unknown key {key!r}{nearest(key, fields)}" for key in tree if key not in fields]
    wrong += [f"{key} is missing" for key in ("base", "add") if key not in tree]
    kinds = {"base": str, "add": str, "design": str, "seeds": int, "skip_corrupt": bool}
    for key, kind in kinds.items():
        if key in tree and (not isinstance(tree[key], kind) or tree[key] is True and kind is int):
            wrong.append(f"{key} = {tree[key]!r} is not {kind.__name__}")
    if not isinstance(tree.get("recipe_of"), str | None):
        wrong.append(f"recipe_of = {tree['recipe_of']!r} is not a family such as resnet_rs")
    if not isinstance(tree.get("data"), str | None):
        wrong.append(f"data = {tree['data']!r} is not a text such as cifar10:DIR")
    settings = tree.get("settings") or []
    if not isinstance(settings, list) or not all(isinstance(word, str) for word in settings):
        wrong.append(f"settings = {settings!r} is not a list of path=value texts")
    if wrong:
        raise RequestError("\n".join(f"{source}: {problem}" for problem in wrong))
    return Request(**{**tree, "settings": tuple(settings)})
