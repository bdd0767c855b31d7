"""The version of this project, as it is installed."""

from __future__ import annotations


def own_version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ablate-recipes")
    except PackageNotFoundError:
        return "(not installed)"
