"""Plans, runs and answers: which change made the model better, how sure, and of which kind."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.answers import Study, open_study
    from ablations.api import plan, run
    from ablations.bases import resolve
    from ablations.errors import RequestError

__all__ = ["RequestError", "Study", "open_study", "plan", "resolve", "run"]

_LAZY = {
    "RequestError": "errors",
    "Study": "answers",
    "open_study": "answers",
    "plan": "api",
    "resolve": "bases",
    "run": "api",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `ablate --help` should not wait for the statistics."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
