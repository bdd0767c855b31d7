"""What a user asks for, as one value: the identity of a study."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ablations.errors import RequestError
from ablations.plans import ESTIMANDS
from recipes.identity import digest
from recipes.leaf import nearest

MAX_SEEDS = 10_000
MAX_BUDGET = 10_000
_KIND_NAMES: dict[type, str] = {float: "a number"}
_LATER = (  # keys, in the order in which they came after the first version
    "recipe_of",
    "question",
    "budget",
    "interactions",
    "null",
    "noise",
    "rope",
    "until",
    "max_runs",
    "confirm",
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Base, components, design, seeds, data and settings: what decides which runs are made."""

    base: str
    add: str
    design: str = ""  # empty: the ladder, or auto where a question or a budget is given
    seeds: int = 3
    data: str | None = None  # None: the data set of the base where embedded, else digits
    settings: tuple[str, ...] = ()  # "path=value" of --set, in order
    skip_corrupt: bool = False
    recipe_of: str | None = None  # a family whose recipe the base gets; None: its own
    question: str | None = None  # one of ESTIMANDS; None: the design's own
    budget: int | None = None  # runs that may be spent; None: by `seeds`, as the design has it
    interactions: tuple[str, ...] = ()  # pairs of components, as "ra:sd"
    null: bool = False  # with arms that are the base again, and a dummy component
    noise: float | None = None  # sd between seeds, in points, that a plan counts with; None: known
    rope: float | None = None  # largest difference that counts as none, in points
    until: str | None = None  # "verdicts" or a half-width in points; None: `seeds` per arm
    max_runs: int | None = None  # of the whole study, where `until` adds seeds
    confirm: int = 0  # fresh seeds for the base and the arm that is chosen on minival

    def __post_init__(self) -> None:
        if not self.design:  # settled at once, so that a request is the same however it was asked
            asked = self.question is not None or self.budget is not None
            object.__setattr__(self, "design", "auto" if asked else "ladder")
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise RequestError(f"--seeds {self.seeds}: give a number from 1 to {MAX_SEEDS}")
        if self.question is not None and self.question not in ESTIMANDS:
            raise RequestError(
                f"--question {self.question!r}: choose from {', '.join(ESTIMANDS)}"
                f"{nearest(self.question, ESTIMANDS)}"
            )
        for key in ("budget", "max_runs", "confirm"):
            value = getattr(self, key)
            if value is not None and not (key == "confirm" or value >= 1) or (value or 0) < 0:
                raise RequestError(f"--{key.replace('_', '-')} {value}: give 1 or more")
        if self.budget is not None and self.budget > MAX_BUDGET:
            raise RequestError(f"--budget {self.budget}: give at most {MAX_BUDGET} runs")
        for key in ("noise", "rope"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise RequestError(f"--{key} {value:g}: give accuracy points above 0")
        if self.until is not None and self.until != "verdicts" and not _is_width(self.until):
            raise RequestError(
                f"--until {self.until!r}: give verdicts, or a half-width of intervals in accuracy"
                " points, as 0.2"
            )
        if self.max_runs is not None and self.until is None:
            raise RequestError(
                f"--max-runs {self.max_runs} bounds the seeds that --until adds: give --until too"
            )

    def name(self) -> str:
        """Return the default name of the study: readable, and a digest of the request."""
        stem = "".join(letter if letter.isalnum() else "-" for letter in self.base.lower())[-40:]
        return f"{stem.strip('-')}-{self.design}-{digest(self.plain())[:8]}"

    def plain(self) -> dict[str, Any]:
        """Return the request as YAML and JSON hold it; what came later only where it is used."""
        found = dataclasses.asdict(self) | {"settings": list(self.settings)}
        found["interactions"] = list(self.interactions)
        for key in _LATER:  # so that older studies keep their names
            if not found[key]:
                del found[key]
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
    if isinstance(tree.get("until"), int | float) and not isinstance(tree["until"], bool):
        tree = {**tree, "until": f"{tree['until']:g}"}
    kinds = {"base": str, "add": str, "design": str, "seeds": int, "skip_corrupt": bool}
    kinds |= {"null": bool, "confirm": int}
    optional = {"question": str, "budget": int, "noise": float, "rope": float}
    optional |= {"until": str, "max_runs": int}
    for key, kind in (kinds | optional).items():
        value = tree.get(key)
        if key not in tree or (key in optional and value is None):
            continue
        right = isinstance(value, int | float if kind is float else kind)
        if not right or isinstance(value, bool) and kind is not bool:
            wrong.append(f"{key} = {value!r} is not {_KIND_NAMES.get(kind, kind.__name__)}")
    interactions = tree.get("interactions") or []
    if not isinstance(interactions, list | tuple) or not all(
        isinstance(word, str) for word in interactions
    ):
        wrong.append(f"interactions = {interactions!r} is not a list of pairs such as ra:sd")
    if not isinstance(tree.get("recipe_of"), str | None):
        wrong.append(f"recipe_of = {tree['recipe_of']!r} is not a family such as resnet_rs")
    if not isinstance(tree.get("data"), str | None):
        wrong.append(f"data = {tree['data']!r} is not a text such as cifar10:DIR")
    settings = tree.get("settings") or []
    if not isinstance(settings, list) or not all(isinstance(word, str) for word in settings):
        wrong.append(f"settings = {settings!r} is not a list of path=value texts")
    if wrong:
        raise RequestError("\n".join(f"{source}: {problem}" for problem in wrong))
    return Request(
        **{**tree, "settings": tuple(settings), "interactions": tuple(interactions)},
    )


def _is_width(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
