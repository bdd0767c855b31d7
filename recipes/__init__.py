"""Training recipes as data: recipes, components, their grammar and the library. No torch."""

from recipes.component import (
    AlreadyPresent,
    Applied,
    Component,
    NotApplicable,
    Outcome,
    apply,
    stack,
)
from recipes.errors import RecipeError
from recipes.facts import Fact, Facts
from recipes.identity import fingerprint, trajectory
from recipes.kind import Kind
from recipes.library import load
from recipes.outside import hook
from recipes.recipe import (
    Augment,
    Data,
    Evaluate,
    Hook,
    Loss,
    Model,
    Optim,
    Recipe,
)
from recipes.schedule import Scalar, Schedule, at, cosine, linear, peak, step
from recipes.spec import Levels, format_spec, parse, parse_levels
from recipes.tree import diff, edit, leaves
from recipes.yaml import dumps, loads

__all__ = [
    "AlreadyPresent",
    "Applied",
    "Augment",
    "Component",
    "Data",
    "Evaluate",
    "Fact",
    "Facts",
    "Hook",
    "Kind",
    "Levels",
    "Loss",
    "Model",
    "NotApplicable",
    "Optim",
    "Outcome",
    "Recipe",
    "RecipeError",
    "Scalar",
    "Schedule",
    "apply",
    "at",
    "cosine",
    "diff",
    "dumps",
    "edit",
    "fingerprint",
    "format_spec",
    "hook",
    "leaves",
    "linear",
    "load",
    "loads",
    "parse",
    "parse_levels",
    "peak",
    "stack",
    "step",
    "trajectory",
]
